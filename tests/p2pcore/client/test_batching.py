"""p2pcore.client.batching: gathering per peer while a request to it is under way."""

import asyncio
import hashlib

import pytest

from p2pcore import params
from p2pcore.client import batching
from p2pcore.client.batching import Batcher, Load
from p2pcore.errors import Failure, NotFound, TooLarge, Unreachable, by_http_status
from p2pcore.records import AskCertificate, AskInbox, Fetch, Operation, Result, Store
from tests.p2pcore.client.memory_network import MemoryNetwork
from tests.support.identities import World, object_statement


def ask(number: int) -> Operation:
    return AskInbox(hashlib.sha256(b"%d" % number).digest())


async def turn() -> None:
    """Let everything that is ready run."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_is_ready_in_the_same_turn_travels_together_at_once() -> None:
    """An idle peer is asked without delay, and for both."""
    network = MemoryNetwork(1)
    batcher = Batcher(network)
    contact = network.nodes[0].contact
    await asyncio.gather(batcher.submit(contact, ask(1)), batcher.submit(contact, ask(2)))
    assert network.nodes[0].batches == [[ask(1), ask(2)]]


async def test_while_a_request_is_under_way_operations_gather() -> None:
    """Ten operations that come during the first request leave in one second request, in order."""
    network = MemoryNetwork(1)
    node = network.nodes[0]
    node.gate = asyncio.Event()
    batcher = Batcher(network)
    first = batcher.post(node.contact, [ask(0)])
    await turn()
    later = [batcher.post(node.contact, [ask(number)]) for number in range(1, 11)]
    await turn()
    assert node.batches == [[ask(0)]]
    node.gate.set()
    await asyncio.gather(first, *later)
    assert node.batches == [[ask(0)], [ask(number) for number in range(1, 11)]]


async def test_what_waited_for_an_answer_gathers_a_little_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the answer itself sets free travels with what waited for it; a full request does not wait for that."""
    monkeypatch.setattr(batching, "GATHER", 3_600)
    monkeypatch.setattr(batching, "BATCH_OPERATIONS", 3)
    network = MemoryNetwork(1)
    node = network.nodes[0]
    node.gate = asyncio.Event()
    batcher = Batcher(network)
    first = batcher.post(node.contact, [ask(0)])
    await turn()
    waiting = batcher.post(node.contact, [ask(1)])
    node.gate.set()
    await first
    await turn()
    assert node.batches == [[ask(0)]]
    set_free = [batcher.post(node.contact, [ask(number)]) for number in (2, 3)]
    await asyncio.gather(waiting, *set_free)
    assert node.batches == [[ask(0)], [ask(1), ask(2), ask(3)]]


async def test_a_lone_message_is_never_delayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One operation after the other, each to an idle peer, waits for no company."""
    monkeypatch.setattr(batching, "GATHER", 3_600)
    network = MemoryNetwork(1)
    batcher = Batcher(network)
    for number in range(3):
        await batcher.submit(network.nodes[0].contact, ask(number))
    assert [len(batch) for batch in network.nodes[0].batches] == [1, 1, 1]


async def test_two_peers_do_not_wait_for_each_other() -> None:
    """A request under way to one peer holds nothing back from another."""
    network = MemoryNetwork(2)
    slow, fast = network.nodes
    slow.gate = asyncio.Event()
    batcher = Batcher(network)
    waiting = batcher.post(slow.contact, [ask(0)])
    await batcher.submit(fast.contact, ask(1))
    assert not waiting.done()
    await batcher.stop()
    with pytest.raises(Unreachable):
        await waiting


async def test_each_operation_gets_its_own_result() -> None:
    """A failure of one operation is not another's."""
    network = MemoryNetwork(1)
    contact = network.nodes[0].contact
    missing, found = await Batcher(network).post(contact, [AskCertificate(bytes(32)), ask(1)])
    assert isinstance(by_http_status(missing.status, missing.reason), NotFound)
    assert found.status == 200


async def test_a_request_refused_as_a_whole_is_repeated_piece_by_piece() -> None:
    """One bad operation does not fail those that happened to travel with it."""

    class Fussy(MemoryNetwork):
        async def call(self, contact: object, operations: object) -> list[Result]:
            if ask(13) in operations:  # type: ignore[operator]
                raise TooLarge("thirteen")
            return [Result(200) for _ in operations]  # type: ignore[attr-defined]

    network = Fussy(1)
    contact = network.nodes[0].contact
    batcher = Batcher(network)
    answers = [batcher.post(contact, [ask(number)]) for number in (12, 13, 14)]
    outcomes = await asyncio.gather(*answers, return_exceptions=True)
    assert [isinstance(outcome, TooLarge) for outcome in outcomes] == [False, True, False]


