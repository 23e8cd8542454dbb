"""What one user may send through a gateway in a minute and in a day: counted once, for her alone, across restarts."""

from pathlib import Path
from typing import Any

from gateway.mail.outgoing import Sending
from gateway.outbound.queue import Queue
from gateway.smtp.daily import DailyRecipients
from gateway.smtp.limits import Pace
from p2pcore.params import DAY
from tests.gateway.outbound.world import KEY, new_item
from tests.gateway.smtp.attacks.roles import HEADER, RELAY
from tests.gateway.smtp.attacks.wire import STRANGER, ShownCertificate, Wire, on_virtual_time, settled
from tests.gateway.smtp.submission_world import ALICE, People
from tests.support.identities import ManualClock, Member

TODAY = b"450 4.7.1 more recipients than you may send to in a day, later again\r\n"


async def sends(world: Any, member: Member, envelope_id: str, count: int, content: bytes | None = None) -> bytes:
    """The last reply to a submission of `member` to `count` recipients."""
    address = member.certificate.primary_address
    wire = Wire(world.server, STRANGER, **ShownCertificate.of(member))
    await wire.send(RELAY.greeting, f"MAIL FROM:<{address}> ENVID={envelope_id}\r\n".encode())
    for number in range(count):
        await wire.send(f"RCPT TO:<x{number}@example.com>\r\n".encode())
    said = await wire.send(b"DATA\r\n")
    if said.startswith(b"354"):
        said = await wire.send(content or HEADER.replace(ALICE.encode(), address.encode()), b".\r\n")
    wire.vanish()
    await settled()
    return said


def test_recipients_of_a_day(people: People, tmp_path: Path) -> None:
    """One too many is 450 4.7.1 before the content, for her alone; with time there is room again."""

    async def story(world: Any) -> None:
        for _ in range(3):
            assert (await sends(world, people.alice, f"a{world.clock.now}", 3)).startswith(b"250 2.0.0 ")
            assert await sends(world, people.alice, "b", 2) == TODAY
            assert (await sends(world, people.bob, f"b{world.clock.now}", 4)).startswith(b"250 2.0.0 ")
            assert (await sends(world, people.alice, f"c{world.clock.now}", 1)).startswith(b"250 2.0.0 ")
            assert await sends(world, people.alice, "d", 1) == TODAY
            world.clock.advance(DAY)
        assert world.server.memory.used == 0

    on_virtual_time(lambda: RELAY.make(people, tmp_path, recipients_per_day=4), story)


def test_only_what_was_kept_counts(people: People, tmp_path: Path) -> None:
    """A submission repeated after a lost 250, a refused content and a queue that fails cost nothing."""

    async def story(world: Any) -> None:
        for _ in range(3):
            assert (await sends(world, people.alice, "one", 2)).startswith(b"250 2.0.0 ")
            assert (await sends(world, people.alice, "two", 2, b"From: ceo@example.org\r\n\r\n")).startswith(
                b"550 5.7.1 "
            )
            world.queue.failure = OSError(28, "no room")
            assert (await sends(world, people.alice, "three", 2)).startswith(b"452 4.3.1 ")
            world.queue.failure = None
        assert (await sends(world, people.alice, "four", 2)).startswith(b"250 2.0.0 ")
        assert await sends(world, people.alice, "five", 1) == TODAY
        assert (await sends(world, people.alice, "four", 2)).startswith(b"250 2.0.0 ")  # its 250 was lost

    on_virtual_time(lambda: RELAY.make(people, tmp_path, recipients_per_day=4), story)


