"""The iterative lookup by itself: a network is a function, slowness is counted in questions."""

import asyncio
import hashlib
import itertools
from collections.abc import Iterable

from p2pcore import params
from p2pcore.dht.contact import Contact, distance
from p2pcore.dht.lookup import Lookup
from p2pcore.errors import Unreachable
from p2pcore.sim.virtual_time import run_virtually

TARGET = hashlib.sha256(b"target").digest()
OWN = hashlib.sha256(b"own").digest()


def contact(number: int) -> Contact:
    return Contact(hashlib.sha256(number.to_bytes(4, "big")).digest(), "10.0.0.1", number + 1)


CONTACTS = sorted((contact(number) for number in range(60)), key=lambda one: distance(one.node_id, TARGET))


class Network:
    """Contacts in order of closeness; each knows the `reach` next closer ones. Answers take 10 ms, timeouts 250."""

    def __init__(self, reach: int = 4) -> None:
        self.reach = reach
        self.dead: set[Contact] = set()
        self.lost: set[Contact] = set()  # whose first datagram is lost
        self.gone: set[Contact] = set()
        self.asked: list[Contact] = []
        self.under_way = 0
        self.most = 0

    async def ask(self, contact: Contact, target: bytes) -> Iterable[Contact]:
        self.asked.append(contact)
        if contact in self.gone:
            raise Unreachable("remembered as dead")
        silent = contact in self.dead or (contact in self.lost and self.asked.count(contact) == 1)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(0.25 if silent else 0.01)
        finally:
            self.under_way -= 1
        if silent:
            raise TimeoutError
        index = CONTACTS.index(contact)
        return CONTACTS[max(0, index - self.reach) : index]


def look_up(network: Network, width: int, seeds: Iterable[Contact]) -> tuple[Lookup, float]:
    """Run a lookup; return it and how long it took in seconds of virtual time."""

    async def main() -> tuple[Lookup, float]:
        lookup = Lookup(TARGET, width, seeds, network.ask, OWN)
        await lookup.run()
        assert network.under_way == 0, "nothing is left behind"
        return lookup, asyncio.get_running_loop().time()

    return run_virtually(main())


def test_it_walks_to_the_closest_with_alpha_questions_at_a_time() -> None:
    """From far away each answer leads closer, until the closest have answered; never more than α at once."""
    network = Network()
    lookup, _ = look_up(network, 8, CONTACTS[50:])
    assert lookup.closest(8) == tuple(CONTACTS[:8])
    assert network.most == params.ALPHA
    assert len(network.asked) == len(set(network.asked)) < len(CONTACTS)


def test_nobody_known_or_nobody_alive_is_an_empty_answer() -> None:
    """Without seeds, and with all of them dead, the lookup ends with nothing."""
    assert look_up(Network(), 8, [])[0].closest(8) == ()
    network = Network()
    network.gone = set(CONTACTS)
    assert look_up(network, 8, CONTACTS)[0].closest(8) == ()
    assert len(network.asked) == len(CONTACTS), "the remembered dead are not asked twice"


def test_a_lost_datagram_does_not_hide_a_live_node() -> None:
    """Who did not answer in time is asked once more, beside the others."""
    network = Network()
    network.lost = {CONTACTS[0], CONTACTS[3]}
    lookup, _ = look_up(network, 8, CONTACTS[5:20])
    assert lookup.closest(8) == tuple(CONTACTS[:8])


