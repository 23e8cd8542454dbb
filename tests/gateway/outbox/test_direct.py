"""gateway.outbox delivering to other domains by MX itself, over the real courier."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
from tests.support.fake_mta import FakeMta


class FakeExchangers:
    """Every domain's mail goes to one port; none.example takes no mail, bug.example is not foreseen, slow.example
    is looked up until `slow`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.slow = asyncio.Event()

    async def targets(self, domain: str) -> tuple[Target, ...]:
        if domain == "none.example":
            raise NotDelivered("5.1.10", "the domain takes no mail")
        if domain == "bug.example":
            raise ZeroDivisionError
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


async def test_who_has_the_message_is_written_down_before_another_host_is_tried(tmp_path: Path, mta: FakeMta) -> None:
    """A second host that keeps us waiting for minutes makes no second copy of a stop meanwhile."""
    dialled, greet = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialled.set()
        await greet.wait()
        writer.close()

    class TwoHosts(FakeExchangers):
        async def targets(self, domain: str) -> tuple[Target, ...]:
            (first,) = await super().targets(domain)
            return first, Target(f"slow.{domain}", "127.0.0.2", self.port)

    mta.refusals = {f"late-{OUTSIDE}": "450 4.2.0 greylisted"}
    async with bench(tmp_path) as it, await asyncio.start_server(serve, "127.0.0.2", mta.port):
        it.courier = Courier(TwoHosts(mta.port), "agent.example.org")
        await it.restart()
        message_id = await it.outbox.accept(submission(OUTSIDE, f"late-{OUTSIDE}"))
        async with asyncio.timeout(20):
            await dialled.wait()
        assert await _states(it, message_id) == ["delivered", "pending"]
        greet.set()
        await it.settled()
        assert len(mta.taken) == 1


async def test_what_nobody_foresaw_defers_its_own_domain(tmp_path: Path, mta: FakeMta) -> None:
    """A bug that one domain brings to light cuts off no delivery to another, which would then be sent twice."""
    async with by_mx(tmp_path, mta) as it:
        message_id = await it.outbox.accept(submission("x@bug.example", OUTSIDE))
        await it.settled()
        assert [taken.forward_paths for taken in mta.taken] == [[OUTSIDE]]
        assert await _states(it, message_id) == ["pending", "delivered"]