def test_a_restart_forgets_nothing(people: People, tmp_path: Path) -> None:
    """A gateway that begins anew counts what its queue has accepted in the last day (docs/decisions/0025)."""

    def make() -> Any:
        world = RELAY.make(people, tmp_path, recipients_per_day=4)
        now = world.clock.now
        world.queue.before = [Sending(now - DAY // 2, ALICE, 4), Sending(now - 1, ALICE, 2)]
        return world

    async def story(world: Any) -> None:
        assert await sends(world, people.alice, "one", 1) == TODAY
        assert (await sends(world, people.bob, "one", 4)).startswith(b"250 2.0.0 ")
        world.clock.advance(DAY // 4)
        assert (await sends(world, people.alice, "one", 1)).startswith(b"250 2.0.0 ")

    on_virtual_time(make, story)


async def test_the_queue_writes_down_what_counts(tmp_path: Path) -> None:
    """Durably and once, though the mail itself has gone; after a day it is forgotten."""
    clock = ManualClock()
    queue = Queue(tmp_path, KEY, clock)
    await queue.open()
    assert await queue.accept(new_item("a@example.com", "b@example.com", submission_id="one"))
    assert not await queue.accept(new_item("a@example.com", "b@example.com", submission_id="one"))
    first = clock.now
    clock.advance(1_000)
    assert await queue.accept(new_item("a@example.com", submission_id="two"))
    for item in await queue.items():
        assert await queue.remove(item.id)
    await queue.close()
    again = Queue(tmp_path, KEY, clock)
    await again.open()
    assert await again.sendings() == [Sending(first, ALICE, 2), Sending(first + 1_000, ALICE, 1)]
    daily = DailyRecipients(4, again, clock)
    await daily.restore()
    await daily.check(ALICE, "three", 1)
    clock.advance(DAY)
    assert await again.accept(new_item("a@example.com", submission_id="three"))
    assert await again.sendings() == [Sending(first + 1_000 + DAY, ALICE, 1)]
    await again.close()


def test_messages_of_a_minute(people: People, tmp_path: Path) -> None:
    """450 4.7.1 at MAIL, for her alone whatever her connection; a minute later she may go on."""

    async def story(world: Any) -> None:
        for _ in range(3):
            for number in range(2):
                assert (await sends(world, people.alice, f"{world.clock.now}-{number}", 1)).startswith(b"250 2.0.0 ")
            wire = RELAY.wire(world)
            said = await wire.send(RELAY.greeting, b"MAIL FROM:" + RELAY.mail + b"\r\n")
            assert said.endswith(b"450 4.7.1 too many messages from your address, slow down\r\n")
            wire.vanish()
            assert (await sends(world, people.bob, f"b{world.clock.now}", 1)).startswith(b"250 2.0.0 ")
            world.clock.advance(60_000)

    on_virtual_time(lambda: RELAY.make(people, tmp_path, limits={"messages_per_minute": 2}), story)


def test_paces_agree() -> None:
    """What is counted by `count` after a restart leaves what `take` had left before it; `give_back` undoes `take`."""
    clock = ManualClock()
    taken, counted = Pace(10, DAY, clock), Pace(10, DAY, clock)
    for step, count in ((0, 3), (DAY // 10, 5), (DAY // 3, 2), (DAY // 100, 3)):
        clock.advance(step)
        assert taken.take("a", count)
        counted.count("a", count, clock.now)
        assert taken.left("a") == counted.left("a")
    left = taken.left("a")
    assert not taken.take("a", left + 1)
    assert taken.take("a", left)
    taken.give_back("a", left)
    assert taken.left("a") == left
    taken.give_back("a", 100)
    assert taken.left("a") == 10


def test_a_header_section_is_counted(people: People, tmp_path: Path) -> None:
    """While it is held, and no more than the content once it has passed."""
    field = b"X: " + b"x" * 990 + b"\r\n"

    async def story(world: Any) -> None:
        wire = await RELAY.in_content(world)
        before = world.server.memory.used
        await wire.send(field * 200)
        assert world.server.memory.used - before >= 200 * len(field) - 10
        await wire.send(HEADER + b"x\r\n")
        assert abs(world.server.memory.used - before - 200 * len(field) - len(HEADER) - 3) < 10
        assert (await wire.send(b".\r\n")).startswith(b"250 2.0.0 ")
        assert world.server.memory.used == 0
        wire.vanish()

    on_virtual_time(lambda: RELAY.make(people, tmp_path), story)
