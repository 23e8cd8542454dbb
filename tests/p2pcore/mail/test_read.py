"""p2pcore.mail.read and p2pcore.mail.watch: the superset of the replicas, watched."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from p2pcore import params
from p2pcore.client.replicas import Replicas
from p2pcore.errors import CannotKnow, Failure, NotAuthorised, SignatureRefused
from p2pcore.mail import read
from p2pcore.mail.judging import InboxJudge, Outcome
from p2pcore.mail.read import InboxReader
from p2pcore.records import AcknowledgeStatement, InboxPage, Proof, Revocation, SignedStatement, identity
from tests.p2pcore.client.memory_network import MemoryNetwork, MemoryNode
from tests.p2pcore.mail.bench import Domain
from tests.support.identities import Member, entry_statement

INSTANCE = bytes(16)
OTHER = b"another agent id"


@dataclass
class Inbox:
    """Alice's inbox on its three nodes, her reader, and what the reader complained of."""

    domain: Domain
    network: MemoryNetwork
    reader: InboxReader
    nodes: list[MemoryNode]
    foreign: list[bytes] = field(default_factory=list)
    refused: list[Failure] = field(default_factory=list)

    def entry(self, text: str, signer: Member | None = None) -> SignedStatement:
        member = signer or self.domain.gateway
        key = self.domain.alice.certificate.inbox_key
        statement = entry_statement(member.signer, key, self.domain.world.clock(), text.encode())
        return member.signer.sign([statement])[0]

    def acknowledgement(
        self, instance: bytes, *entries: SignedStatement, signer: Member | None = None
    ) -> SignedStatement:
        """Alice's word, by the agent `instance`, that she has `entries`; `signer`: who signs it in her place."""
        member = signer or self.domain.alice
        now = self.domain.world.clock()
        statement = AcknowledgeStatement(
            inbox_key=self.domain.alice.certificate.inbox_key,
            entries=tuple(identity(entry.statement) for entry in entries),
            instance=instance,
            issued=now,
            expires=now + params.OBJECT_LIFETIME,
            signer=member.signer.fingerprint,
        )
        return member.signer.sign([statement])[0]

    async def read(self, count: int) -> list[str]:
        """The texts of the next `count` entries at least."""
        texts: list[str] = []
        async with asyncio.timeout(10):
            while len(texts) < count:
                texts += [each.statement.notification.decode() for each in await self.reader.next_batch()]
        return texts

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - what is waited for is in several tasks and threads
                await asyncio.sleep(0.01)

    @property
    def watching(self) -> bool:
        """Every node has a long poll waiting."""
        return all(node.reads and node.reads[-1][2] == params.WATCH_WAIT for node in self.nodes)


@pytest.fixture
async def inbox(domain: Domain, network: MemoryNetwork, replicas: Replicas) -> AsyncIterator[Inbox]:
    foreign: list[bytes] = []
    refused: list[Failure] = []
    key = domain.alice.certificate.inbox_key
    reader = InboxReader(
        replicas,
        network,
        key,
        INSTANCE,
        domain.world.clock,
        foreign=foreign.append,
        refused=lambda _entry, failure: refused.append(failure),
    )
    yield Inbox(domain, network, reader, network.closest(key)[:3], foreign, refused)
    await reader.stop()


async def test_the_superset_of_inconsistent_replicas_comes_once(inbox: Inbox) -> None:
    """§3.2: an entry on any one of the k nodes is enough, an entry on all of them is one."""
    a, b, c = (inbox.entry(text) for text in "abc")
    for node, entries in zip(inbox.nodes, ([a, b], [b, c], [a]), strict=True):
        node.entries.extend(entries)
    await inbox.reader.start()
    assert sorted(await inbox.read(3)) == ["a", "b", "c"]
    await inbox.until(lambda: inbox.watching or len(inbox.nodes[0].reads) > 1)
    assert inbox.reader._queue.empty()
    assert len(inbox.reader.watched) == 3


async def test_news_comes_at_once_and_an_idle_inbox_costs_one_request_per_node(inbox: Inbox) -> None:
    """Each node has one long poll of WATCH_WAIT under way, and answers it when an entry comes."""
    await inbox.reader.start()
    await inbox.until(lambda: all(node.reads for node in inbox.nodes))
    assert [len(node.reads) for node in inbox.nodes] == [1, 1, 1]
    assert inbox.watching
    for node in inbox.nodes:
        node.append(inbox.entry("news"))
    assert await inbox.read(1) == ["news"]


