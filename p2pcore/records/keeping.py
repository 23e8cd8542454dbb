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


class RetiredKey(Record, frozen=True, tag="retired-key.1"):
    """An HPKE key (SHA-256 of its public form) that was replaced: nothing sealed to it lives past `until`."""

    hpke_key: Digest
    until: Time


class RetiredKeys(Record, frozen=True, tag="retired-keys.1"):
    """The replaced HPKE keys that an account still opens with; others are of no known age and stay."""

    keys: Annotated[tuple[RetiredKey, ...], Meta(max_length=1_000)]


class DuplicateKey(Record, frozen=True, tag="duplicate.1"):
    """SHA-256 of this names "the same message, again" (docs/flow.md §8): same envelope, same verdicts, same octets."""

    reverse_path: Path
    forward_path: Path
    verdicts: tuple[str, ...]
    content: Digest
