"""A domain for tests: its authority, and members with all their keys, under a clock that moves only when told."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from p2pcore import params, records
from p2pcore.crypto.certificates import Authority, Certificate, parse_certificate
from p2pcore.crypto.keys import HpkeKey, SigningKey
from p2pcore.crypto.statements import Signer, StatementVerifier
from p2pcore.crypto.trust import Trust
from p2pcore.records import Role

START = 1_790_000_000_000  # 2026-09-21, whole seconds


@dataclass
class ManualClock:
    """A Clock; `now` is in milliseconds."""

    now: int = START

    def __call__(self) -> int:
        return self.now

    def advance(self, milliseconds: int) -> None:
        self.now += milliseconds


@dataclass(frozen=True)
class Member:
    """One certified holder of keys; `hpke` is None for nodes and directories."""

    identity: records.Identity
    signer: Signer
    hpke: HpkeKey | None

    @property
    def certificate(self) -> Certificate:
        return self.signer.certificate

    @property
    def hpke_key(self) -> HpkeKey:
        """The HPKE key of a user or gateway."""
        assert self.hpke is not None
        return self.hpke


@dataclass
class World:
    """`domain` with its authority. Members are issued at the clock's time unless `now` says otherwise."""

    domain: str = "example.org"
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        self.authority = Authority.create(self.domain, self.clock())
        self._nodes = 0

    def trust(self, *members: Member) -> Trust:
        """A fresh Trust that knows the certificates of `members`."""
        trust = Trust(self.authority.certificate, self.domain)
        for member in members:
            trust.add(member.certificate.der)
        return trust

    def verifier(self, *members: Member) -> StatementVerifier:
        """A fresh StatementVerifier that knows `members`, under this world's clock."""
        return StatementVerifier(self.trust(*members), self.clock)

    def user(self, name: str, *others: str, now: int | None = None) -> Member:
        """A user; names without "@" are local parts in this domain, the first is the primary address."""
        addresses = [name if "@" in name else f"{name}@{self.domain}" for name in (name, *others)]
        return self._member("user", addresses, now=now)

    def gateway(self, host: str = "", now: int | None = None) -> Member:
        return self._member("gateway", [host or f"mx.{self.domain}"], now=now)

    def node(self, now: int | None = None) -> Member:
        self._nodes += 1
        return self._member("node", [f"node{self._nodes}"], now=now)

    def directory(self, epoch: int = 1, now: int | None = None) -> Member:
        return self._member("directory", ["directory"], now=now, epoch=epoch)

    def renewed(self, member: Member) -> Member:
        """`member` with a new certificate for the same keys."""
        old, key = member.certificate, SigningKey.from_bytes(member.identity.signing_key)
        hpke = member.hpke.public_bytes if member.hpke else None
        der = self.authority.issue(old.role, [member.identity.name], key.public_bytes, hpke, self.clock())
        identity = msgspec.structs.replace(member.identity, certificate=der)
        return Member(identity, Signer(key, parse_certificate(der)), member.hpke)

    def _member(self, role: Role, names: Sequence[str], *, now: int | None, epoch: int = 0) -> Member:
        key = SigningKey.generate()
        hpke = HpkeKey.generate() if role in ("user", "gateway") else None
        der = self.authority.issue(
            role,
            names,
            key.public_bytes,
            hpke.public_bytes if hpke else None,
            self.clock() if now is None else now,
            epoch=epoch,
        )
        identity = records.Identity(
            role=role,
            domain=self.domain,
            name=names[0],
            signing_key=key.private_bytes,
            hpke_keys=(hpke.private_bytes,) if hpke else (),
            certificate=der,
            authority=self.authority.certificate,
        )
        return Member(identity, Signer(key, parse_certificate(der)), hpke)


@dataclass
class MemoryNonces:
    """A NonceStore for tests."""

    used: dict[bytes, int] = field(default_factory=dict)

    def add(self, nonce: bytes, expires: int) -> bool:
        if nonce in self.used:
            return False
        self.used[nonce] = expires
        return True


def object_statement(signer: Signer, now: int, *, key: bytes = bytes(32)) -> records.ObjectStatement:
    """A well-formed object statement of `signer`."""
    return records.ObjectStatement(
        object_key=key,
        digest=bytes(32),
        size=1,
        issued=now,
        expires=now + params.OBJECT_LIFETIME,
        delete_rights=(bytes(32),),
        signer=signer.fingerprint,
    )


def entry_statement(signer: Signer, inbox_key: bytes, now: int, notification: bytes = b"n") -> records.EntryStatement:
    """A well-formed entry statement of `signer`."""
    return records.EntryStatement(
        inbox_key=inbox_key,
        notification=notification,
        issued=now,
        expires=now + params.OBJECT_LIFETIME,
        signer=signer.fingerprint,
    )
