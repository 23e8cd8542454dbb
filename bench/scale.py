"""How lookups grow with the network, in the simulator, and greedy routing by Hamming distance beside XOR.

`python -m bench.scale` prints tables and writes docs/figures/scale.json and hamming.json (docs/scale.md). Everything
is drawn from the seed: another run gives the same figures.
"""

import argparse
import json
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Printed

from p2pcore import params
from p2pcore.sim import greedy
from p2pcore.sim.links import Quality
from p2pcore.sim.lookups import LookupWorld, Outcome
from p2pcore.sim.population import Population
from p2pcore.sim.virtual_time import run_virtually

FIGURES = Path(__file__).parent.parent / "docs" / "figures"
SIZES = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
WIDTHS = (1, 5, 20)
ORIGINS = 5
DOWN = (0.0, 0.3)
ROUTED_SIZES = (30, 100, 300, 1_000, 3_000, 10_000)
FEW = 20  # neighbours: one k-bucket
BITS = (10, 11, 12, 14, 16, 20, 32, 64, 128, 256)
ENOUGH = 0.95  # of all messages


@dataclass(frozen=True)
class Row:
    """Means over the lookups of one setting, but `time`: the median, in virtual ms."""

    nodes: int
    k: int
    down: float
    hops: float
    most_hops: int
    messages: float
    time: float
    recall: float
    table: float


def row(nodes: int, k: int, down: float, outcomes: Sequence[Outcome]) -> Row:
    """Return the means; a request and its answer are two messages."""
    return Row(
        nodes=nodes,
        k=k,
        down=down,
        hops=statistics.mean(each.hops for each in outcomes),
        most_hops=max(each.hops for each in outcomes),
        messages=2 * statistics.mean(each.requests for each in outcomes),
        time=statistics.median(each.time for each in outcomes),
        recall=statistics.mean(each.recall for each in outcomes),
        table=statistics.mean(each.table for each in outcomes),
    )


def measure(sizes: Sequence[int], keys: int, seed: int) -> Iterator[Row]:
    """Yield a row per size, share of nodes down and k."""
    for nodes in sizes:
        for down in DOWN:
            population = Population(nodes, seed, down)
            for k in WIDTHS:
                world = LookupWorld(population, Quality(), seed)
                yield row(nodes, k, down, run_virtually(world.lookups(keys, ORIGINS, k)))


# --- greedy routing ---


def arrivals(
    pairs: Sequence[tuple[int, int]], neighbours: greedy.Neighbours, metric: greedy.Metric
) -> tuple[float, float]:
    """Return the share of messages that arrive, and the mean hops of those."""
    routes = [greedy.route(start, destination, neighbours, metric) for start, destination in pairs]
    hops = [each.hops for each in routes if each.arrived]
    return len(hops) / len(routes), statistics.mean(hops) if hops else 0.0


def table_neighbours(population: Population) -> greedy.Neighbours:
    """Return the rule by which a node's neighbours are the contacts of its routing table."""
    places = {node_id: index for index, node_id in enumerate(population.ids)}

    def neighbours(own: int) -> tuple[int, ...]:
        return tuple(int.from_bytes(contact.node_id, "big") for contact in population.table(places[own]).all())

    return neighbours