def test_the_dead_hold_nobody_up() -> None:
    """With twelve dead among the closest, the lookup takes a few timeouts in all, not one after another."""
    network = Network()
    network.dead = set(CONTACTS[1:25:2])
    lookup, took = look_up(network, 12, CONTACTS)
    assert lookup.closest(12) == tuple(CONTACTS[0:24:2])
    rounds = -(-len(network.dead) // params.ALPHA)  # each dead contact holds a slot for one timeout
    again = 1  # the last of them are asked once more
    assert took < (rounds + again) * 0.25 + 0.4
    assert max(network.asked.count(contact) for contact in network.dead) == 2


def test_it_does_not_wait_for_what_it_no_longer_needs() -> None:
    """A silent contact that turns out not to be among the closest is left alone."""
    network = Network(reach=60)
    network.dead = {CONTACTS[40]}
    lookup, took = look_up(network, 3, [CONTACTS[40], CONTACTS[41]])
    assert lookup.closest(3) == tuple(CONTACTS[:3])
    assert took < 0.25


def test_one_node_named_at_two_endpoints_counts_once() -> None:
    """A liar who names a closest node at a wrong endpoint hides nothing."""
    network = Network()
    wrong = Contact(CONTACTS[0].node_id, "10.6.6.6", 666)
    network.dead = {wrong}
    lookup, _ = look_up(network, 3, [wrong, *CONTACTS[:6]])
    assert lookup.closest(3) == tuple(CONTACTS[:3])


def test_our_own_id_is_never_asked() -> None:
    """Others name us; we are not asked."""
    own = Contact(OWN, "10.0.0.9", 9)
    network = Network()
    lookup, _ = look_up(network, 3, [own, *CONTACTS[:3]])
    assert own not in network.asked
    assert lookup.closest(9) == tuple(CONTACTS[:3])


def test_cancelled_it_keeps_what_has_answered() -> None:
    """At its deadline a lookup still has the answers so far."""

    async def main() -> None:
        network = Network()
        network.dead = {CONTACTS[0], CONTACTS[1]}
        lookup = Lookup(TARGET, 4, CONTACTS[:10], network.ask, OWN)
        try:
            async with asyncio.timeout(0.1):
                await lookup.run()
        except TimeoutError:
            pass
        assert lookup.closest(4)[0] == CONTACTS[2]
        assert network.under_way == 0

    run_virtually(main())


def test_where_the_dead_take_all_room_in_answers_the_edge_is_asked_for() -> None:
    """Answers that hold only the eight closest, most of them dead, do not hide the live ones behind them."""
    dead = set(CONTACTS[2:8])

    async def ask(contact: Contact, target: bytes) -> Iterable[Contact]:
        await asyncio.sleep(0.01)
        if contact in dead:
            raise TimeoutError
        return sorted(CONTACTS, key=lambda one: distance(one.node_id, target))[:8]

    async def main() -> Lookup:
        lookup = Lookup(TARGET, 8, CONTACTS[:1], ask, OWN)
        await lookup.run()
        return lookup

    live = [one for one in CONTACTS if one not in dead]
    found = run_virtually(main()).closest(8)
    assert len(set(found) & set(live[:8])) >= 7


def test_with_patience_the_dead_cost_one_timeout_in_all() -> None:
    """Twelve dead of 24 are asked twice, side by side with the others: all take little more than one timeout."""

    async def main() -> None:
        network = Network()
        network.dead = set(CONTACTS[1:25:2])
        lookup = Lookup(TARGET, 12, CONTACTS, network.ask, OWN, patience=lambda _: 0.03)
        await lookup.run()
        assert lookup.closest(12) == tuple(CONTACTS[0:24:2])
        assert network.under_way == 0
        assert asyncio.get_running_loop().time() < 0.25 + 6 * 0.03
        assert max(network.asked.count(contact) for contact in network.dead) == 2

    run_virtually(main())


def test_a_lost_datagram_costs_the_patience_and_not_the_timeout() -> None:
    """The second question goes out when patience is at its end; its answer ends the wait for the first."""

    async def main() -> None:
        network = Network()
        network.lost = {CONTACTS[0], CONTACTS[3]}
        lookup = Lookup(TARGET, 8, CONTACTS[:20], network.ask, OWN, patience=lambda _: 0.03)
        await lookup.run()
        assert lookup.closest(8) == tuple(CONTACTS[:8])
        assert asyncio.get_running_loop().time() < 0.2

    run_virtually(main())


def test_the_second_question_gets_as_much_patience_as_the_first() -> None:
    """Where patience is nearly the timeout, a contact whose first datagram was lost is not given up with it."""

    async def main() -> None:
        network = Network()
        answers = iter([0.25, 0.2])

        async def ask(contact: Contact, target: bytes) -> Iterable[Contact]:
            if contact != CONTACTS[0]:
                return await network.ask(contact, target)
            delay = next(answers)
            await asyncio.sleep(delay)
            if delay == 0.25:
                raise TimeoutError
            return []

        lookup = Lookup(TARGET, 3, CONTACTS[:3], ask, OWN, patience=lambda _: 0.24)
        await lookup.run()
        assert lookup.closest(3) == tuple(CONTACTS[:3])

    run_virtually(main())


def test_few_wanted_many_asked() -> None:
    """However few are wanted, LOOKUP_BREADTH answer: three liars who name each other do not hide who is closer."""
    liars = CONTACTS[1:4]
    reached: list[Contact] = []

    async def ask(contact: Contact, target: bytes) -> Iterable[Contact]:
        reached.append(contact)
        await asyncio.sleep(0.01)
        return liars if contact in liars else CONTACTS[:20]

    async def main() -> None:
        lookup = Lookup(TARGET, 3, [*liars, CONTACTS[40]], ask, OWN)
        await lookup.run()
        assert lookup.closest(3) == tuple(CONTACTS[:3])
        assert len(reached) >= params.LOOKUP_BREADTH

    run_virtually(main())


def test_one_liars_inventions_do_not_crowd_out_the_rest() -> None:
    """Each answer of a liar names twenty new contacts closer than all real ones: a bounded number of them is asked."""
    liars = {CONTACTS[number] for number in (0, 1, 2, 3, 7, 12, 17, 31, 32)}
    inventions = itertools.count(1)
    invented: list[Contact] = []
    heard: set[Contact] = set()

    async def ask(contact: Contact, target: bytes) -> Iterable[Contact]:
        if contact not in CONTACTS:
            invented.append(contact)
            await asyncio.sleep(0.25)
            raise TimeoutError
        await asyncio.sleep(0.01)
        if contact not in liars:
            return CONTACTS[:20]
        heard.add(contact)
        near = [int.from_bytes(TARGET, "big") ^ next(inventions) for _ in range(20)]
        return [Contact(number.to_bytes(32, "big"), "10.66.0.1", 1) for number in near]

    async def main() -> None:
        lookup = Lookup(TARGET, 20, CONTACTS[30:], ask, OWN, patience=lambda _: 0.03)
        await lookup.run()
        assert lookup.closest(20) == tuple(CONTACTS[:20])
        assert asyncio.get_running_loop().time() < 2
        # Each liar is believed until a handful of its contacts are silent, then all share one last try
        assert len(heard) >= 5
        assert len(set(invented)) <= len(heard) * (params.DOUBTFUL_SILENT + params.ALPHA) + 20 < len(heard) * 20

    run_virtually(main())


def test_what_only_the_doubtful_name_is_still_asked_in_the_end() -> None:
    """A contact that answers is found although its only namer has named seven silent ones before it."""
    hidden = CONTACTS[1]
    namer = CONTACTS[0]
    near = (int.from_bytes(TARGET, "big") ^ number for number in range(1, 8))
    silent = [Contact(number.to_bytes(32, "big"), "10.66.0.1", 1) for number in near]

    async def ask(contact: Contact, target: bytes) -> Iterable[Contact]:
        if contact in silent:
            await asyncio.sleep(0.25)
            raise TimeoutError
        await asyncio.sleep(0.01)
        return [*silent, hidden] if contact == namer else []

    async def main() -> None:
        lookup = Lookup(TARGET, 8, [namer, *CONTACTS[2:9]], ask, OWN, patience=lambda _: 0.03)
        await lookup.run()
        assert lookup.closest(8) == tuple(CONTACTS[:8])

    run_virtually(main())