async def test_acknowledged_entries_are_skipped_also_where_a_node_has_not_heard(inbox: Inbox) -> None:
    """Superset minus all acknowledged: the second node lags."""
    old, new = inbox.entry("old"), inbox.entry("new")
    inbox.nodes[0].acknowledged.append(inbox.acknowledgement(INSTANCE, old))
    inbox.nodes[0].entries.append(old)
    inbox.nodes[1].gate = asyncio.Event()
    inbox.nodes[1].entries.extend([old, new])
    await inbox.reader.start()
    await inbox.until(lambda: len(inbox.nodes[0].reads) > 0)
    inbox.nodes[1].gate.set()
    assert await inbox.read(1) == ["new"]
    assert inbox.foreign == []


async def test_a_foreign_instances_acknowledgement_is_a_loud_warning_once(inbox: Inbox) -> None:
    """Two agents would split the mail."""
    done = inbox.acknowledgement(OTHER, inbox.entry("taken"))
    for node in inbox.nodes:
        node.acknowledged.append(done)
        node.entries.append(inbox.entry("x"))
    await inbox.reader.start()
    await inbox.read(1)
    await inbox.until(lambda: all(len(node.reads) > 1 for node in inbox.nodes))
    assert inbox.foreign == [OTHER]


@pytest.mark.parametrize(("later", "warned"), [(0, False), (params.DIRECT_SKEW, False), (params.HOUR, True)])
async def test_an_agent_that_this_one_came_after_is_no_second_one(inbox: Inbox, later: int, warned: bool) -> None:
    """What a lost machine acknowledged before the recovered agent began is taken as done, without a warning.

    An agent that goes on acknowledging afterwards lives, and is warned of.
    """
    inbox.reader._alone_until = inbox.domain.world.clock() + params.DIRECT_SKEW
    inbox.domain.world.clock.advance(later)
    taken = inbox.entry("taken")
    done = inbox.acknowledgement(OTHER, taken)
    for node in inbox.nodes:
        node.acknowledged.append(done)
        node.entries.extend([taken, inbox.entry("x")])
    await inbox.reader.start()
    assert "taken" not in await inbox.read(1)
    await inbox.until(lambda: all(len(node.reads) > 1 for node in inbox.nodes))
    assert inbox.foreign == ([OTHER] if warned else [])


async def test_a_node_cannot_hide_an_entry_by_saying_we_acknowledged_it(inbox: Inbox) -> None:
    """What our durable memory has not seen was not acknowledged by us."""

    async def seen(_entries: object) -> frozenset[bytes]:
        return frozenset()

    entry = inbox.entry("hidden?")
    inbox.reader._seen = seen
    inbox.nodes[0].acknowledged.append(inbox.acknowledgement(INSTANCE, entry))
    inbox.nodes[0].entries.append(entry)
    inbox.nodes[1].gate = asyncio.Event()
    inbox.nodes[1].entries.append(entry)
    await inbox.reader.start()
    await inbox.until(lambda: len(inbox.nodes[0].reads) > 0)
    inbox.nodes[1].gate.set()
    assert await inbox.read(1) == ["hidden?"]


async def test_what_another_instance_acknowledged_is_skipped_on_all_nodes(inbox: Inbox) -> None:
    """Her signature tells, also where the reader has to ask the node for her certificate first."""
    taken, new = inbox.entry("taken"), inbox.entry("new")
    inbox.nodes[0].acknowledged.append(inbox.acknowledgement(OTHER, taken))
    inbox.nodes[1].gate = asyncio.Event()
    inbox.nodes[1].entries.extend([taken, new])
    await inbox.reader.start()
    await inbox.until(lambda: bool(inbox.foreign))
    inbox.nodes[1].gate.set()
    assert await inbox.read(1) == ["new"]
    assert inbox.foreign == [OTHER]


