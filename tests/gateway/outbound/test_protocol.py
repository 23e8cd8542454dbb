"""Replies of any length, as they come off the wire."""

import asyncio

import pytest
from aiosmtplib.errors import SMTPResponseException
from aiosmtplib.response import SMTPResponse
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.outbound import params
from gateway.outbound.protocol import HostProtocol


async def read(octets: bytes, cuts: list[int]) -> tuple[SMTPResponse, int]:
    """Return the reply that `octets`, received in pieces, are, and how many of them were held at most."""
    protocol = HostProtocol(asyncio.get_running_loop())
    protocol.connection_made(asyncio.Transport())
    held, start = 0, 0
    for end in [*sorted(cuts), len(octets)]:
        protocol.data_received(octets[start:end])
        held, start = max(held, len(protocol._buffer)), end
    return await protocol.read_response(10), held


@settings(deadline=None)
@example([506], 40, [])  # more than is held
@example([506], 200, [1_000, 50_000])  # more than aiosmtplib takes
@given(st.lists(st.integers(0, 506), max_size=20), st.integers(1, 20), st.lists(st.integers(0, 100_000), max_size=20))
def test_a_reply_is_the_same_in_any_pieces(lengths: list[int], times: int, cuts: list[int]) -> None:
    """Invariant: code and beginning are those of the whole reply, and memory has a bound."""
    lines = [f"{number} ".ljust(length, "x")[:length] for number, length in enumerate(lengths * times)]
    octets = "".join(f"550-{line}\r\n" for line in lines).encode() + b"550 5.7.1 no\r\n"
    response, held = asyncio.run(read(octets, cuts))
    whole = "\n".join([line.strip() for line in lines] + ["5.7.1 no"]).lstrip("\n")
    assert response.code == 550
    assert response.message.endswith("5.7.1 no")
    assert held <= params.REPLY_HELD
    if len(octets) <= params.REPLY_HELD:
        assert response.message == whole
    else:
        assert response.message[: params.REPLY_HELD // 4] == whole[: params.REPLY_HELD // 4]


@pytest.mark.parametrize("octets", [b"220" + b"x" * params.MAX_REPLY_READ, b"220-x\r\n" * params.MAX_REPLY_READ])
async def test_a_reply_without_an_end_is_none(octets: bytes) -> None:
    """Neither one line nor one after the other is read for ever."""
    protocol = HostProtocol(asyncio.get_running_loop())
    protocol.connection_made(asyncio.Transport())
    protocol.data_received(octets)
    with pytest.raises(SMTPResponseException, match="too long"):
        await protocol.read_response(10)
