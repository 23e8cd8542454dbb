"""What an agent or a queue keeps to itself until it is done."""

from typing import Annotated

from msgspec import Meta

from p2pcore.records.base import Digest, Path, Record, Time
from p2pcore.records.statements import SignedStatement


class CleanupTask(Record, frozen=True, tag="cleanup.1"):
    """What an agent still owes the network for a message it has filed: the acknowledgement and the deletion.

    `object` is None where the entry's body was never fetched (an entry seen again, or refused).
    """

    entry: Digest
    entry_expires: Time
    received: Time
    object: SignedStatement | None
    secret: Annotated[bytes, Meta(max_length=32)]


class DuplicateKey(Record, frozen=True, tag="duplicate.1"):
    """SHA-256 of this names "the same message, again" (DESIGN §6): same envelope, same verdicts, same octets."""

    reverse_path: Path
    forward_path: Path
    verdicts: tuple[str, ...]
    content: Digest
