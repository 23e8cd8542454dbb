"""Statements as the storage takes them: verified, their signer known, their identity computed once."""

from typing import Generic, TypeVar

import msgspec

from p2pcore.crypto.certificates import Certificate
from p2pcore.records import (
    AcknowledgeStatement,
    EntryStatement,
    HeadStatement,
    ObjectStatement,
    SignedStatement,
    VersionStatement,
)

S = TypeVar("S", ObjectStatement, EntryStatement, AcknowledgeStatement, VersionStatement, HeadStatement)


class Admitted(msgspec.Struct, Generic[S], frozen=True):
    """`identity` and `octets` (the canonical encoding) are of `signed`, which `certificate` signed."""

    signed: SignedStatement
    statement: S
    identity: bytes
    octets: bytes
    certificate: Certificate
