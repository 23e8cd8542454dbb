"""Statements as the storage takes them: verified, their signer known, their identity computed once."""

from dataclasses import dataclass
from typing import Generic, TypeVar

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


@dataclass(frozen=True, slots=True)
class Admitted(Generic[S]):
    """`identity` and `octets` (the canonical encoding) are of `signed`, which `certificate` signed."""

    signed: SignedStatement
    statement: S
    identity: bytes
    octets: bytes
    certificate: Certificate
