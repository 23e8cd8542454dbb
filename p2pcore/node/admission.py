"""Which statements a node takes from whom: verified, carried by their signer or by a node that repairs."""

from typing import TypeVar

from p2pcore import params
from p2pcore.crypto.certificates import Certificate
from p2pcore.crypto.statements import StatementVerifier
from p2pcore.crypto.trust import Trust
from p2pcore.errors import Malformed, NotAuthorised, NotFound, TooLarge, UnknownCertificate
from p2pcore.node import certificates
from p2pcore.node.admitted import Admitted
from p2pcore.node.storage import Storage
from p2pcore.records import (
    AcknowledgeStatement,
    EntryStatement,
    HeadStatement,
    ObjectStatement,
    SignedStatement,
    VersionStatement,
    encode,
)

S = TypeVar("S", ObjectStatement, EntryStatement, AcknowledgeStatement, VersionStatement, HeadStatement)


class Admission:
    """Everything here computes and may read the database: on the event loop only for a few statements at a time."""

    def __init__(self, trust: Trust, verifier: StatementVerifier, storage: Storage) -> None:
        self.trust = trust
        self._verifier = verifier
        self._storage = storage

    def statement(self, kind: type[S], signed: SignedStatement, carrier: Certificate) -> Admitted[S]:
        """Return a statement that `carrier` presents to be stored.

        It is the signer's own ("direct", docs/formats.md §4) or comes through repair from a node. Raises what
        StatementVerifier.verify does, Malformed where it is of another kind, NotAuthorised where a third carries it.
        """
        direct = self._is_own(signed.statement.signer, carrier)
        if not direct and carrier.role != "node":
            raise NotAuthorised(f"{carrier.role} carries a statement that another signed")
        return self.verified(kind, signed, direct=direct)

    def _is_own(self, signer: bytes, carrier: Certificate) -> bool:
        """Return whether the carrier signed it: under this certificate, or one that the same holder had before.

        A user's earlier keys are hers as well: her outbox repeats what it has signed also after she got new ones.
        """
        if carrier.fingerprint == signer:
            return True
        if carrier.role == "node":
            return False
        earlier = self.trust.get(signer)
        if earlier is None:
            self.recall(signer)
            earlier = self.trust.get(signer)
        if earlier is None or earlier.role != carrier.role:
            return False
        same_user = carrier.role == "user" and earlier.primary_address == carrier.primary_address
        return same_user or earlier.public_key == carrier.public_key

    def verified(self, kind: type[S], signed: SignedStatement, *, direct: bool) -> Admitted[S]:
        """The same without asking who carries it."""
        statement = signed.statement
        if not isinstance(statement, kind):
            raise Malformed(f"{type(statement).__name__} where a {kind.__name__} belongs")
        if isinstance(statement, ObjectStatement) and statement.size > params.MAX_BODY:
            raise TooLarge(f"object of {statement.size} octets, over {params.MAX_BODY}")
        try:
            certificate, own_identity = self._verifier.identified(signed, direct=direct)
        except UnknownCertificate:
            self.recall(statement.signer)
            certificate, own_identity = self._verifier.identified(signed, direct=direct)
        return Admitted(signed, statement, own_identity, encode(signed), certificate)

    def recall(self, fingerprint: bytes) -> None:
        """Give our trust a certificate that the database holds. Raises UnknownCertificate."""
        try:
            der = self._storage.read_now(lambda db: certificates.ask(db, fingerprint))
        except NotFound:
            raise UnknownCertificate(f"certificate {fingerprint.hex()} is not known here") from None
        self.trust.add(der)