async def test_what_nobody_foresaw_defers_its_own_route(
    tmp_path: Path, mta: FakeMta, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same where it is the network or a gateway that a bug is met at; the next attempt may do better."""

    async def unforeseen(*_: Any) -> None:
        raise ZeroDivisionError

    async with by_mx(tmp_path, mta) as it:
        with monkeypatch.context() as broken:
            broken.setattr(it.sender, "prepare", unforeseen)
            broken.setattr("gateway.outbox.gateways.GatewayDelivery.deliver", unforeseen)
            await it.outbox.accept(submission("bob@example.org", "team@example.org", OUTSIDE))
            await it.settled()
        assert [taken.forward_paths for taken in mta.taken] == [[OUTSIDE]]
        await it.pass_time(params.MINUTE)
        assert len(it.entries_of(it.bob)) == 1
        assert len(it.gateways[0].queued) == 1
        assert len(mta.taken) == 1


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


@asynccontextmanager
async def by_mx(directory: Path, mta: FakeMta, *, single: bool = False) -> AsyncIterator[Bench]:
    """A bench whose outbox delivers to `mta` itself."""
    async with bench(directory) as it:
        it.courier = Courier(FakeExchangers(mta.port), "agent.example.org", single=single)
        await it.restart()
        yield it


@pytest.mark.parametrize("extensions", [["8BITMIME"], []])
async def test_a_host_that_takes_7_bits_gets_7_bits(tmp_path: Path, mta: FakeMta, extensions: list[str]) -> None:
    """RFC 6152 §3: 8-bit text goes as it is where that is taken, and as quoted-printable where it is not."""
    mta.extensions = extensions
    head = b"From: alice@example.org\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    text = "\r\nüber eine Zeile\r\n.\r\n".encode()
    async with by_mx(tmp_path, mta) as it:
        await it.outbox.accept(submission(OUTSIDE, content=head + text))
        await it.settled()
    arrived = mta.taken[0].content.partition(b"\r\nFrom: ")[2]
    as_it_is = head + text
    converted = head + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=BCber eine Zeile\r\n=2E\r\n"
    assert b"From: " + arrived == (as_it_is if extensions else converted)
    assert mta.taken[0].mail.endswith("BODY=8BITMIME") == bool(extensions)


async def test_what_cannot_be_converted_bounces(tmp_path: Path, mta: FakeMta) -> None:
    """RFC 6152 §3: signed 8-bit content is reported back as 5.6.3, in our own words, which no host has said."""
    mta.extensions = []
    head = "From: alice@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n"
    async with by_mx(tmp_path, mta) as it:
        await it.outbox.accept(submission(OUTSIDE, content=f"{head}--b\r\n\r\nüber\r\n--b--\r\n".encode()))
        await it.settled()
        report = it.mailbox.report()
        assert "Status: 5.6.3" in report
        assert "Diagnostic-Code: x-p2pmail; 8-bit content that cannot be converted, and mx.outside.example" in report
        assert "Remote-MTA" not in report
        assert "said:" not in report
    assert not mta.taken


async def test_the_senders_domain_needs_no_smtputf8(tmp_path: Path, mta: FakeMta) -> None:
    """RFC 6531 §3.2: with an ASCII local part A-labels do, for her address as for her recipients'."""
    mta.extensions = []
    async with by_mx(tmp_path, mta) as it:
        await it.outbox.accept(submission("eve@müller.example", reverse_path="anna@bücher.example"))
        await it.settled()
    assert (mta.taken[0].reverse_path, mta.taken[0].forward_paths) == (
        "anna@xn--bcher-kva.example",
        ["eve@xn--mller-kva.example"],
    )


async def test_a_smarthost_gets_one_copy_for_all_domains(tmp_path: Path, mta: FakeMta) -> None:
    """RFC 5321 §4.5.4.1: one transaction, in which each recipient has her own reply."""
    mta.refusals["x@none.example"] = "550 5.1.1 no such user"
    async with by_mx(tmp_path, mta, single=True) as it:
        await it.outbox.accept(submission(OUTSIDE, "eve@müller.example", "x@none.example"))
        await it.settled()
        assert it.mailbox.report().count("Final-Recipient:") == 1
    assert [taken.forward_paths for taken in mta.taken] == [[OUTSIDE, "eve@xn--mller-kva.example"]]


async def test_many_recipients_go_in_several_transactions(tmp_path: Path, mta: FakeMta) -> None:
    """RFC 5321 §4.5.3.1.8: a hundred at a time; each gets it once."""
    paths = [f"u{number}@outside.example" for number in range(105)]
    async with by_mx(tmp_path, mta) as it:
        await it.outbox.accept(submission(*paths))
        await it.settled()
    assert sorted(len(taken.forward_paths) for taken in mta.taken) == [5, 100]
    assert sorted(path for taken in mta.taken for path in taken.forward_paths) == sorted(paths)


async def test_what_a_host_may_have_waits_its_time(tmp_path: Path, mta: FakeMta) -> None:
    """A node that comes back says nothing of a stranger's host, which would get it twice the sooner (RFC 1047)."""
    mta.drop_at, mta.drops = "dot", 2
    async with by_mx(tmp_path, mta) as it:
        await it.outbox.accept(submission(OUTSIDE))
        await it.settled()
        await it.pass_time(10 * params.SECOND)
        it.outbox.nodes_came()
        await it.pass_time(10 * params.SECOND)
        assert len(mta.taken) == 2
        await it.pass_time(20 * params.SECOND)
        assert len(mta.taken) == 3


async def _states(it: Bench, message_id: str) -> list[str]:
    message = await it.outbox.message(message_id)
    return [each.state for each in message.recipients] if message else []
