"""A week of churn: mail is sent, its holders come and go, and in the end it is asked for (docs/repair.md).

hour            what happens
0               the network has grown; all mail is sent
SLEEP           nodes that hold copies of early mail are put to sleep
READ            the early mail is read, acknowledged and deleted while they sleep
days            the late mail is read: all of it must come
days + 1 h      the sleepers return with their copies of what was deleted a week ago
days + 1 h +    by then nothing that was deleted may be held anywhere
AFTER
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import apsw

from p2pcore import params
from p2pcore.records import Replication, identity
from p2pcore.sim.chance import seeded
from p2pcore.sim.churn import Bound, Churn
from p2pcore.sim.clients import Mail, SimulatedClient
from p2pcore.sim.links import Quality
from p2pcore.sim.members import BelievedTrust, member
from p2pcore.sim.network import Network
from p2pcore.sim.node import SimulatedNode
from p2pcore.sim.sessions import FILE_SHARERS, Sessions
from p2pcore.sim.virtual_time import run_virtually

SLEEP: Final = 2  # hours
READ: Final = 6
AFTER: Final = 3
_HOUR: Final = 3_600.0  # seconds
_GATEWAY: Final = "mx"


@dataclass(frozen=True)
class Plan:
    """What is simulated. Times in ms where not said otherwise; `settling` is also what a newcomer gets to be repaired.

    `bounded`: at most k − w of a key's closest nodes are away at once.
    """

    nodes: int = 50
    users: int = 10
    early: int = 20
    late: int = 40
    sleepers: int = 3
    k: int = 5
    w: int = 3
    days: float = 7.0
    sessions: Sessions = FILE_SHARERS
    bounded: bool = True
    repair: bool = True
    interval: int = params.HOUR
    settling: int = 5 * params.SECOND
    newcomer: int = 10 * params.MINUTE
    quality: Quality = field(default_factory=lambda: Quality(loss=0.01))
    seed: int = 1


@dataclass(frozen=True)
class Hour:
    """One hour's end. `original`: share of the nodes that first held late mail that are there still, up or about to
    return (sleepers are neither); `copies`: the fewest copies, on nodes that are up, of any late body or entry;
    `octets` in this hour, by purpose.
    """

    hour: int
    up: int
    original: float
    copies: int
    mean_copies: float
    octets: dict[str, int]


@dataclass
class Report:
    """How a week ended."""

    plan: dict[str, Any]
    hours: list[Hour] = field(default_factory=list)
    sent: int = 0
    early_read: int = 0
    late_read: int = 0
    missed: int = 0  # bodies that nobody gave, of entries that were found
    brought_back: int = 0  # of what was deleted a week ago, what the sleepers still held when they returned
    risen: int = 0  # of all that was deleted, what is held anywhere in the end
    read_again: int = 0  # of what was deleted, what its owner's last reading found
    comings: dict[str, int] = field(default_factory=dict)
    messages: dict[str, int] = field(default_factory=dict)
    octets: dict[str, int] = field(default_factory=dict)
    rounds: int = 0
    lookups: int = 0  # of repair
    passed_on: int = 0
    trace: str = ""


class Week:
    """Runs a plan on the running virtual loop; `source` is the simulation's own chance."""

    def __init__(self, plan: Plan, source: random.Random) -> None:
        self._plan = plan
        self._source = source
        self._trust = BelievedTrust()
        self._network = Network(plan.quality, plan.seed)
        self._history = (Replication(since=0, k=plan.k, w=plan.w),)
        self._bound = Bound(plan.k, plan.w, plan.newcomer)
        self._made = 0
        self._all: list[SimulatedNode] = []
        nodes = [self._node() for _ in range(plan.nodes)]
        bound = self._bound if plan.bounded else None
        self._churn = Churn(nodes, self._node, plan.sessions, bound, source)
        self._gateway = self._client("gateway", _GATEWAY)
        self._users = [self._client("user", f"user{number}") for number in range(plan.users)]
        self._counted: dict[str, int] = {}
        self.report = Report(_described(plan))

    async def run(self) -> Report:
        """Return how it ended."""
        plan, report = self._plan, self.report
        await self._grow()
        early = [await self._send(number) for number in range(plan.early)]
        late = [await self._send(number) for number in range(plan.late)]
        report.sent = len(early) + len(late)
        first = self._holders([identity(mail.object) for mail in late])
        self._bound.watch({key for mail in (*early, *late) for key in _keys(mail)}, self._churn.nodes)
        self._churn.start()
        begun = asyncio.get_running_loop().time()
        sleepers: list[SimulatedNode] = []
        for hour in range(1, int(plan.days * 24) + 1):
            await asyncio.sleep(begun + hour * _HOUR - asyncio.get_running_loop().time())
            if hour == SLEEP:
                sleepers = await self._put_to_sleep(early)
            if hour == READ:
                report.early_read = await self._read(early)
            self._note(hour, first, late)
        report.late_read = await self._read(late)
        await asyncio.sleep(_HOUR)
        await self._wake(sleepers, early)
        await asyncio.sleep(AFTER * _HOUR)
        await self._end([*early, *late])
        return report

    # --- what happens ---

    async def _grow(self) -> None:
        there: list[SimulatedNode] = []
        for node in self._churn.nodes:
            await node.start([self._source.choice(there).contact] if there else [])
            there.append(node)
        known = [node.contact for node in self._source.sample(there, min(5, len(there)))]
        for client in (self._gateway, *self._users):
            await client.substrate.join(known)

    async def _send(self, number: int) -> Mail:
        return await self._gateway.send(self._users[number % len(self._users)].member, self._source)

    async def _put_to_sleep(self, mails: Sequence[Mail]) -> list[SimulatedNode]:
        """Put holders of these mails to sleep, as many as the plan has and the bound lets go."""
        asleep: list[SimulatedNode] = []
        wanted = {identity(mail.object) for mail in mails}
        for node in self._churn.nodes:
            if len(asleep) < self._plan.sleepers and self._held(node) & wanted and await self._churn.sleep(node):
                asleep.append(node)
        return asleep

    async def _read(self, mails: Sequence[Mail]) -> int:
        """Have the recipients of these read, acknowledge and delete them; return how many came."""
        wanted = {identity(mail.entry.statement) for mail in mails}
        came = 0
        for user in self._users:
            owed, missed = await user.collect()
            owed = [task for task in owed if task.entry in wanted]
            self.report.missed += missed
            came += len(owed)
            await user.finish(owed)
        for mail in mails:
            self._bound.unwatch(mail.object.object_key)
        return came

    async def _wake(self, sleepers: Sequence[SimulatedNode], deleted: Sequence[Mail]) -> None:
        gone = {named for mail in deleted for named in _identities(mail)}
        self.report.brought_back = sum(len(self._held(node) & gone) for node in sleepers)
        for node in sleepers:
            await self._churn.wake(node)

    async def _end(self, deleted: Sequence[Mail]) -> None:
        report = self.report
        gone = {named for mail in deleted for named in _identities(mail)}
        report.risen = sum(len(self._held(node) & gone) for node in self._churn.up())
        for user in self._users:
            owed, missed = await user.collect()
            report.read_again += len(owed) + missed
        await self._churn.stop()
        report.comings = asdict(self._churn.comings)
        for purpose, traffic in self._network.traffic.items():
            report.messages[purpose] = traffic.messages
            report.octets[purpose] = traffic.octets
        report.rounds = sum(node.done.rounds for node in self._all)
        report.lookups = sum(node.done.lookups for node in self._all)
        report.passed_on = sum(node.done.passed_on for node in self._all)
        for node in self._churn.up():
            await node.crash()
        for client in (self._gateway, *self._users):
            await client.stop()
        report.trace = self._network.trace

    # --- what is looked at ---

    def _note(self, hour: int, first: set[SimulatedNode], late: Sequence[Mail]) -> None:
        copies = dict.fromkeys((named for mail in late for named in _identities(mail)), 0)
        for node in self._churn.up():
            for named in self._held(node) & copies.keys():
                copies[named] += 1
        totals = {purpose: traffic.octets for purpose, traffic in self._network.traffic.items()}
        octets = {purpose: total - self._counted.get(purpose, 0) for purpose, total in totals.items()}
        self._counted = totals
        counts = list(copies.values())
        self.report.hours.append(
            Hour(
                hour=hour,
                up=len(self._churn.up()),
                original=len(first & set(self._churn.nodes) - self._churn.asleep) / len(first),
                copies=min(counts),
                mean_copies=sum(counts) / len(counts),
                octets=octets,
            )
        )

    def _holders(self, identities: Sequence[bytes]) -> set[SimulatedNode]:
        return {node for node in self._churn.nodes if self._held(node) & set(identities)}

    def _held(self, node: SimulatedNode) -> set[bytes]:
        """Return the identities of the bodies and entries that a node has, up or down."""
        return node.storage.read_now(_held)

    # --- who takes part ---

    def _node(self) -> SimulatedNode:
        plan = self._plan
        self._made += 1
        node = SimulatedNode(
            self._network,
            member(self._trust, "node", f"node{self._made}"),
            self._trust,
            (lambda: self._history) if plan.repair else tuple,
            interval=plan.interval,
            settling=plan.settling,
        )
        self._all.append(node)
        return node

    def _client(self, role: Any, name: str) -> SimulatedClient:
        return SimulatedClient(self._network, member(self._trust, role, name), self._trust, self._history)


def _described(plan: Plan) -> dict[str, Any]:
    sessions = plan.sessions
    return {**asdict(plan), "mean_up": sessions.mean_up, "availability": sessions.availability}


def _keys(mail: Mail) -> tuple[bytes, bytes]:
    return mail.object.object_key, mail.inbox_key


def _identities(mail: Mail) -> tuple[bytes, bytes]:
    return identity(mail.object), identity(mail.entry.statement)


def _held(db: apsw.Connection) -> set[bytes]:
    rows = db.execute("SELECT identity FROM objects WHERE held > 0 UNION ALL SELECT identity FROM entries")
    return {bytes(named) for (named,) in rows}


async def _run(plan: Plan, source: random.Random) -> Report:
    return await Week(plan, source).run()


def simulate(plan: Plan) -> Report:
    """Carry out a plan in virtual time; the same plan gives the same report."""
    with seeded(plan.seed) as source:
        return run_virtually(_run(plan, source))
