"""Nodes as IDs, and the tables that they come to have."""

import math

from p2pcore import params
from p2pcore.sim.population import Population

_FULL = 31 * params.BUCKET_SIZE  # buckets of one level of five bits, beside our own subtree


def test_closest_is_what_sorting_everybody_gives() -> None:
    """The closest nodes that are up are found without looking at all of them."""
    population = Population(500, 1, down=0.3)
    up = [index for index in range(500) if index not in population.down]
    for target in (0, 1 << 255, (1 << 256) - 1, population.ids[17] ^ 1):
        expected = sorted(up, key=lambda index: population.ids[index] ^ target)[:20]
        assert population.closest(target, 20) == expected


def test_a_small_networks_table_holds_everybody() -> None:
    """Among nodes that fit one bucket each knows all others."""
    population = Population(20, 1)
    assert all(len(population.table(index)) == 19 for index in range(20))


def test_tables_know_their_neighbourhood() -> None:
    """A node's table holds the nodes closest to it: the ones that lookups of its ID must find."""
    population = Population(2_000, 1)
    for index in (0, 700, 1_999):
        own = population.ids[index]
        table = population.table(index)
        closest = [each for each in population.closest(own, 21) if each != index]
        assert {population.contact(each) for each in closest} <= set(table.all())


def test_tables_grow_with_the_logarithm() -> None:
    """32 times the nodes cost a table one more level of 31 buckets at most."""
    for size in (1_000, 5_000):
        population = Population(size, 1)
        levels = math.log(size / params.BUCKET_SIZE, 32)
        assert len(population.table(3)) <= _FULL * (levels + 1)


def test_the_same_seed_gives_the_same_nodes_and_tables() -> None:
    """A population repeats, to the order of its tables' contacts."""
    first, second = Population(300, 5, 0.2), Population(300, 5, 0.2)
    assert first.ids == second.ids
    assert first.down == second.down
    assert first.table(7).all() == second.table(7).all()
