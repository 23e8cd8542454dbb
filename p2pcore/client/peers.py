"""What the client side asks of one node, as a protocol: `primitives.PeerClient` provides it."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from p2pcore import params
from p2pcore.dht.contact import Contact
from p2pcore.records import InboxPage, Operation, Result, SignedStatement

Sink = Callable[[bytes], Awaitable[None]]


class Peers(Protocol):
    """Requests to one node at a time; every method raises Failure subclasses only."""

    async def call(self, contact: Contact, operations: Sequence[Operation]) -> list[Result]:
        """Return one Result per operation, in order, from one batch request."""

    async def put_body(self, contact: Contact, signed: SignedStatement, source: Path | bytes) -> None:
        """Store one object of any size; durable on the node on return."""

    async def get_body(
        self, contact: Contact, object_key: bytes, digest: bytes, sink: Sink, size: int = params.MAX_BODY
    ) -> SignedStatement:
        """Fetch an object piece by piece and return its statement.

        Raises Tampered where it does not match, or has more than `size` octets.
        """

    async def read_inbox(
        self,
        contact: Contact,
        inbox_key: bytes,
        incarnation: bytes,
        cursor: int,
        wait_ms: int,
        instance: bytes = b"",
    ) -> InboxPage:
        """Return one page of our own inbox, after at most `wait_ms` where there is nothing.

        Acknowledgements by `instance` are left out, where it is not empty.
        """