def routed(nodes: int, messages: int, seed: int) -> dict[str, Any]:
    """Return how greedy routing fares among `nodes` nodes with random 256-bit IDs, by metric and neighbours."""
    population = Population(nodes, seed)
    source = random.Random(seed)
    pairs = [tuple(source.sample(population.ids, 2)) for _ in range(messages)]
    size = min(len(population.table(0)), nodes - 1)
    result: dict[str, Any] = {"nodes": nodes, "table": size}
    for name, metric in (("hamming", greedy.hamming), ("xor", greedy.xor)):
        for label, neighbours in (
            ("few", greedy.nearest(population.ids, metric, min(FEW, nodes - 1))),
            ("many", greedy.nearest(population.ids, metric, size)),
            ("table", table_neighbours(population)),
        ):
            share, hops = arrivals([(a, b) for a, b in pairs], neighbours, metric)
            result[f"{name}-{label}"] = {"arrived": share, "hops": hops}
    few = greedy.nearest(population.ids, greedy.hamming, min(FEW, nodes - 1))
    asked = [greedy.asked_until_found(a, b, few, greedy.hamming, nodes) for a, b in pairs[: messages // 4]]
    result["search"] = statistics.mean(asked)
    result["needed"] = needed(population.ids, [(a, b) for a, b in pairs], size)
    return result


def needed(ids: list[int], pairs: Sequence[tuple[int, int]], most: int) -> int | None:
    """Return the number of Hamming-nearest neighbours (in steps of a quarter) by which ENOUGH messages arrive."""
    ranked = greedy.nearest(ids, greedy.hamming, most)
    count = 5
    while count <= most:
        if arrivals(pairs, first_of(ranked, count), greedy.hamming)[0] >= ENOUGH:
            return count
        count = count * 5 // 4 + 1
    return None


def first_of(ranked: greedy.Neighbours, count: int) -> greedy.Neighbours:
    """Return the rule of keeping the first `count` of the neighbours by another."""
    return lambda own: ranked(own)[:count]


def by_bits(nodes: int, messages: int, seed: int) -> list[dict[str, float]]:
    """Return the share of messages that arrive by Hamming distance, for IDs of ever more bits."""
    source = random.Random(seed)
    rows = []
    for bits in BITS:
        ids = greedy.random_ids(nodes, bits, source)
        pairs = [(a, b) for a, b in (source.sample(ids, 2) for _ in range(messages))]
        share, hops = arrivals(
            pairs, greedy.nearest(ids, greedy.hamming, bits if bits == BITS[0] else FEW), greedy.hamming
        )
        rows.append({"bits": bits, "arrived": share, "hops": hops})
    return rows


# --- output ---


def show(console: Console, rows: Sequence[Row]) -> None:
    """Print one table of all rows."""
    table = Printed("nodes", "down", "k", "hops", "most", "messages", "ms", "recall", "table", title="Lookups")
    for each in rows:
        table.add_row(
            f"{each.nodes:,}",
            f"{each.down:.0%}",
            str(each.k),
            f"{each.hops:.2f}",
            str(each.most_hops),
            f"{each.messages:.1f}",
            f"{each.time:.0f}",
            f"{each.recall:.3f}",
            f"{each.table:.0f}",
        )
    console.print(table)


def show_routed(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """Print who arrives."""
    kinds = [f"{metric}-{label}" for metric in ("hamming", "xor") for label in ("few", "many", "table")]
    table = Printed("nodes", "table", *kinds, "search", "needed", title="Greedy routing: share that arrives (hops)")
    for each in rows:
        cells = [f"{each[kind]['arrived']:.2f} ({each[kind]['hops']:.1f})" for kind in kinds]
        table.add_row(f"{each['nodes']:,}", str(each["table"]), *cells, f"{each['search']:.1f}", str(each["needed"]))
    console.print(table)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=SIZES[-1], help="largest network")
    parser.add_argument("--keys", type=int, default=6, help=f"per setting, each looked up from {ORIGINS} nodes")
    parser.add_argument("--messages", type=int, default=100, help="per greedy setting")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=FIGURES)
    parser.add_argument("--only", choices=("lookups", "greedy"))
    options = parser.parse_args()
    console = Console()
    command = f"python -m bench.scale --keys {options.keys} --messages {options.messages} --seed {options.seed}"
    if options.only != "greedy":
        rows = list(measure([each for each in SIZES if each <= options.most], options.keys, options.seed))
        show(console, rows)
        write(options.output / "scale.json", command, {"bucket": params.BUCKET_SIZE, "rows": [asdict(r) for r in rows]})
    if options.only != "lookups":
        sizes = [each for each in ROUTED_SIZES if each <= options.most]
        results = [routed(nodes, options.messages, options.seed) for nodes in sizes]
        show_routed(console, results)
        bits = by_bits(1 << BITS[0], options.messages, options.seed)
        write(options.output / "hamming.json", command, {"sizes": results, "bits": bits})


def write(path: Path, command: str, values: dict[str, Any]) -> None:
    """Write figures as JSON with the command that repeats them."""
    path.write_text(json.dumps({"command": command, **values}, indent=1) + "\n")


if __name__ == "__main__":
    main()