@pytest.mark.parametrize("liar", ["signature", "signer", "inbox", "unknown", "kind", "compromised"])
async def test_a_node_cannot_hide_an_entry_by_naming_a_foreign_instance(inbox: Inbox, liar: str) -> None:
    """Without the owner's signature an acknowledgement hides nothing and warns of nobody."""
    entry = inbox.entry("hidden?")
    domain = inbox.domain
    statement = inbox.acknowledgement(OTHER, entry)
    match liar:
        case "signature":
            statement = msgspec.structs.replace(statement, proof=Proof(1, 0, (), bytes(64)))
        case "signer":
            statement = inbox.acknowledgement(OTHER, entry, signer=domain.bob)
        case "inbox":
            named = msgspec.structs.replace(
                statement.statement,
                inbox_key=domain.bob.certificate.inbox_key,
                signer=domain.bob.signer.fingerprint,
            )
            [statement] = domain.bob.signer.sign([named])
        case "unknown":
            for node in inbox.nodes:
                node.certificates.pop(domain.alice.certificate.fingerprint)
        case "kind":
            statement = entry
        case "compromised":
            revocation = Revocation(domain.alice.certificate.serial, "compromised", domain.world.clock() + params.DAY)
            inbox.reader._replicas.checker.trust.set_revocations((revocation,))
    inbox.nodes[0].acknowledged.append(statement)
    inbox.nodes[1].gate = asyncio.Event()
    inbox.nodes[1].entries.append(entry)
    await inbox.reader.start()
    await inbox.until(lambda: len(inbox.nodes[0].reads) > 1)
    inbox.nodes[1].gate.set()
    assert await inbox.read(1) == ["hidden?"]
    assert inbox.foreign == []


async def test_a_damaged_copy_is_reported_and_the_good_one_on_another_node_is_read(inbox: Inbox) -> None:
    """The damaged copy comes first."""
    good = inbox.entry("good")
    inbox.nodes[0].entries.append(msgspec.structs.replace(good, proof=Proof(1, 0, (), bytes(64))))
    inbox.nodes[1].gate = asyncio.Event()
    inbox.nodes[1].entries.append(good)
    await inbox.reader.start()
    await inbox.until(lambda: bool(inbox.refused))
    assert isinstance(inbox.refused[0], SignatureRefused)
    inbox.nodes[1].gate.set()
    assert await inbox.read(1) == ["good"]


async def test_entries_of_a_signer_without_the_right_are_reported_once(inbox: Inbox) -> None:
    """A directory may not write entries, however good its signature; three nodes give it, one report comes."""
    for node in inbox.nodes:
        node.entries.append(inbox.entry("forged", inbox.domain.directory))
        node.entries.append(inbox.entry("good"))
    await inbox.reader.start()
    assert await inbox.read(1) == ["good"]
    await inbox.until(lambda: all(len(node.reads) > 1 for node in inbox.nodes))
    assert [type(failure) for failure in inbox.refused] == [NotAuthorised]


async def test_a_node_that_does_not_know_the_signer_leaves_the_entry_to_one_that_does(inbox: Inbox) -> None:
    """The first node has lost the gateway's certificate."""
    inbox.nodes[0].certificates.clear()
    inbox.nodes[0].entries.append(inbox.entry("x"))
    inbox.nodes[1].gate = asyncio.Event()
    inbox.nodes[1].entries.append(inbox.nodes[0].entries[0])
    await inbox.reader.start()
    await inbox.until(lambda: len(inbox.nodes[0].reads) > 1)
    inbox.nodes[1].gate.set()
    assert await inbox.read(1) == ["x"]