async def test_requests_keep_their_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """More operations than fit one request are split in order; expected answers count too."""
    monkeypatch.setattr(batching, "BATCH_OPERATIONS", 4)
    network = MemoryNetwork(1)
    node = network.nodes[0]
    batcher = Batcher(network)
    results = await batcher.post(node.contact, [ask(number) for number in range(10)])
    assert len(results) == 10
    assert [len(batch) for batch in node.batches] == [4, 4, 2]
    assert [operation for batch in node.batches for operation in batch] == [ask(number) for number in range(10)]
    node.batches.clear()
    fetches = [batcher.submit(node.contact, Fetch(bytes(32), b""), expected=3 << 20) for _ in range(3)]
    await asyncio.gather(*fetches)
    assert [len(batch) for batch in node.batches] == [1, 1, 1]


async def test_a_peer_that_lags_too_far_behind_counts_as_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for one slow node is bounded."""
    monkeypatch.setattr(batching, "WAITING_OCTETS", 5_000)
    network = MemoryNetwork(1)
    node = network.nodes[0]
    node.gate = asyncio.Event()
    batcher = Batcher(network)
    answers = [batcher.post(node.contact, [ask(number)]) for number in range(20)]
    await turn()
    refused = [answer for answer in answers if answer.done()]
    assert refused
    assert all(isinstance(answer.exception(), Unreachable) for answer in refused)
    node.gate.set()
    results = await asyncio.gather(*answers, return_exceptions=True)
    assert sum(isinstance(result, Unreachable) for result in results) == len(refused)


class Thrower:
    """An addressee with a mistake in it."""

    def done(self) -> bool:
        return False

    def set_result(self, results: list[Result]) -> None:
        raise ZeroDivisionError

    def set_exception(self, failure: Failure) -> None:
        raise ZeroDivisionError


async def test_an_addressee_that_fails_is_reported_and_harms_nobody_else() -> None:
    """The answers (or the failure) that came with its own arrive, and the next request leaves."""
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context.get("exception")))
    network = MemoryNetwork(1)
    node = network.nodes[0]
    batcher = Batcher(network)
    batcher.send(node.contact, Load.of([ask(0)]), Thrower())
    assert len(await batcher.post(node.contact, [ask(1)])) == 1
    assert len(await batcher.post(node.contact, [ask(2)])) == 1
    assert [type(error) for error in reported] == [ZeroDivisionError]
    node.down = True
    batcher.send(node.contact, Load.of([ask(3)]), Thrower())
    with pytest.raises(Unreachable):
        await batcher.post(node.contact, [ask(4)])
    assert [type(error) for error in reported] == [ZeroDivisionError, ZeroDivisionError]


async def test_an_addressee_is_told_of_a_load_in_several_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit one request is answered in one piece all the same."""
    monkeypatch.setattr(batching, "BATCH_OPERATIONS", 3)
    network = MemoryNetwork(1)
    node = network.nodes[0]
    answer: asyncio.Future[list[Result]] = asyncio.get_running_loop().create_future()
    batcher = Batcher(network)
    batcher.send(node.contact, Load.of([ask(number) for number in range(7)]), answer)
    assert len(await answer) == 7
    assert [len(batch) for batch in node.batches] == [3, 3, 1]
    node.down = True
    refused: asyncio.Future[list[Result]] = asyncio.get_running_loop().create_future()
    batcher.send(node.contact, Load.of([ask(number) for number in range(7)]), refused)
    with pytest.raises(Unreachable):
        await refused


async def test_an_operation_nobody_waits_for_is_not_sent() -> None:
    """A cancelled caller's operation is dropped while it waits."""
    network = MemoryNetwork(1)
    node = network.nodes[0]
    node.gate = asyncio.Event()
    batcher = Batcher(network)
    first = batcher.post(node.contact, [ask(0)])
    await turn()
    batcher.post(node.contact, [ask(1)]).cancel()
    last = batcher.post(node.contact, [ask(2)])
    node.gate.set()
    await asyncio.gather(first, last)
    assert node.batches == [[ask(0)], [ask(2)]]


async def test_a_giant_operation_is_refused() -> None:
    """What fits no request at all is TooLarge before it is sent."""
    world = World()
    signer = world.gateway().signer
    (signed,) = signer.sign([object_statement(signer, world.clock())])
    network = MemoryNetwork(1)
    with pytest.raises(TooLarge):
        await Batcher(network).submit(network.nodes[0].contact, Store(signed, bytes(params.MAX_BATCH)))
    assert network.nodes[0].batches == []
