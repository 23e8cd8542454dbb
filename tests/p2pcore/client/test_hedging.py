"""p2pcore.client.hedging: one replica after another, the next early when the first is slow."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from p2pcore.client.hedging import Hedge, Progress
from p2pcore.dht.contact import Contact
from p2pcore.errors import NotFound

A, B, C = (Contact(bytes([number]) * 32, "127.0.0.1", number) for number in (1, 2, 3))


async def each(contacts: Sequence[Contact]) -> AsyncIterator[Contact]:
    for contact in contacts:
        yield contact


async def test_a_good_first_answer_asks_nobody_else() -> None:
    """One request where all is well."""
    asked: list[Contact] = []

    async def attempt(contact: Contact, _progress: Progress) -> int:
        asked.append(contact)
        return contact.port

    assert await Hedge(attempt).first_good(each([A, B, C])) == 1
    assert asked == [A]


async def test_after_a_failure_the_next_is_asked_at_once() -> None:
    """Without waiting for the hedging delay, here an hour."""

    async def attempt(contact: Contact, _progress: Progress) -> int:
        if contact != C:
            raise NotFound(str(contact.port))
        return contact.port

    hedge = Hedge(attempt, delay=3_600_000)
    assert await hedge.first_good(each([A, B, C])) == 3
    assert list(hedge.failures) == [A, B]


async def test_a_head_start_shortens_the_wait_for_the_first_only() -> None:
    """A has been asked for the whole delay already, so B is asked at once; C would be asked an hour later."""
    asked: list[Contact] = []

    async def attempt(contact: Contact, _progress: Progress) -> int:
        asked.append(contact)
        await asyncio.get_running_loop().create_future()
        return contact.port

    question = asyncio.create_task(Hedge(attempt, delay=3_600_000).first_good(each([A, B, C]), head_start=3_600.0))
    done, _ = await asyncio.wait([question], timeout=0.1)
    assert not done
    assert asked == [A, B]
    question.cancel()
    await asyncio.wait([question])


async def test_when_all_fail_there_is_nothing() -> None:
    """None, and every failure is known."""

    async def attempt(contact: Contact, _progress: Progress) -> int:
        raise NotFound(str(contact.port))

    hedge = Hedge(attempt)
    assert await hedge.first_good(each([A, B])) is None
    assert set(hedge.failures) == {A, B}


async def test_a_transfer_that_moves_is_not_hedged() -> None:
    """The delay is 0, yet B is not asked for what A is sending already; when A then fails, it is."""
    asked: list[Contact] = []
    go_on = asyncio.Event()

    async def attempt(contact: Contact, progress: Progress) -> int:
        asked.append(contact)
        if contact == A:
            progress()
            await go_on.wait()
            raise NotFound("lost half-way")
        return contact.port

    question = asyncio.create_task(Hedge(attempt, delay=10).first_good(each([A, B])))
    done, _ = await asyncio.wait([question], timeout=0.1)
    assert not done
    assert asked == [A]
    go_on.set()
    assert await question == 2


async def test_a_success_that_comes_too_late_is_discarded() -> None:
    """What it holds open is closed."""
    discarded: list[int] = []
    both = asyncio.Event()

    async def attempt(contact: Contact, _progress: Progress) -> int:
        if contact == B:
            both.set()
        await both.wait()
        return contact.port

    got = await Hedge(attempt, delay=1, discard=discarded.append).first_good(each([A, B]))
    assert {got, *discarded} == {1, 2}
