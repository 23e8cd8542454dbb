"""SIGKILL at the points where a queue loses or doubles mail."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.outbound.bodies import open_content
from gateway.outbound.model import QueueItem
from gateway.outbound.queue import Queue
from p2pcore.clock import system_clock
from tests.gateway.outbound.world import CONTENT, KEY, new_item
from tests.support.fake_mta import FakeMta


@asynccontextmanager
async def process(mode: str, directory: Path, port: int = 0) -> AsyncIterator[asyncio.StreamReader]:
    """Run killed.py; give its output; kill it with SIGKILL at the end of the block."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.gateway.outbound.killed",
        mode,
        directory,
        str(port),
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    try:
        async with asyncio.timeout(60):
            yield child.stdout
    finally:
        child.kill()
        await child.wait()


async def kept(directory: Path) -> list[QueueItem]:
    queue = Queue(directory, KEY, system_clock)
    await queue.open()
    items = await queue.items(1_000_000)
    for item in items:
        assert open_content(item.sealed).startswith(CONTENT)
    assert {path.name for path in (directory / "bodies").iterdir()} == {
        item.sealed.source.name for item in items if isinstance(item.sealed.source, Path)
    }
    await queue.close()
    return items


async def queued(directory: Path, *paths: str) -> None:
    queue = Queue(directory, KEY, system_clock)
    await queue.open()
    assert await queue.accept(new_item(*paths))
    await queue.close()


async def test_what_was_acknowledged_is_there(tmp_path: Path) -> None:
    """Killed while it accepts as fast as it can: every acknowledged submission is kept, whole; no file is left over."""
    for round_ in range(3):
        directory = tmp_path / str(round_)
        async with process("accept", directory) as output:
            said = [(await output.readline()).decode().strip() for _ in range(10 + 7 * round_)]
        said += [line.decode().strip() for line in (await output.read()).splitlines(keepends=True) if b"\n" in line]
        submissions = [item.submission_id for item in await kept(directory)]
        assert submissions[: len(said)] == said
        assert len(submissions) - len(said) <= 1  # kept, and killed before it could say so


async def test_what_was_recorded_is_not_sent_again(tmp_path: Path, mta: FakeMta) -> None:
    """Killed after the outcome was recorded: the next process has nothing to send."""
    await queued(tmp_path)
    async with process("deliver", tmp_path, mta.port) as output:
        assert await output.readline() == b"recorded\n"
    assert await kept(tmp_path) == []
    assert len(mta.taken) == 1


async def test_between_the_final_reply_and_its_record_mail_is_sent_again(tmp_path: Path, mta: FakeMta) -> None:
    """Killed in SMTP's own window: the message is still queued and sent once more, with the same octets."""
    await queued(tmp_path)
    async with process("stall", tmp_path, mta.port) as output:
        assert await output.readline() == b"answered\n"
    assert len(await kept(tmp_path)) == 1
    async with process("deliver", tmp_path, mta.port) as output:
        assert await output.readline() == b"recorded\n"
    assert await kept(tmp_path) == []
    assert [taken.content for taken in mta.taken] == [new_item().trace + CONTENT] * 2


async def test_before_the_final_reply_nothing_counts_as_sent(tmp_path: Path, mta: FakeMta) -> None:
    """Killed while the remote thinks about the dot: the message stays and is delivered by the next process."""
    await queued(tmp_path)
    mta.hold = asyncio.Event()
    async with process("deliver", tmp_path, mta.port):
        await mta.at_dot.wait()
    mta.hold.set()
    assert len(await kept(tmp_path)) == 1
    async with process("deliver", tmp_path, mta.port) as output:
        assert await output.readline() == b"recorded\n"
    assert await kept(tmp_path) == []


async def test_a_message_to_many_domains_is_repeated_for_one_transaction(tmp_path: Path, mta: FakeMta) -> None:
    """Killed in SMTP's own window at a smarthost: whose outcome was recorded gets nothing twice."""
    paths = [f"x@d{number}.example" for number in range(103)]
    await queued(tmp_path, *paths)
    async with process("deliver", tmp_path, mta.port) as output:
        assert await output.readline() == b"recorded\n"
    left = sum(each.state == "pending" for item in await kept(tmp_path) for each in item.recipients)
    assert left in (0, 3)  # 0: it was quick
    while left:
        async with process("deliver", tmp_path, mta.port) as output:
            assert await output.readline() == b"recorded\n"
        left = len(await kept(tmp_path))
    assert mta.taken[0].forward_paths == paths[:100]
    assert all(taken.forward_paths == paths[100:] for taken in mta.taken[1:])
