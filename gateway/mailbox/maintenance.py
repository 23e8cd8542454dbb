"""Check and repair of an open store, in turns of its thread between which others have theirs."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from gateway.mailbox import check as checks
from gateway.mailbox import repair as repairs

Progress = Callable[[str, int, int], None]
"""(what is being done, how much of it is, how much there is); 0 of 0 where nobody knows."""


class Reading(Protocol):
    """MailStore's: run a function of the database on its thread."""

    def __call__(self, work: Callable[..., Any], /, *args: object) -> Awaitable[Any]: ...


async def check(read: Reading, progress: Progress) -> list[str]:
    """See MailStore.check."""
    progress("structure", 0, 0)
    problems: list[str] = await read(checks.structure)
    after, done, total = 0, 0, await read(checks.count)
    while True:
        found, last, count = await read(checks.content_slice, after)
        problems += [problem.text for problem in found]
        done += count
        progress("contents", done, max(total, done))
        if not count or len(problems) > checks.MOST:
            return problems
        after = last


async def repair(read: Reading, write: Reading, now: int, progress: Progress) -> tuple[list[str], list[str]]:
    """See MailStore.repair."""
    progress("structure", 0, 0)
    structure: list[str] = await read(checks.structure)
    if any(problem.startswith("database: ") for problem in structure):
        return [], [*structure, "the database itself is damaged: nothing was changed; restore a backup"]
    done: list[str] = await write(repairs.rows, now)
    after, examined, total = 0, 0, await read(checks.count)
    while True:
        found, last, count = await read(checks.content_slice, after)
        if any(problem.again is not None for problem in found):
            done += await write(repairs.structures, found)
        examined += count
        progress("contents", examined, max(total, examined))
        if not count:
            break
        after = last
    await write(repairs.index)
    done.append("the full-text index is being made again")
    return done, await check(read, progress)
