"""How fast and how completely the k closest live nodes are found: ours beside the plain `kademlia` package's crawl."""

import asyncio
import hashlib
import heapq
import json
import logging
import random
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Protocol

import typer
import uvloop
from kademlia.crawling import NodeSpiderCrawl
from kademlia.network import Server
from kademlia.node import Node
from rich.console import Console
from rich.table import Table

from bench.measure import percentile, put_ahead
from bench.report import machine
from p2pcore.crypto.certificates import Authority, parse_certificate
from p2pcore.crypto.keys import SigningKey
from p2pcore.crypto.statements import Signer
from p2pcore.crypto.trust import Trust
from p2pcore.dht.contact import distance
from p2pcore.dht.kademlia import KademliaSubstrate
from p2pcore.endpoint import Endpoint

_HOST = "127.0.0.1"
_DOMAIN = "example.org"
_SETTLE = 2.0  # seconds after the last join, so that no introduction is still under way
_TURN = 10  # lookups of one system before it is the other's turn, where none is dead
_WARM_UP = 10  # lookups by every node before any dies: a network that has been running for a while

console = Console(stderr=True)


@dataclass(frozen=True)
class Plan:
    """How much is measured, and the seed that picks who dies, who asks and for what."""

    nodes: int
    k: int
    lookups: int
    together: int
    seed: int
    others: bool  # kademlia as well


@dataclass(frozen=True)
class Result:
    """One system with `dead` % of its nodes silent. Times in ms; `recall` of the true closest live k, 0 to 1.

    `cpu` is the whole process's time for one lookup, both ends of every datagram: it depends little on other work.
    """

    system: str
    dead: int
    lookups: int
    together: int
    median: float
    p99: float
    longest: float
    cpu: float
    recall: float


class Network(Protocol):
    """The nodes of one system on real sockets, by number."""

    name: str

    async def start(self, nodes: int, k: int) -> None:
        """Have `nodes` nodes listen and join by one another."""

    def ids(self) -> Sequence[bytes]:
        """Return the node IDs in the order of their numbers."""

    async def kill(self, numbers: Iterable[int]) -> None:
        """Silence nodes without a word to the others."""

    async def lookup(self, asker: int, key: bytes, k: int) -> set[bytes]:
        """Return the IDs that `asker` finds closest to `key`; whether its own counts is `counts_asker`."""

    counts_asker: bool

    async def stop(self) -> None:
        """Close every socket."""


