"""gateway.outbox killed at every change of its state: what was promised is done, and done once."""

import asyncio
import multiprocessing
import signal
from dataclasses import replace
from pathlib import Path

from p2pcore.records import encode
from tests.gateway.outbox import dying
from tests.gateway.outbox.dying import CONTENT, PROMISED, Plan
from tests.gateway.outbox.world import OUTSIDE, FakeGateway
from tests.support.identities import World

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([dying.__name__])


async def _run(plan: Plan) -> int:
    """Run one process to its end; gives its exit code."""
    process = _processes.Process(target=dying.run, args=(plan,))
    process.start()
    await asyncio.to_thread(process.join, 30)
    code = process.exitcode
    process.close()
    assert code is not None
    return code


async def test_killed_at_any_commit_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    """Just before and just after each commit of a delivery by both routes with one refusal, then a new start.

    Bob's one entry, one message at the gateway, one copy in Sent, one report; no content file is left. Where her client
    was not yet told 250, all of it or nothing.
    """
    world = World()
    alice, bob = world.user("alice"), world.user("bob")
    gateway = FakeGateway(world.gateway(), at_rcpt={"nobody@example.org": "550 5.1.1 no such address"})
    await gateway.start()
    digest = gateway.member.certificate.fingerprint
    plan = Plan(tmp_path / "whole", encode(alice.identity), bob.certificate.der, gateway.port, digest, submit=True)
    plan.directory.mkdir()
    assert await _run(plan) == 0
    commits = int((plan.directory / "commits").read_text())
    assert commits >= 6  # accept, statements, parcel, outcomes, copy, report
    _check(plan.directory, gateway, promised=True)

    async def killed(number: int, *, after: bool) -> None:
        directory = tmp_path / f"{number}{after}"
        directory.mkdir()
        dies = replace(plan, directory=directory, commit=number, after=after)
        gateway.queued.clear()
        assert await _run(dies) == -signal.SIGKILL
        assert await _run(replace(dies, submit=False, commit=0)) == 0
        _check(directory, gateway, promised=(directory / PROMISED).exists())

    for number in range(1, commits + 1):
        for after in (False, True):
            await killed(number, after=after)
    await gateway.stop()


def _check(directory: Path, gateway: FakeGateway, *, promised: bool) -> None:
    log = directory / "appended"
    entries = set(log.read_text().split()) if log.exists() else set()
    filed = [path.read_bytes() for path in directory.glob("filed-*")]
    copies = [octets for octets in filed if octets == CONTENT]
    reports = [octets for octets in filed if b"Status: 5.1.1" in octets]
    counts = (len(entries), len(gateway.queued), len(copies), len(reports), len(filed))
    assert counts == (1, 1, 1, 1, 2) or (not promised and counts == (0, 0, 0, 0, 0))
    assert all((relayed.recipients, relayed.content) == ((OUTSIDE,), CONTENT) for relayed in gateway.queued.values())
    assert list((directory / "outbox" / "contents").iterdir()) == []
