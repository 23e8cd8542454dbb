"""Heads reach every node known, as versions without content."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest

from p2pcore.dht.contact import Contact
from p2pcore.directory.heads import HeadSpreader, sign_head
from p2pcore.errors import Failure, NoQuorum, Unreachable
from p2pcore.records import Operation, Publish, Result

if TYPE_CHECKING:
    from tests.p2pcore.directory.conftest import Office

CONTACTS = tuple(Contact(bytes([number]) * 32, "192.0.2.1", 7000 + number) for number in range(4))


class Network:
    """A Substrate that finds the first two contacts and knows the last three; an Asker with given answers."""

    def __init__(self, answers: dict[Contact, Result | Failure]) -> None:
        self.answers = answers
        self.asked: list[tuple[Contact, Operation]] = []

    async def lookup(self, key: bytes, k: int) -> tuple[Contact, ...]:
        return CONTACTS[:2]

    def nearest(self, key: bytes, k: int) -> tuple[Contact, ...]:
        return CONTACTS[:2]

    def known(self) -> tuple[Contact, ...]:
        return CONTACTS[1:]

    def report(self, contact: Contact, *, alive: bool) -> None:
        """Not needed here."""

    def on_change(self, callback: Callable[[], None]) -> None:
        """Not needed here."""

    async def ask_all(self, contacts: Sequence[Contact], operation: Operation) -> list[Result | Failure]:
        self.asked += [(contact, operation) for contact in contacts]
        return [self.answers.get(contact, Unreachable("down")) for contact in contacts]


async def test_every_known_node_is_told_once(office: "Office") -> None:
    """One that takes it is enough: others hear of it from later heads."""
    network = Network({CONTACTS[3]: Result(200)})
    head = sign_head(office.directory, bytes(32))
    await HeadSpreader(network, network).announce(head)
    assert [contact for contact, _operation in network.asked] == list(CONTACTS)
    operation = network.asked[0][1]
    assert isinstance(operation, Publish)
    assert (operation.published.version, operation.published.content) == (head, b"")


async def test_a_head_that_nobody_took_is_said(office: "Office") -> None:
    """Unreachable nodes and refusals are no success."""
    network = Network({CONTACTS[0]: Result(403, "NotAuthorised: no")})
    with pytest.raises(NoQuorum):
        await HeadSpreader(network, network).announce(sign_head(office.directory, bytes(32)))
