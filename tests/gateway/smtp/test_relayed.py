"""Who asked for it, and may have it, is told that her mail is stored; nobody else is mailed."""

from email import message_from_bytes
from typing import Any

import pytest

from gateway.mail.outgoing import NewItem
from gateway.maillog import MailLog
from gateway.smtp import params
from gateway.smtp.relayed import RelayedReports
from p2pcore.errors import TemporaryFailure
from tests.gateway.smtp.conftest import WorldMaker
from tests.gateway.smtp.world import DOMAIN, NOW, ListLog, SmtpClient, World

ALICE = f"alice@{DOMAIN}"
SENDER = "sender@example.net"


class ListQueue:
    """Keeps items in a list, or raises `failure`."""

    def __init__(self) -> None:
        self.items: list[NewItem] = []
        self.failure: Exception | None = None

    async def accept(self, item: NewItem) -> bool:
        if self.failure is not None:
            raise self.failure
        self.items.append(item)
        return True

    @property
    def reports(self) -> list[Any]:
        return [message_from_bytes(item.content) for item in self.items if isinstance(item.content, bytes)]


@pytest.fixture
def queue() -> ListQueue:
    return ListQueue()


def told_world(new_world: WorldMaker, queue: ListQueue, **settings: Any) -> World:
    """A server that checks everybody, with reports going to `queue`; example.net may send from here."""
    log = ListLog()
    reports = RelayedReports(queue, DOMAIN, f"mx.{DOMAIN}", lambda: NOW, MailLog(log))
    world = new_world(reports=reports, **{"verify": "on", **settings})
    world.dns.records["example.net", "TXT"] = ((b"v=spf1 ip4:127.0.0.0/8 -all",),)
    world.log.events = log.events
    return world


async def send(client: SmtpClient, *recipients: str, mail: str = f"<{SENDER}>", content: bytes = b"") -> str:
    """One mail; `recipients` with their parameters. The reply after the dot."""
    assert (await client.command("EHLO client.example.net")).startswith("250")
    assert (await client.command(f"MAIL FROM:{mail}")).startswith("250")
    for recipient in recipients:
        assert (await client.command(f"RCPT TO:{recipient}")).startswith("250")
    assert (await client.command("DATA")).startswith("354")
    client.send(content + b".\r\n")
    return await client.reply()


async def test_the_sender_is_told_on_how_many_nodes(new_world: WorldMaker, queue: ListQueue) -> None:
    """One report on those recipients for whom NOTIFY=SUCCESS was given, "relayed", with ENVID, ORCPT and the header."""
    async with told_world(new_world, queue) as world:
        client = await world.client()
        reply = await send(
            client,
            f"<{ALICE}> NOTIFY=SUCCESS ORCPT=rfc822;list@example.com",
            f"<bob@{DOMAIN}> NOTIFY=FAILURE",
            f"<both@{DOMAIN}> NOTIFY=DELAY,SUCCESS",
            mail=f"<{SENDER}> ENVID=QQ+2B1 RET=FULL",
            content=b"Subject: x\r\n\r\nsecret\r\n",
        )
        assert reply.startswith("250 2.6.0 ")
        client.close()
    (item,), (report,) = queue.items, queue.reports
    assert (item.reverse_path, [one.forward_path for one in item.recipients]) == ("", [SENDER])
    assert report["To"] == f"<{SENDER}>"
    assert report["Auto-Submitted"] == "auto-replied"
    _text, status, returned = report.get_payload()
    fields = [dict(part.items()) for part in status.get_payload()]
    assert fields[0]["Original-Envelope-Id"] == "QQ+1"
    assert fields[0]["Reporting-MTA"] == f"dns; mx.{DOMAIN}"
    assert [one["Final-Recipient"] for one in fields[1:]] == [f"rfc822; {ALICE}", f"rfc822; both@{DOMAIN}"]
    assert fields[1]["Original-Recipient"] == "rfc822; list@example.com"
    assert {one["Action"] for one in fields[1:]} == {"relayed"}
    assert fields[1]["Diagnostic-Code"] == "x-p2pmail; stored on 2 of 3 nodes"
    assert returned.get_content_type() == "text/rfc822-headers"
    assert "secret" not in returned.get_payload()


@pytest.mark.parametrize("parameters", ["", " NOTIFY=NEVER", " NOTIFY=FAILURE,DELAY", " ORCPT=rfc822;a@b"])
async def test_nobody_is_told_unasked(new_world: WorldMaker, queue: ListQueue, parameters: str) -> None:
    """Only SUCCESS asks for it (RFC 3461 §4.1)."""
    async with told_world(new_world, queue) as world:
        client = await world.client()
        assert (await send(client, f"<{ALICE}>{parameters}")).startswith("250 ")
        client.close()
    assert queue.items == []


