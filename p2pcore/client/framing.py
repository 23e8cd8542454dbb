"""Layouts of single requests (Table 3): a statement in front of an object's octets, and what a query says."""

from typing import Final

from p2pcore import params
from p2pcore.errors import Malformed
from p2pcore.records import SignedStatement, encode

LENGTH_OCTETS: Final = 4  # big-endian, before the statement
# A statement names at most MAX_DELETE_RIGHTS digests or carries one notification; the proof adds at most 20 digests.
MAX_STATEMENT: Final = max(params.MAX_DELETE_RIGHTS * 34, params.MAX_NOTIFICATION) + 4_096

APPEND_INBOX: Final = "append-inbox"
READ_INBOX: Final = "read-inbox"
OBJECT_HEADER: Final = "P2pmail-Object"
TIME_HEADER: Final = "P2pmail-Time"  # the node's clock in ms, on every answer


def frame(signed: SignedStatement) -> bytes:
    """Return length (4 octets, big-endian) ‖ encoded statement: what precedes an object's octets in a PUT."""
    octets = encode(signed)
    return len(octets).to_bytes(LENGTH_OCTETS, "big") + octets


def statement_length(prefix: bytes) -> int:
    """Return the statement's length that the first four octets of a PUT announce. Raises Malformed."""
    if len(prefix) != LENGTH_OCTETS:
        raise Malformed(f"request body: {len(prefix)} octets where the statement's length takes {LENGTH_OCTETS}")
    length = int.from_bytes(prefix, "big")
    if not 0 < length <= MAX_STATEMENT:
        raise Malformed(f"request body: a statement of {length} octets")
    return length
