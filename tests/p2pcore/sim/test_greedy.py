"""Greedy routing: where the metric leads, and where it gets stuck."""

import random

from hypothesis import given
from hypothesis import strategies as st

from p2pcore.sim import greedy
from p2pcore.sim.population import Population

IDS = st.integers(0, (1 << 256) - 1)


def _pairs(ids: list[int], count: int) -> list[tuple[int, int]]:
    source = random.Random(1)
    return [(a, b) for a, b in (source.sample(ids, 2) for _ in range(count))]


def _arrived(ids: list[int], neighbours: greedy.Neighbours, metric: greedy.Metric, messages: int = 60) -> int:
    return sum(greedy.route(a, b, neighbours, metric).arrived for a, b in _pairs(ids, messages))


def _tables(population: Population) -> greedy.Neighbours:
    places = {own: index for index, own in enumerate(population.ids)}
    return lambda own: tuple(int.from_bytes(each.node_id, "big") for each in population.table(places[own]).all())


@given(IDS, IDS, IDS)
def test_both_are_metrics(a: int, b: int, c: int) -> None:
    """Invariant: zero only for the same ID, symmetric, and no way round is shorter."""
    for metric in (greedy.hamming, greedy.xor):
        assert (metric(a, b) == 0) == (a == b)
        assert metric(a, b) == metric(b, a)
        assert metric(a, c) <= metric(a, b) + metric(b, c)


def test_hamming_gets_stuck_among_random_ids() -> None:
    """p2pMail's question: yes, in a sparse space greedy routing by Hamming distance ends in local extremes."""
    ids = Population(2_000, 1).ids
    assert _arrived(ids, greedy.nearest(ids, greedy.hamming, 20), greedy.hamming) < 50


def test_hamming_gets_stuck_with_a_kademlia_table_too() -> None:
    """It is the metric: with the very contacts by which XOR always arrives, Hamming distance does not."""
    population = Population(2_000, 1)
    assert _arrived(population.ids, _tables(population), greedy.hamming, 20) < 20
    assert _arrived(population.ids, _tables(population), greedy.xor, 20) == 20


def test_xor_needs_its_table() -> None:
    """It is the table as well: XOR with only the nearest neighbours hardly ever arrives."""
    ids = Population(2_000, 1).ids
    assert _arrived(ids, greedy.nearest(ids, greedy.xor, 20), greedy.xor) < 20


def test_hamming_arrives_where_every_id_is_taken() -> None:
    """In a full hypercube each hop corrects a bit: no extremes, at most as many hops as bits."""
    ids = greedy.random_ids(256, 8, random.Random(1))
    assert sorted(ids) == list(range(256))
    neighbours = greedy.nearest(ids, greedy.hamming, 8)
    for a, b in _pairs(ids, 60):
        route = greedy.route(a, b, neighbours, greedy.hamming)
        assert route.arrived
        assert route.hops == greedy.hamming(a, b)


def test_turning_back_finds_everybody_in_the_end() -> None:
    """Best first with turning back leaves every extreme, within as many questions as there are nodes."""
    ids = Population(400, 1).ids
    neighbours = greedy.nearest(ids, greedy.hamming, 10)
    asked = [greedy.asked_until_found(a, b, neighbours, greedy.hamming, 400) for a, b in _pairs(ids, 30)]
    assert max(asked) < 400