async def test_what_all_replicas_give_at_once_is_verified_once(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the pages that come together the second and third have nothing left to verify."""
    judged: list[int] = []
    judge = InboxJudge.entries

    async def counted(self: InboxJudge, statements: Sequence[SignedStatement]) -> list[Outcome]:
        judged.append(len(statements))
        return await judge(self, statements)

    await inbox.reader.start()
    inbox.nodes[0].append(inbox.entry("makes its signer known"))
    await inbox.read(1)
    await inbox.until(lambda: inbox.watching)
    monkeypatch.setattr(InboxJudge, "entries", counted)
    entries = [inbox.entry(f"{number}") for number in range(20)]
    for node in inbox.nodes:
        for entry in entries:
            node.append(entry)
    assert len(await inbox.read(20)) == 20
    await inbox.until(lambda: len(judged) == 3)
    assert judged == [20, 0, 0]


async def test_an_entry_whose_node_is_left_meanwhile_is_read_from_another(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node gave it with another whose signer nobody knows, and is left while it is asked for the certificate."""
    monkeypatch.setattr("p2pcore.mail.read._SETTLE", 0)
    first, second = inbox.nodes[:2]
    await inbox.reader.start()
    second.append(inbox.entry("makes its signer known"))
    await inbox.read(1)
    await inbox.until(lambda: inbox.watching)
    give = first.page

    def give_and_hang(incarnation: bytes, cursor: int, instance: bytes = b"") -> InboxPage:
        first.gate = asyncio.Event()
        return give(incarnation, cursor, instance)

    monkeypatch.setattr(first, "page", give_and_hang)
    good = inbox.entry("good")
    asked = len(first.batches)
    first.append(good)
    first.append(inbox.entry("of a stranger", inbox.domain.bob))
    await inbox.until(lambda: len(first.batches) > asked)
    inbox.network.dead.add(first.contact.node_id)
    inbox.network.changed()
    await inbox.until(lambda: first.contact not in inbox.reader.watched)
    second.append(good)
    assert await inbox.read(1) == ["good"]


async def test_an_unreachable_node_is_tried_again_and_caught_up_with(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other nodes are read meanwhile; after it is back, what only it has is read."""
    monkeypatch.setattr("p2pcore.mail.watch._FIRST_PAUSE", 0.01)
    inbox.nodes[0].down = True
    inbox.nodes[0].entries.append(inbox.entry("only here"))
    inbox.nodes[1].entries.append(inbox.entry("b"))
    await inbox.reader.start()
    assert await inbox.read(1) == ["b"]
    assert inbox.nodes[0].contact.node_id in inbox.network.dead
    inbox.nodes[0].down = False
    assert await inbox.read(1) == ["only here"]


async def test_the_watch_moves_with_the_closest_nodes(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that the substrate has evicted is left, the next closest is read from zero."""
    monkeypatch.setattr("p2pcore.mail.read._SETTLE", 0)
    fourth = inbox.network.closest(inbox.domain.alice.certificate.inbox_key)[3]
    fourth.entries.append(inbox.entry("on the fourth"))
    await inbox.reader.start()
    await inbox.until(lambda: inbox.watching)
    inbox.network.dead.add(inbox.nodes[1].contact.node_id)
    inbox.network.changed()
    assert await inbox.read(1) == ["on the fourth"]
    assert inbox.nodes[1].contact not in inbox.reader.watched


async def test_why_nothing_can_be_watched_is_said_once(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried again every second, for days where a machine is alone; another reason is said as well."""
    monkeypatch.setattr("p2pcore.mail.read._UNPLACED", 1)
    caplog.set_level("INFO", "p2pcore.mail.read")
    failures = [CannotKnow(reason) for reason in ("no record", "no record", "no record", "no node")]
    genuine = inbox.reader._place

    async def place() -> None:
        if failures:
            raise failures.pop(0)
        await genuine()

    monkeypatch.setattr(inbox.reader, "_place", place)
    await inbox.reader.start()
    await inbox.until(lambda: inbox.watching)
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("inbox placement")]
    assert said == ["inbox placement: no record", "inbox placement: no node"]


async def test_a_watch_that_a_defect_ended_begins_again(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """No inbox replica stays unread until the process is restarted."""
    monkeypatch.setattr("p2pcore.mail.read._SETTLE", 0)
    broken = iter([ValueError("defect")])
    genuine = inbox.reader._peers.read_inbox

    async def read_inbox(*arguments: Any) -> InboxPage:
        for error in broken:
            raise error
        return await genuine(*arguments)

    monkeypatch.setattr(inbox.reader._peers, "read_inbox", read_inbox)
    await inbox.reader.start()
    await inbox.until(lambda: inbox.watching)
    assert len(inbox.reader.watched) == 3


async def test_every_hour_the_inbox_is_read_from_zero(inbox: Inbox) -> None:
    """Also what repair brought under the cursor is found."""
    await inbox.reader.start()
    await inbox.until(lambda: inbox.watching)
    inbox.domain.world.clock.advance(params.HOUR)
    for node in inbox.nodes:
        node.append(inbox.entry("x"))
    await inbox.read(1)
    await inbox.until(lambda: all(len(node.reads) == 3 for node in inbox.nodes))
    assert all(node.reads[1][0] == b"" for node in inbox.nodes)


async def test_older_holders_past_the_k_closest_are_read_now_and_then(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """§2.2: an entry that newcomers pushed out of the k closest is found on any of the 2k; a dead one hides nothing."""
    monkeypatch.setattr(read, "_OLDER_HOLDERS", 1)
    fourth, fifth, *_ = inbox.network.closest(inbox.domain.alice.certificate.inbox_key)[3:6]
    fourth.down = True
    fifth.entries.append(inbox.entry("on the fifth"))
    await inbox.reader.start()
    assert await inbox.read(1) == ["on the fifth"]
    assert fifth.contact not in inbox.reader.watched


async def test_an_older_holder_that_comes_to_no_end_holds_up_no_other(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node may say for ever that there is more; those after it are read all the same."""
    monkeypatch.setattr(read, "_OLDER_HOLDERS", 1)
    monkeypatch.setattr(read, "_LONGEST_READ", 0.01)
    fourth, fifth, *_ = inbox.network.closest(inbox.domain.alice.certificate.inbox_key)[3:6]
    fourth.gate = asyncio.Event()
    fifth.entries.append(inbox.entry("on the fifth"))
    await inbox.reader.start()
    assert await inbox.read(1) == ["on the fifth"]


async def test_what_could_not_be_handled_comes_again(inbox: Inbox) -> None:
    """reopen gives an entry out again at the next reading from zero."""
    inbox.nodes[0].entries.append(inbox.entry("again"))
    await inbox.reader.start()
    (entry,) = await inbox.reader.next_batch()
    inbox.reader.reopen(entry.identity)
    inbox.domain.world.clock.advance(params.HOUR)
    inbox.nodes[0].append(inbox.entry("more"))
    assert sorted(await inbox.read(2)) == ["again", "more"]


async def test_what_comes_while_the_reader_is_busy_comes_together(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes are asked again when the reader waits for more, and not once for each entry; none of them twice at once."""
    monkeypatch.setattr(read, "_GATHER", 3_600)
    await inbox.reader.start()
    await inbox.until(lambda: inbox.watching)
    for text in "abc":
        for node in inbox.nodes:
            node.append(inbox.entry(text))
        if text == "a":
            assert await inbox.read(1) == ["a"]
    assert [len(node.reads) for node in inbox.nodes] == [1, 1, 1]
    assert sorted(await inbox.read(2)) == ["b", "c"]
    assert max(len(node.reads) for node in inbox.nodes) == 2


async def test_only_a_reader_who_was_given_several_entries_waits_for_company(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lone message is given out at once, and so is the next; after several at once more of them are gathered."""
    monkeypatch.setattr(read, "_TOGETHER", 3_600)
    monkeypatch.setattr(read, "_EACH", 1_800)
    await inbox.reader.start()
    await inbox.until(lambda: inbox.watching)
    for texts in (["a"], ["b"], ["c", "d"]):
        for node in inbox.nodes:
            for text in texts:
                node.append(inbox.entry(text))
        assert await inbox.read(1) == texts
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await inbox.reader.next_batch()


@pytest.mark.parametrize(("together", "pause"), [(1, 0.0), (2, 0.02), (10, 0.1), (30, 0.3), (500, 0.3)])
async def test_the_more_came_together_the_longer_more_is_gathered(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, together: int, pause: float
) -> None:
    """A lone message costs the next one no wait, two little, and none more than 300 ms."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    await inbox.reader.start()
    await inbox.until(lambda: inbox.watching)
    for number in range(together):
        inbox.nodes[0].append(inbox.entry(f"{number}"))
    assert len(await inbox.read(together)) == together
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "sleep", sleep)
        following = asyncio.create_task(inbox.reader.next_batch())
        for node in inbox.nodes:
            node.append(inbox.entry("more"))
        await following
    assert [each for each in pauses if each] == pytest.approx([pause] if pause else [])


async def test_a_reader_that_does_not_come_back_holds_nothing_for_long(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After _GATHER the nodes are asked again without it, as long as there is room for their pages."""
    monkeypatch.setattr(read, "_GATHER", 0.01)
    await inbox.reader.start()
    await inbox.until(lambda: inbox.watching)
    for node in inbox.nodes:
        node.append(inbox.entry("news"))
    await inbox.until(lambda: all(len(node.reads) == 2 for node in inbox.nodes))
    assert await inbox.read(1) == ["news"]


async def test_a_slow_reader_holds_the_pages_back(inbox: Inbox) -> None:
    """With the queue full, a node is not asked for more until somebody reads; then everything comes."""
    await inbox.reader.start()
    await inbox.until(lambda: inbox.watching)
    node = inbox.nodes[0]
    for number in range(4):
        node.append(inbox.entry(f"{number}"))
        await inbox.until(lambda expected=number + 2: len(node.reads) == expected)  # type: ignore[misc]
    for number in range(4, 20):
        node.append(inbox.entry(f"{number}"))
        for _ in range(20):
            await asyncio.sleep(0)
    assert len(node.reads) == 5
    assert sorted(map(int, await inbox.read(20))) == list(range(20))
