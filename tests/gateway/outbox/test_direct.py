"""gateway.outbox delivering to other domains by MX itself, over the real courier."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.mailbox.errors import StoreFull
from gateway.outbound.courier import Courier
from gateway.outbound.errors import NotDelivered
from gateway.outbound.mx import Target
from gateway.outbox import rows
from gateway.outbox.params import OutboxLimits
from p2pcore import params
from tests.gateway.outbox.world import CONTENT, OUTSIDE, Bench, bench, submission


class FakeExchangers:
    """Every domain's mail goes to one port; none.example takes no mail, slow.example is looked up until `slow`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.slow = asyncio.Event()

    async def targets(self, domain: str) -> tuple[Target, ...]:
        if domain == "none.example":
            raise NotDelivered("5.1.10", "the domain takes no mail")
        if domain == "slow.example":
            await self.slow.wait()
        return (Target(f"mx.{domain}", "127.0.0.1", self.port),)


class FakeHost:
    """A plain SMTP host that takes everything, or says `refusal` at the dot."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []
        self.recipients: list[str] = []
        self.refusal = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"220 host\r\n")
            while line := (await reader.readline()).decode():
                if line.startswith("RCPT"):
                    self.recipients.append(line.strip())
                if line.startswith("DATA"):
                    writer.write(b"354 go on\r\n")
                    content = await reader.readuntil(b"\r\n.\r\n")
                    if not self.refusal:
                        self.contents.append(content)
                    writer.write((self.refusal or "250 2.0.0 thanks").encode() + b"\r\n")
                else:
                    writer.write(b"250 ok\r\n")
        finally:  # also where the test ends first
            writer.close()


async def test_other_domains_are_delivered_to_by_mx(tmp_path: Path) -> None:
    """Strangers by MX with a Received field, bob by the network, an alias of ours by a gateway; failures reported."""
    host = FakeHost()
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0)
    async with bench(tmp_path) as it, server:
        it.courier = Courier(FakeExchangers(server.sockets[0].getsockname()[1]), "agent.example.org")
        await it.restart()
        host.refusal = "451 4.3.0 not now"
        paths = (OUTSIDE, "bob@example.org", "team@example.org", "x@none.example")
        message_id = await it.outbox.accept(submission(*paths))
        await it.settled()
        assert "Status: 5.1.10" in it.mailbox.report()
        assert it.gateways[0].queued[message_id].recipients == ("team@example.org",)
        assert len(it.entries_of(it.bob)) == 1
        host.refusal = ""
        await it.pass_time(params.MINUTE)
        assert host.recipients == [f"RCPT TO:<{OUTSIDE}>"] * 2
        (content,) = host.contents
        assert content.startswith(b"Received: by example.org with ESMTPA id ")
        assert content.endswith(CONTENT.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        assert (await it.outbox.status()).messages == 0


async def test_an_outcome_is_recorded_when_it_comes_about(tmp_path: Path) -> None:
    """One domain that keeps us waiting leaves no other in doubt: after a death in between nothing is sent twice."""
    host = FakeHost()
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0)
    async with bench(tmp_path) as it, server:
        exchangers = FakeExchangers(server.sockets[0].getsockname()[1])
        it.courier = Courier(exchangers, "agent.example.org")
        await it.restart()
        message_id = await it.outbox.accept(submission(OUTSIDE, "x@slow.example"))
        async with asyncio.timeout(20):
            while await _states(it, message_id) != ["delivered", "pending"]:  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.005)
        await it.outbox.stop()
        exchangers.slow.set()
        it.outbox = it.made()
        await it.outbox.start()
        await it.settled()
        assert sorted(host.recipients) == [f"RCPT TO:<{OUTSIDE}>", "RCPT TO:<x@slow.example>"]


async def test_a_full_disk_repeats_the_record_and_not_the_mail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stranger's host has taken is not sent to it every minute until somebody frees the disk."""
    host = FakeHost()
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0)
    async with bench(tmp_path, limits=OutboxLimits(sent_grace=0, record_retry=1)) as it, server:
        it.courier = Courier(FakeExchangers(server.sockets[0].getsockname()[1]), "agent.example.org")
        await it.restart()
        await it.outbox.accept(submission(OUTSIDE))
        record, failures = rows.record, [StoreFull("disk full")] * 3

        def recording(*arguments: Any) -> None:
            if failures:
                raise failures.pop()
            record(*arguments)

        monkeypatch.setattr(rows, "record", recording)
        await it.settled()
        assert (failures, len(host.contents)) == ([], 1)
        assert (await it.outbox.status()).messages == 0


async def _states(it: Bench, message_id: str) -> list[str]:
    message = await it.outbox.message(message_id)
    return [each.state for each in message.recipients] if message else []
