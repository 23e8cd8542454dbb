"""The base of all records, the types of their fields, and their one encoding."""

import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from p2pcore import params
from p2pcore.errors import Malformed

Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
Secret = Annotated[bytes, Meta(min_length=32, max_length=32)]
Instance = Annotated[bytes, Meta(min_length=16, max_length=16)]
Time = Annotated[int, Meta(ge=0, le=2**53)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Port = Annotated[int, Meta(ge=0, le=65_535)]
Host = Annotated[str, Meta(min_length=1, max_length=params.MAX_DOMAIN)]
Identifier = Annotated[str, Meta(min_length=1, max_length=1_000)]
Address = Annotated[str, Meta(min_length=1, max_length=params.MAX_ADDRESS)]
Path = Annotated[str, Meta(max_length=params.MAX_ADDRESS + 2)]  # a reverse- or forward-path without "<>"
Der = Annotated[bytes, Meta(max_length=params.MAX_CERTIFICATE)]
Line = Annotated[str, Meta(max_length=1_000)]
Role = Literal["user", "gateway", "node", "directory"]
HpkeAlgorithm = Literal["hpke-mlkem768x25519-hkdf-sha256-aes-256-gcm", "hpke-mlkem1024p384-hkdf-sha384-aes-256-gcm"]

R = TypeVar("R", bound=msgspec.Struct)
E = TypeVar("E", bound=msgspec.Struct)


class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of all records."""


_encoder = msgspec.msgpack.Encoder()
_INVALID = re.compile(r"^Invalid (?:enum )?value(?= ')")


def encode(record: Record) -> bytes:
    """Return the canonical encoding of `record`."""
    return _encoder.encode(record)


def decode(kind: type[R], octets: bytes | memoryview) -> R:
    """Return the `kind` record that `octets` encode. Raises Malformed."""
    record: R = _decode(kind, octets, kind.__name__)
    return record


def decode_either(kind: type[R], earlier: type[E], octets: bytes) -> R | E:
    """Return the record that `octets` encode, of this kind or of the one it took the place of. Raises Malformed."""
    found: R | E = _decode(kind | earlier, octets, kind.__name__)
    return found


def _decode(type_: Any, octets: bytes | memoryview, name: str) -> Any:
    try:
        return msgspec.msgpack.decode(octets, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # A tag or algorithm of somebody's newer version is not damage: whoever reads the log should see the difference
        raise Malformed(f"{name}: {_INVALID.sub('not known here:', str(error))}") from error
