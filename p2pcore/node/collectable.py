"""What garbage collection looks at: an object or entry that is held, and where it stands in the order of use."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Collectable:
    """What `identity` names, held under `key`; `place` is where it stands among its kind, least recently used first.

    `octets` is what the quota gets back.
    """

    identity: bytes
    key: bytes
    place: tuple[int, int]
    octets: int