class Ours:
    """Nodes of p2pmail: every datagram signed, every contact admitted by its certificate."""

    name = "p2pmail"
    counts_asker = True

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._nodes: list[KademliaSubstrate] = []
        self._ids: list[bytes] = []

    async def start(self, nodes: int, k: int) -> None:
        authority = Authority.create(_DOMAIN, _clock())
        for number in range(nodes):
            key = SigningKey.generate()
            certificate = parse_certificate(authority.issue("node", f"node{number}", key.public_bytes, None, _clock()))
            node = KademliaSubstrate(
                Signer(key, certificate),
                Trust(authority.certificate, _DOMAIN),  # as in a process of its own
                _clock,
                listen=Endpoint(_HOST, 0),
                node=True,
                contacts_file=self._directory / f"{number}.json",
                bucket_size=k,
            )
            earlier = [(_HOST, self._nodes[number // 2].port, self._ids[number // 2])] if number else []
            self._nodes.append(node)
            self._ids.append(certificate.node_id)
            await node.start(earlier)
            await node.joined()

    def ids(self) -> Sequence[bytes]:
        return self._ids

    async def kill(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            await self._nodes[number].stop()

    async def lookup(self, asker: int, key: bytes, k: int) -> set[bytes]:
        return {contact.node_id for contact in await self._nodes[asker].lookup(key, k)}

    async def stop(self) -> None:
        for node in self._nodes:
            await node.stop()


class Kademlia:
    """Nodes of the `kademlia` package as it comes, asked with its own crawl; IDs and keys of 160 bits."""

    name = "kademlia"
    counts_asker = False  # its crawl never returns the caller

    def __init__(self) -> None:
        self._nodes: list[Server] = []

    async def start(self, nodes: int, k: int) -> None:
        for number in range(nodes):
            node = Server(ksize=k)
            await node.listen(0, interface=_HOST)
            self._nodes.append(node)
            if number:
                earlier = self._nodes[number // 2].transport.get_extra_info("sockname")
                await node.bootstrap([earlier])

    def ids(self) -> Sequence[bytes]:
        return [node.node.id for node in self._nodes]

    async def kill(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._nodes[number].stop()

    async def lookup(self, asker: int, key: bytes, k: int) -> set[bytes]:
        node, target = self._nodes[asker], Node(key[:20])
        nearest = node.protocol.router.find_neighbors(target)  # as its own `set` and `get` begin
        crawl = NodeSpiderCrawl(node.protocol, target, nearest, k, node.alpha)
        return {found.id for found in await crawl.find()}

    async def stop(self) -> None:
        for node in self._nodes:
            node.stop()


def _clock() -> int:
    return int(time.time() * 1_000)


class Measurement:
    """Lookups of random keys by random live nodes of one network, `together` at a time."""

    def __init__(self, network: Network, dead: int, plan: Plan, together: int) -> None:
        self._network = network
        self._dead = dead
        self._plan = plan
        self._together = together
        self._living: list[int] = []
        self._work: list[tuple[int, bytes]] = []
        self._times: list[float] = []
        self._hits = 0
        self._used = 0.0

    async def prepare(self) -> None:
        """Start the network, let it run for a while, and silence who is to be dead."""
        network, plan = self._network, self._plan
        chance = random.Random(plan.seed)
        await network.start(plan.nodes, plan.k)
        await asyncio.sleep(_SETTLE)
        for asker in range(plan.nodes):
            for _ in range(_WARM_UP):
                await network.lookup(asker, chance.randbytes(32), plan.k)
        numbers = chance.sample(range(plan.nodes), plan.nodes * self._dead // 100)
        await network.kill(numbers)
        self._living = sorted(set(range(plan.nodes)) - set(numbers))
        for _ in range(plan.lookups):
            self._work.append((chance.choice(self._living), hashlib.sha256(chance.randbytes(32)).digest()))

    async def go_on(self, lookups: int) -> None:
        """Measure so many of the lookups that are left."""
        now, self._work = self._work[:lookups], self._work[lookups:]
        used = time.process_time()
        while now:
            batch, now = now[: self._together], now[self._together :]
            await asyncio.gather(*(self._one(asker, key) for asker, key in batch))
        self._used += time.process_time() - used

    async def _one(self, asker: int, key: bytes) -> None:
        network, ids = self._network, self._network.ids()
        began = time.perf_counter()
        found = await network.lookup(asker, key, self._plan.k)
        self._times.append((time.perf_counter() - began) * 1_000)
        size = len(ids[asker])
        candidates = (ids[number] for number in self._living if network.counts_asker or number != asker)
        truth = heapq.nsmallest(self._plan.k, candidates, key=lambda node_id: distance(node_id, key[:size]))
        self._hits += len(found & set(truth))

    async def end(self) -> Result:
        """Stop the network and return what the lookups showed."""
        await self._network.stop()
        times, plan = self._times, self._plan
        recall = self._hits / (plan.lookups * plan.k)
        middle, slow, cpu = statistics.median(times), percentile(times, 99), self._used * 1_000 / plan.lookups
        name = self._network.name
        return Result(name, self._dead, plan.lookups, self._together, middle, slow, max(times), cpu, recall)


async def run(plan: Plan, shares: Sequence[int], directory: Path) -> list[Result]:
    """Measure both systems with each share of dead nodes, on fresh networks, by turns: other work meets both alike."""
    results = []
    for dead in shares:
        place = directory / str(dead)
        place.mkdir()
        # Where kademlia waits for the dead its lookups do not disturb each other
        networks: list[tuple[Network, int]] = [(Ours(place), 1), (Kademlia(), plan.together if dead else 1)]
        measured = [Measurement(each, dead, plan, together) for each, together in networks[: 2 if plan.others else 1]]
        turn = plan.together if dead else _TURN
        console.print(f"{plan.lookups} lookups among {plan.nodes} nodes, {dead} % dead")
        for measurement in measured:
            await measurement.prepare()
        for _ in range(0, plan.lookups, turn):
            for measurement in measured:
                await measurement.go_on(turn)
        results += [await measurement.end() for measurement in measured]
    return results


def show(output: Console, results: Sequence[Result]) -> None:
    """Print a row for each system and share."""
    table = Table("dead", "system", "median ms", "p99 ms", "longest ms", "CPU ms", "recall")
    for result in results:
        times = (f"{value:,.1f}" for value in (result.median, result.p99, result.longest, result.cpu))
        table.add_row(f"{result.dead} %", result.system, *times, f"{result.recall:.3f}")
    output.print(table)


def main(
    nodes: Annotated[int, typer.Option(help="Nodes of each network, in this process.")] = 100,
    k: Annotated[int, typer.Option(help="How many closest nodes are looked up; also the bucket size.")] = 20,
    lookups: Annotated[int, typer.Option(help="Lookups for each row.")] = 200,
    together: Annotated[int, typer.Option(help="Lookups of kademlia at a time where nodes are dead.")] = 100,
    seed: Annotated[int, typer.Option(help="Picks the dead, the askers and the keys.")] = 1,
    dead: Annotated[list[int] | None, typer.Option(help="Per cent of dead nodes; may be repeated.")] = None,
    others: Annotated[bool, typer.Option(help="Measure kademlia as well.")] = True,
    ahead: Annotated[bool, typer.Option(help="Run before other work on this machine; root, Linux autogroups.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write everything to this file.")] = None,
) -> None:
    """Measure median, p99 and recall of lookups with none, 30 and 50 % of the nodes dead."""
    logging.disable(logging.ERROR)  # rpcudp reports every timeout
    if ahead:
        put_ahead()
    plan = Plan(nodes, k, lookups, together, seed, others)
    with (
        tempfile.TemporaryDirectory(prefix="p2pmail-bench-") as name,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        results = runner.run(run(plan, dead or [0, 30, 50], Path(name)))
    command = shlex.join(["python", "-m", "bench.lookup", *sys.argv[1:]])
    output = Console()
    output.print(f"{machine()}\n{command}", soft_wrap=True)
    show(output, results)
    if json_file is not None:
        values = {"machine": machine(), "command": command, **asdict(plan), "rows": [asdict(each) for each in results]}
        json_file.write_text(json.dumps(values, indent=2))


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