async def test_nothing_is_said_to_the_null_reverse_path(new_world: WorldMaker, queue: ListQueue) -> None:
    """RFC 3461 §6.1, whatever was asked for."""
    async with told_world(new_world, queue, verify="off") as world:
        client = await world.client()
        assert (await send(client, f"<{ALICE}> NOTIFY=SUCCESS", mail="<>")).startswith("250 ")
        client.close()
    assert queue.items == []


@pytest.mark.parametrize("record", [b"v=spf1 -all", b"v=spf1 ~all", b"v=spf1 ?all", b"other"])
async def test_no_stranger_is_mailed_because_of_a_forged_reverse_path(
    new_world: WorldMaker, queue: ListQueue, record: bytes
) -> None:
    """Without SPF's pass the mail is taken, and nobody is told (backscatter)."""
    async with told_world(new_world, queue) as world:
        world.dns.records["example.net", "TXT"] = ((record,),)
        client = await world.client()
        assert (await send(client, f"<{ALICE}> NOTIFY=SUCCESS")).startswith("250 ")
        client.close()
    assert len(world.network.messages) == 1
    assert queue.items == []


async def test_our_own_hosts_are_believed(new_world: WorldMaker, queue: ListQueue) -> None:
    """Loopback and trusted relays, which have checked the sender themselves."""
    async with told_world(new_world, queue, verify="auto") as world:
        world.dns.records.clear()
        client = await world.client()
        assert (await send(client, f"<{ALICE}> NOTIFY=SUCCESS")).startswith("250 ")
        client.close()
    assert len(queue.items) == 1


async def test_reports_to_one_domain_are_paced(
    new_world: WorldMaker, queue: ListQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many an hour; further mail is taken, and the log says that its sender was not told."""
    monkeypatch.setattr(params, "REPORTS_PER_HOUR", 2)
    async with told_world(new_world, queue) as world:
        client = await world.client()
        for number in range(3):
            assert (await send(client, f"<{ALICE}> NOTIFY=SUCCESS", mail=f"<{number}@example.net>")).startswith("250 ")
        client.close()
    assert len(queue.items) == 2
    (line,) = world.log.named("unreported")
    assert line["reverse_path"] == "2@example.net"


@pytest.mark.parametrize("failure", [OSError("disk full"), TemporaryFailure("no")])
async def test_a_report_that_cannot_be_queued_does_not_undo_the_mail(
    new_world: WorldMaker, queue: ListQueue, failure: Exception
) -> None:
    """The mail is stored and 250 says so; a refusal would have it repeated."""
    queue.failure = failure
    async with told_world(new_world, queue) as world:
        client = await world.client()
        assert (await send(client, f"<{ALICE}> NOTIFY=SUCCESS")).startswith("250 ")
        client.close()
    (line,) = world.log.named("failed")
    assert line["where"] == "report to an outside sender"


async def test_nothing_is_said_of_mail_that_is_not_stored(new_world: WorldMaker, queue: ListQueue) -> None:
    """No quorum: 451 and no report."""
    async with told_world(new_world, queue) as world:
        world.network.failure = TemporaryFailure("no quorum")
        client = await world.client()
        assert (await send(client, f"<{ALICE}> NOTIFY=SUCCESS")).startswith("451 ")
        client.close()
    assert queue.items == []


async def test_orcpt_goes_to_its_recipient_alone(new_world: WorldMaker, queue: ListQueue) -> None:
    """As Original-Recipient in her trace (RFC 8098 §2.3), where it is not what the forward-path says already."""
    async with told_world(new_world, queue) as world:
        client = await world.client()
        await send(client, f"<{ALICE}> ORCPT=rfc822;list+2Bx@example.com", f"<bob@{DOMAIN}> ORCPT=rfc822;bob@{DOMAIN}")
        client.close()
    (message,) = world.network.messages
    field = b"Original-Recipient: rfc822; list+x@example.com\r\n"
    assert message.notifications[ALICE].trace.endswith(field)
    assert b"Original-Recipient" not in message.notifications[f"bob@{DOMAIN}"].trace


async def test_an_internationalised_sender_is_told_as_such(new_world: WorldMaker, queue: ListQueue) -> None:
    """Her address needs SMTPUTF8 on the way back (RFC 6533)."""
    async with told_world(new_world, queue) as world:
        client = await world.client()
        await send(client, f"<{ALICE}> NOTIFY=SUCCESS", mail="<grüße@example.net> SMTPUTF8")
        client.close()
    (item,) = queue.items
    assert item.smtputf8
    assert item.body == "8BITMIME"
