"""A directory of a fresh domain, and keys for those whom it lists."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from p2pcore.crypto.keys import HpkeKey, SigningKey
from p2pcore.crypto.notifications import open_addresses
from p2pcore.crypto.statements import Signer
from p2pcore.directory.directory import Directory
from p2pcore.endpoint import Endpoint
from p2pcore.records import AddressList, DomainRecord, decode
from tests.support.identities import Member, World


@dataclass
class Office:
    """`directory` under `world`'s authority; keys of whoever was added, by address or name."""

    path: Path
    world: World = field(default_factory=World)
    keys: dict[str, tuple[SigningKey, HpkeKey]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.member: Member = self.world.directory()
        self.directory = self.open()

    def open(self, signer: Signer | None = None) -> Directory:
        """Another Directory on the same book."""
        return Directory(
            self.path, self.world.domain, self.world.authority, signer or self.member.signer, self.world.clock
        )

    def reopen(self) -> Directory:
        self.directory.close()
        self.directory = self.open()
        return self.directory

    def user(self, address: str) -> bytes:
        signing, hpke = self.keys[address] = SigningKey.generate(), HpkeKey.generate()
        return self.directory.add_user(address, signing.public_bytes, hpke.public_bytes)

    def gateway(self, name: str, host: str = "127.0.0.1", port: int = 587) -> bytes:
        signing, hpke = self.keys[name] = SigningKey.generate(), HpkeKey.generate()
        return self.directory.add_gateway(name, Endpoint(host, port), signing.public_bytes, hpke.public_bytes)

    def node(self, name: str, port: int = 7000) -> bytes:
        self.keys[name] = SigningKey.generate(), HpkeKey.generate()
        return self.directory.add_node(name, Endpoint("127.0.0.1", port), self.keys[name][0].public_bytes)

    def record(self) -> DomainRecord:
        return decode(DomainRecord, self.directory.current_record().content)

    def addresses(self, gateway: str) -> AddressList:
        """The address list as `gateway` opens it."""
        return open_addresses(self.record(), [self.keys[gateway][1]])


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path / "book.sqlite")
    yield office
    office.directory.close()
