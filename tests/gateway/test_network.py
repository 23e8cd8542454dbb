"""gateway.network: what the roles of a machine share."""

from gateway.network import when_nodes_come
from p2pcore.dht.contact import Contact
from tests.support.fixed_substrate import FixedSubstrate


def contact(number: int) -> Contact:
    return Contact(bytes([number]) * 32, "127.0.0.1", number)


def test_nodes_that_come_are_told_and_those_that_go_are_not() -> None:
    """A node that is new, or is back, is a reason to try again what was put off; one that went is none."""
    substrate = FixedSubstrate([contact(1)])
    told: list[int] = []
    when_nodes_come(substrate, lambda: told.append(len(substrate.contacts)))
    substrate.replace([contact(1), contact(2)])
    substrate.replace([contact(1)])
    substrate.replace([])
    assert told == [2]
    substrate.replace([contact(1)])
    substrate.replace([contact(2)])
    assert told == [2, 1, 1]
