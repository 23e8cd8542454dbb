"""The probe: what counts as up, when it is asked, what it costs, and what survives a restart."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from p2pcore import params
from p2pcore.client.availability import Availability
from p2pcore.dht.contact import Contact
from p2pcore.sim.virtual_time import run_virtually
from tests.support.fixed_substrate import FixedSubstrate

START = 1_700_000_000_000
CONTACTS = [Contact(bytes([number]) * 32, f"10.0.0.{number}", 4_000) for number in range(1, 61)]
OWN = bytes(32)


class CountingSubstrate(FixedSubstrate):
    """Also knows nodes that are not in its table and are found by lookups; counts these."""

    def __init__(self, contacts: Sequence[Contact] = ()) -> None:
        super().__init__(contacts)
        self.elsewhere: list[Contact] = []
        self.lookups = 0

    async def lookup(self, key: bytes, k: int) -> tuple[Contact, ...]:
        self.lookups += 1
        return await FixedSubstrate([*self.contacts, *self.elsewhere]).lookup(key, k)


def clock() -> int:
    return START + int(asyncio.get_running_loop().time() * 1_000)


def first(nodes: Sequence[bytes], count: int) -> Sequence[bytes]:
    return nodes[:count]


def probe(substrate: FixedSubstrate, directory: Path) -> Availability:
    return Availability(substrate, OWN, clock, directory / "uptimes.json", choose=first)


async def hours(count: float) -> None:
    await asyncio.sleep(count * 3_600)


def test_estimate_after_a_day(tmp_path: Path) -> None:
    """Of three nodes one is down every other hour: after a day p is 5/6, and equation (6) has a k for it."""

    async def main() -> None:
        substrate = CountingSubstrate(CONTACTS[:3])
        availability = probe(substrate, tmp_path)
        await availability.start()
        await hours(0.5)
        for number in range(23):
            substrate.replace(CONTACTS[number % 2 : 3])
            await hours(1)
        assert availability.estimate().up is None
        substrate.replace(CONTACTS[1:3])
        await hours(1)
        estimate = availability.estimate()
        assert (estimate.nodes, estimate.samples) == (3, 24)
        assert estimate.up == pytest.approx(5 / 6, abs=0.02)
        assert estimate.k == 6
        await availability.stop()

    run_virtually(main())


def test_cost(tmp_path: Path) -> None:
    """While everybody is up an hour costs one lookup; one more for each node that is missing from the table."""

    async def main() -> None:
        substrate = CountingSubstrate(CONTACTS[:20])
        availability = probe(substrate, tmp_path)
        await availability.start()
        await hours(10.5)
        assert substrate.lookups == 11
        substrate.replace(CONTACTS[:15])
        await hours(1)
        assert substrate.lookups == 11 + 6
        await availability.stop()

    run_virtually(main())


def test_lost_from_the_table_is_not_down(tmp_path: Path) -> None:
    """A node that has lost its place in the routing table but is found by a lookup is up."""

    async def main() -> None:
        substrate = CountingSubstrate(CONTACTS[:4])
        availability = probe(substrate, tmp_path)
        await availability.sample()
        substrate.contacts, substrate.elsewhere = CONTACTS[:2], CONTACTS[2:4]
        for _ in range(24):
            await availability.sample()
        assert availability.estimate().up == pytest.approx(97 / 98, abs=1e-3)

    run_virtually(main())


def test_own_node_is_not_followed(tmp_path: Path) -> None:
    """This machine's own node, which is up whenever it asks, is no evidence."""

    async def main() -> None:
        substrate = CountingSubstrate([Contact(OWN, "10.0.0.100", 4_000), CONTACTS[0]])
        availability = probe(substrate, tmp_path)
        await availability.sample()
        assert availability.estimate().nodes == 1

    run_virtually(main())


def test_nobody_to_follow_yet(tmp_path: Path) -> None:
    """Alone, it waits without asking anybody until a node is met, and follows that."""

    async def main() -> None:
        substrate = CountingSubstrate()
        availability = probe(substrate, tmp_path)
        await availability.start()
        await hours(100)
        assert substrate.lookups == 1
        substrate.replace(CONTACTS[:2])
        await hours(2.5)
        assert (availability.estimate().nodes, availability.estimate().samples) == (2, 2)
        await availability.stop()

    run_virtually(main())


def test_restart(tmp_path: Path) -> None:
    """A new process goes on where the last one stopped, not before its table is whole again, and hourly."""

    async def main() -> None:
        substrate = CountingSubstrate(CONTACTS[:3])
        for expected in (0, 1, 2):
            availability = probe(substrate, tmp_path)
            await availability.start()
            await asyncio.sleep(params.UPTIME_FIRST / 1_000 - 1)
            assert availability.estimate().samples == expected - (expected > 0)
            await hours(1)
            assert availability.estimate().samples == expected
            await availability.stop()

    run_virtually(main())


def test_unreadable_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged file is logged, and written anew by the next sample; one that cannot be written is logged."""

    async def main() -> None:
        path = tmp_path / "uptimes.json"
        path.write_text("{")
        availability = probe(CountingSubstrate(CONTACTS[:3]), tmp_path)
        await availability.start()
        await hours(0.5)
        assert CONTACTS[0].node_id.hex() in path.read_text()
        await availability.stop()
        await probe(CountingSubstrate(), tmp_path / "missing").sample()

    run_virtually(main())
    assert "uptimes not read" in caplog.text
    assert "uptimes not saved" in caplog.text
