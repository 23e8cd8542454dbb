"""Lines and octets come out in order however they came in, and the client is paused when it sends too much."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.smtp.reader import ClientGone, ClientInput, LineTooLong

LIMIT = 8


class Source(asyncio.ReadTransport):
    """Counts how often it was paused."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = False

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False


@given(st.lists(st.binary(max_size=12).map(lambda octets: octets.replace(b"a", b"\n"))))
def test_lines_do_not_depend_on_how_they_arrive(pieces: list[bytes]) -> None:
    """Invariant: the lines read are the stream's lines, those over the limit as errors, however it is cut."""

    async def run() -> list[bytes]:
        reader = ClientInput(asyncio.get_running_loop(), 1 << 20)

        async def feed() -> None:
            for piece in pieces:
                reader.feed(piece)
                await asyncio.sleep(0)
            reader.end()

        feeding = asyncio.create_task(feed())
        lines: list[bytes] = []
        while True:
            try:
                lines.append(await reader.next_line(LIMIT))
            except LineTooLong:
                lines.append(b"long")
            except ClientGone:
                await feeding
                return lines

    expected = [line + b"\n" for line in b"".join(pieces).split(b"\n")[:-1]]
    assert asyncio.run(run()) == [line if len(line) <= LIMIT else b"long" for line in expected]


async def test_a_client_is_paused_and_resumed() -> None:
    """Above high_water it is paused; at half of it, it goes on."""
    reader, source = ClientInput(asyncio.get_running_loop(), 100), Source()
    reader.set_transport(source)
    reader.feed(b"x" * 100)
    assert not source.paused
    reader.feed(b"y")
    assert source.paused
    assert len(await reader.some(40)) == 40
    assert source.paused
    assert len(await reader.some(40)) == 40
    assert not source.paused
    assert [await reader.some(1_000), await reader.some(1_000)] == [b"x" * 20, b"y"]  # as it came, without a copy


async def test_octets_that_come_one_by_one_are_put_together() -> None:
    """So that they take little more memory than they are, whoever sends them so."""
    reader = ClientInput(asyncio.get_running_loop(), 1 << 20)
    for octet in b"0123456789" * 100:
        reader.feed(bytes((octet,)))
    first = await reader.some(1_000)
    assert len(first) > 900
    rest = [await reader.some(1_000) for _ in range(1_000 - len(first))]
    assert first + b"".join(rest) == b"0123456789" * 100


async def test_what_is_pushed_back_precedes_a_piece_that_is_partly_taken() -> None:
    """Nothing that was taken before comes again."""
    reader = ClientInput(asyncio.get_running_loop(), 100)
    reader.feed(b"xxlater\n")
    assert await reader.some(2) == b"xx"
    reader.push_back(b"first\n")
    assert reader.pending == 12
    assert [reader.line(10), reader.line(10)] == [b"first\n", b"later\n"]


async def test_what_is_pushed_back_comes_first() -> None:
    """Commands behind the dot are read before what arrives later; the end comes after everything."""
    reader = ClientInput(asyncio.get_running_loop(), 100)
    reader.feed(b"later\n")
    reader.push_back(b"first\n")
    assert reader.pending == 12
    assert await reader.next_line(10) == b"first\n"
    reader.end()
    assert await reader.next_line(10) == b"later\n"
    assert reader.has_ended
    assert reader.pending == 0
    with pytest.raises(ClientGone):
        await reader.some(1)
