"""gateway.outbox with gateways: TLS both ways, EXTERNAL, one envelope ID for one set of recipients, kept until 250."""

from pathlib import Path

import pytest

from gateway.mail.outgoing import NewRecipient
from gateway.mail.submission import Submission
from p2pcore import params
from p2pcore.errors import Malformed, NoSuchAddress, PermanentFailure
from tests.gateway.outbox.world import CONTENT, OUTSIDE, Bench, FakeGateway, bench, submission


async def test_other_recipients_go_to_a_gateway(tmp_path: Path) -> None:
    """In one transaction, as the user of the certificate, under the submission's ID; octet for octet."""
    async with bench(tmp_path) as it:
        message_id = await it.outbox.accept(submission(OUTSIDE, "mallory@outside.example"))
        await it.settled()
        (gateway,) = it.gateways
        relayed = gateway.queued[message_id]
        assert (relayed.user, relayed.reverse_path) == ("alice@example.org", "alice@example.org")
        assert relayed.recipients == (OUTSIDE, "mallory@outside.example")
        assert relayed.content == CONTENT
        assert (await it.outbox.status()).messages == 0
        assert list(it.mailbox.sent.values()) == [CONTENT]
        assert not it.mailbox.reports


async def test_the_dialogue(tmp_path: Path) -> None:
    """C: what the gateway hears, in order; parameters only where it offers them."""
    async with bench(tmp_path) as it:
        recipient = NewRecipient(OUTSIDE, "FAILURE,DELAY", "rfc822;e+v=e@outside.example")
        message_id = await it.outbox.accept(
            Submission("alice@example.org", (recipient,), CONTENT, body="8BITMIME", ret="HDRS")
        )
        await it.settled()
        assert it.gateways[0].commands == [
            "EHLO example.org",
            "AUTH EXTERNAL =",
            f"MAIL FROM:<alice@example.org> ENVID={message_id} SIZE={len(CONTENT)} BODY=8BITMIME RET=HDRS",
            f"RCPT TO:<{OUTSIDE}> NOTIFY=FAILURE,DELAY ORCPT=rfc822;e+2Bv+3De@outside.example",
            "DATA",
            "QUIT",
        ]
        it.gateways[0].commands.clear()
        it.gateways[0].extensions = ()
        message_id = await it.outbox.accept(Submission("", (recipient,), CONTENT, body="8BITMIME", ret="HDRS"))
        await it.settled()
        assert it.gateways[0].commands[2:4] == [f"MAIL FROM:<> ENVID={message_id}", f"RCPT TO:<{OUTSIDE}>"]


async def test_her_own_envid_goes_beside_the_submissions(tmp_path: Path) -> None:
    """XENVID carries what her mail reader gave, where the gateway offers it; a utf-8 ORCPT keeps its own encoding."""
    async with bench(tmp_path) as it:
        gateway = it.gateways[0]
        recipient = NewRecipient(OUTSIDE, "SUCCESS", "utf-8;gr\\x{FC}ße+x@outside.example")
        mail = Submission("alice@example.org", (recipient,), CONTENT, envelope_id="hers = 1")
        await it.outbox.accept(mail)
        await it.settled()
        assert not any("hers" in line for line in gateway.commands)
        gateway.extensions = (*gateway.extensions, "XENVID")
        gateway.commands.clear()
        message_id = await it.outbox.accept(mail)
        await it.settled()
        assert gateway.commands[2:4] == [
            f"MAIL FROM:<alice@example.org> ENVID={message_id} SIZE={len(CONTENT)} XENVID=hers+20+3D+201",
            f"RCPT TO:<{OUTSIDE}> NOTIFY=SUCCESS ORCPT=utf-8;gr\\x{{FC}}\\x{{DF}}e\\x{{2B}}x@outside.example",
        ]


@pytest.mark.parametrize("content", [b".\r\n", b"..\r\n.\r\n", b"no end", b"x\r\n" * 200_000 + b".y\r\n.\r\n"])
async def test_dots_are_stuffed_and_nothing_else_changes(tmp_path: Path, content: bytes) -> None:
    """Whatever the size of the pieces; a content that does not end in CRLF gets one."""
    async with bench(tmp_path) as it:
        message_id = await it.outbox.accept(submission(OUTSIDE, content=content))
        await it.settled()
        end = b"" if content.endswith(b"\r\n") else b"\r\n"
        assert it.gateways[0].queued[message_id].content == content + end


@pytest.mark.parametrize(("at_data", "at_dot"), [(["250 2.0.0 ok"], []), (["334 go on"], []), ([], ["early 250 ok"])])
async def test_only_a_250_to_the_dot_is_one(tmp_path: Path, at_data: list[str], at_dot: list[str]) -> None:
    """RFC 5321 §4.3.2: what looks positive before the whole content was sent says nothing of it."""
    async with bench(tmp_path) as it:
        (gateway,) = it.gateways
        gateway.at_data, gateway.at_dot = at_data, at_dot
        message_id = await it.outbox.accept(submission(OUTSIDE, content=b"x\r\n" * 300_000))
        await it.settled()
        message = await it.outbox.message(message_id)
        assert message is not None
        assert [each.state for each in message.recipients] == ["pending"]
        await it.pass_time(params.MINUTE)
        assert list(gateway.queued) == [message_id]
        assert (await it.outbox.status()).messages == 0


async def test_each_recipient_goes_her_own_way(tmp_path: Path) -> None:
    """Bob by the network, a list of ours and a stranger by one transaction."""
    async with bench(tmp_path) as it:
        message_id = await it.outbox.accept(submission("bob@example.org", "team@example.org", OUTSIDE))
        await it.settled()
        assert len(it.entries_of(it.bob)) == 1
        assert it.gateways[0].queued[message_id].recipients == ("team@example.org", OUTSIDE)


async def test_a_lost_reply_is_asked_for_at_the_same_gateway(tmp_path: Path) -> None:
    """Again under the same envelope ID, though the other gateway answers; queued once."""
    async with bench(tmp_path, gateways=2) as it:
        message_id, first, other = await _lose(it)
        await it.pass_time(params.MINUTE)
        assert first.envelope_ids == [message_id, message_id]
        assert not other.envelope_ids
        assert list(first.queued) == [message_id]
        assert (await it.outbox.status()).messages == 0


async def test_a_renewed_certificate_makes_it_no_other_gateway(tmp_path: Path) -> None:
    """It keeps its keys, its queue, and so whatever may be in doubt there."""
    async with bench(tmp_path, gateways=2) as it:
        message_id, first, other = await _lose(it)
        await first.stop()
        first.member = it.world.renewed(first.member)
        await first.start()
        await it.pass_time(params.MINUTE)
        assert first.envelope_ids == [message_id, message_id]
        assert not other.envelope_ids


async def test_another_gateway_gets_it_only_after_a_while(tmp_path: Path) -> None:
    """The first one is gone with the message; restarts in between forget nothing."""
    async with bench(tmp_path, gateways=2) as it:
        message_id, first, other = await _lose(it)
        await first.stop()
        for _ in range(3):
            await it.pass_time(4 * params.MINUTE)
            await it.restart()
            await it.settled()
            assert not other.envelope_ids
        await it.pass_time(4 * params.MINUTE)
        assert other.envelope_ids == [message_id]
        assert (await it.outbox.status()).messages == 0


async def test_an_end_before_the_dot_binds_to_no_gateway(tmp_path: Path) -> None:
    """The content never got there: the other gateway gets it in the same attempt, under the same envelope ID."""
    async with bench(tmp_path, gateways=2) as it:
        faults = ["cut"]
        for gateway in it.gateways:
            gateway.at_dot = faults
        message_id = await it.outbox.accept(submission(OUTSIDE))
        await it.settled()
        assert sorted(len(gateway.queued) for gateway in it.gateways) == [0, 1]
        assert [each for gateway in it.gateways for each in gateway.envelope_ids] == [message_id]
        assert all(any(f"ENVID={message_id} " in each for each in gateway.commands) for gateway in it.gateways)
        assert (await it.outbox.status()).messages == 0


async def test_a_refusal_before_the_end_of_the_content_counts(tmp_path: Path) -> None:
    """The gateway has seen enough: no more is sent, and the refusal is final."""
    async with bench(tmp_path) as it:
        it.gateways[0].at_dot = ["early 552 5.3.4 too much"]
        it.gateways[0].extensions = ()
        await it.outbox.accept(submission(OUTSIDE, content=CONTENT + b"x\r\n" * 3_000_000))
        await it.settled()
        assert "Status: 5.3.4" in it.mailbox.report()
        assert not it.gateways[0].envelope_ids


async def test_a_temporary_refusal_is_tried_again_with_the_same_envelope_id(tmp_path: Path) -> None:
    """At MAIL and at the dot; the last reply can be seen in the list."""
    async with bench(tmp_path) as it:
        gateway = it.gateways[0]
        gateway.at_mail, gateway.at_dot = ["451 4.3.0 not now"], ["452 4.3.1 no room"]
        message_id = await it.outbox.accept(submission(OUTSIDE))
        await it.settled()
        (message,) = await it.outbox.list()
        assert (message.recipients[0].status, message.recipients[0].reply) == ("4.3.0", "451 4.3.0 not now")
        await it.pass_time(params.MINUTE)
        (message,) = await it.outbox.list()
        assert (message.recipients[0].status, message.recipients[0].attempts) == ("4.3.1", 2)
        await it.pass_time(params.MINUTE)
        assert gateway.envelope_ids == [message_id, message_id]
        assert list(gateway.queued) == [message_id]


async def test_who_was_deferred_at_rcpt_gets_an_envelope_id_of_her_own(tmp_path: Path) -> None:
    """The gateway knows the first one with the others' names: repeated under it she would be forgotten."""
    async with bench(tmp_path) as it:
        gateway = it.gateways[0]
        gateway.at_rcpt = {"team@example.org": "451 4.4.3 cannot be looked up"}
        message_id = await it.outbox.accept(submission(OUTSIDE, "team@example.org"))
        await it.settled()
        gateway.at_rcpt = {}
        await it.pass_time(params.MINUTE)
        assert {key: relayed.recipients for key, relayed in gateway.queued.items()} == {
            message_id: (OUTSIDE,),
            f"{message_id}.1": ("team@example.org",),
        }
        assert (await it.outbox.status()).messages == 0


async def test_in_doubt_all_recipients_go_together(tmp_path: Path) -> None:
    """After a lost reply one is deferred at RCPT: nobody is sent, until all are taken under the same envelope ID."""
    async with bench(tmp_path) as it:
        gateway = it.gateways[0]
        gateway.at_dot = ["lose"]
        message_id = await it.outbox.accept(submission(OUTSIDE, "team@example.org"))
        await it.settled()
        gateway.at_rcpt = {"team@example.org": "451 4.4.3 cannot be looked up"}
        await it.pass_time(params.MINUTE)
        assert gateway.envelope_ids == [message_id]
        assert gateway.commands[-2:] == ["RSET", "QUIT"]
        gateway.at_rcpt = {}
        await it.pass_time(params.MINUTE)
        assert gateway.envelope_ids == [message_id, message_id]
        assert list(gateway.queued) == [message_id]
        assert (await it.outbox.status()).messages == 0


@pytest.mark.parametrize("where", ["MAIL", "RCPT", "dot", "size"])
async def test_in_doubt_another_gateways_refusal_is_no_failure(tmp_path: Path, where: str) -> None:
    """The first gateway may deliver it: no report, and once it is back it is asked again and has it."""
    async with bench(tmp_path, gateways=2) as it:
        message_id, first, other = await _lose(it)
        await first.stop()
        other.at_mail = ["550 5.7.1 not you"] * 9 if where == "MAIL" else []
        other.at_rcpt = {OUTSIDE: "550 5.1.1 unknown here"} if where == "RCPT" else {}
        other.at_dot = ["554 5.6.0 no"] * 9 if where == "dot" else []
        other.extensions = ("SIZE 10",) if where == "size" else other.extensions
        for _ in range(4):
            await it.pass_time(16 * params.MINUTE)
        assert not other.queued
        assert not it.mailbox.reports
        assert (await it.outbox.status()).messages == 1
        await first.start()
        await it.pass_time(params.HOUR)
        assert list(first.queued) == [message_id]
        assert not it.mailbox.reports
        assert (await it.outbox.status()).messages == 0


async def test_in_doubt_with_two_gateways_neithers_refusal_is_a_failure(tmp_path: Path) -> None:
    """Both lost their replies; the second has it no more, and the first delivers it."""
    async with bench(tmp_path, gateways=2) as it:
        message_id, first, other = await _lose(it)
        await first.stop()
        other.at_dot = ["lose"]
        await it.pass_time(16 * params.MINUTE)
        await it.restart()
        assert other.envelope_ids == [message_id]
        other.at_rcpt = {OUTSIDE: "550 5.1.1 unknown here"}
        await it.pass_time(16 * params.MINUTE)
        assert not it.mailbox.reports
        await other.stop()
        await first.start()
        await it.pass_time(params.HOUR)
        assert list(first.queued) == [message_id]
        assert not it.mailbox.reports
        assert (await it.outbox.status()).messages == 0


async def test_in_doubt_the_same_gateways_refusal_at_mail_is_no_failure(tmp_path: Path) -> None:
    """It refuses MAIL before it has looked for the envelope ID."""
    async with bench(tmp_path) as it:
        gateway = it.gateways[0]
        gateway.at_dot = ["lose"]
        message_id = await it.outbox.accept(submission(OUTSIDE))
        await it.settled()
        gateway.at_mail = ["552 5.3.4 too large by now"]
        await it.pass_time(params.MINUTE)
        assert not it.mailbox.reports
        await it.pass_time(params.MINUTE)
        assert list(gateway.queued) == [message_id]
        assert (await it.outbox.status()).messages == 0


@pytest.mark.parametrize("where", ["RCPT", "dot"])
async def test_in_doubt_the_same_gateways_refusal_is_a_failure(tmp_path: Path, where: str) -> None:
    """The only one that could have it says that it has nothing."""
    async with bench(tmp_path) as it:
        gateway = it.gateways[0]
        gateway.at_dot = ["lose"]
        await it.outbox.accept(submission(OUTSIDE))
        await it.settled()
        gateway.at_rcpt = {OUTSIDE: "550 5.1.1 unknown here"} if where == "RCPT" else {}
        gateway.at_dot = ["550 5.1.1 refused"] if where == "dot" else []
        await it.pass_time(params.MINUTE)
        assert "Status: 5.1.1" in it.mailbox.report()


async def test_given_up_in_doubt_the_report_says_so(tmp_path: Path) -> None:
    """Nobody could be asked for five days: what she is told is not that nobody has it."""
    async with bench(tmp_path) as it:
        gateway = it.gateways[0]
        gateway.at_dot = ["lose"]
        await it.outbox.accept(submission(OUTSIDE, notify="FAILURE"))
        await it.settled()
        await gateway.stop()
        await it.pass_time(5 * params.DAY)
        report = it.mailbox.report()
        assert "a gateway may have the message" in report
        assert "Diagnostic-Code: x-p2pmail; gateway localhost: " in report
        assert "Remote-MTA" not in report


async def test_only_the_gateway_of_the_domain_record_is_talked_to(tmp_path: Path) -> None:
    """Another member of the domain at its address hears nothing, not even EHLO."""
    async with bench(tmp_path) as it:
        gateway = it.gateways[0]
        await gateway.stop()
        listed = gateway.member
        gateway.member = it.world.gateway("other.example.org")
        await gateway.start()
        shown, gateway.member = gateway.member, listed
        assert shown.certificate.fingerprint != gateway.info.certificate
        await it.outbox.accept(submission(OUTSIDE))
        await it.settled()
        assert not gateway.commands
        (message,) = await it.outbox.list()
        assert message.recipients[0].status == "4.4.1"


async def test_a_gateway_that_could_never_take_it_is_a_failure(tmp_path: Path) -> None:
    """Too large for its SIZE, or internationalised where it has no SMTPUTF8: said before any content is sent."""
    async with bench(tmp_path) as it:
        it.gateways[0].extensions = ("SIZE 10",)
        await it.outbox.accept(submission(OUTSIDE))
        await it.settled()
        assert "Status: 5.3.4" in it.mailbox.report()
        it.mailbox.reports.clear()
        it.gateways[0].extensions = ()
        await it.outbox.accept(Submission("alice@example.org", (NewRecipient("ä@x.example"),), CONTENT, smtputf8=True))
        await it.settled()
        assert "Status: 5.6.7" in it.mailbox.report()
        assert not it.gateways[0].envelope_ids


async def test_internationalised_addresses_travel_as_utf_8(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        await it.outbox.accept(Submission("alice@example.org", (NewRecipient("ä@x.example"),), CONTENT, smtputf8=True))
        await it.settled()
        (relayed,) = it.gateways[0].queued.values()
        assert relayed.recipients == ("ä@x.example",)
        assert any(command.endswith("SMTPUTF8") for command in it.gateways[0].commands)


async def test_check_recipient(tmp_path: Path) -> None:
    """Who has a certificate or another domain may be sent to; of ours, a gateway says who else."""
    async with bench(tmp_path) as it:
        gateway = it.gateways[0]
        gateway.at_rcpt = {
            "nobody@example.org": "550 5.1.1 no such address",
            "closed@example.org": "550 5.7.9 no",
            "busy@example.org": "452 4.2.2 full",
        }
        for address in ("bob@example.org", "Bob+tag@EXAMPLE.org", OUTSIDE, "x@[192.0.2.1]"):
            await it.outbox.check_recipient(address)
        assert not gateway.commands
        for address in ("team@example.org", "busy@example.org"):
            await it.outbox.check_recipient(address)
        with pytest.raises(NoSuchAddress):
            await it.outbox.check_recipient("nobody@example.org")
        assert gateway.commands[-4:] == [
            "MAIL FROM:<alice@example.org>",
            "RCPT TO:<nobody@example.org>",
            "RSET",
            "QUIT",
        ]
        with pytest.raises(PermanentFailure):
            await it.outbox.check_recipient("closed@example.org")
        with pytest.raises(Malformed):
            await it.outbox.check_recipient("nobody")
        await gateway.stop()
        await it.outbox.check_recipient("nobody@example.org")


async def test_without_a_gateway_mail_is_kept(tmp_path: Path) -> None:
    """Also for one of our domain whose certificate is not found; as soon as there is one, it goes out."""
    async with bench(tmp_path, gateways=0) as it:
        message_id = await it.outbox.accept(submission("team@example.org", OUTSIDE))
        await it.settled()
        (message,) = await it.outbox.list()
        assert {(each.state, each.status) for each in message.recipients} == {("pending", "4.4.1")}
        status = await it.outbox.status()
        assert (status.messages, status.recipients, status.deferred) == (1, 2, 2)
        gateway = FakeGateway(it.world.gateway())
        await gateway.start()
        it.gateways.append(gateway)
        await it.outbox.retry(message_id)
        await it.settled()
        assert list(gateway.queued) == [message_id]
        await gateway.stop()


async def test_what_no_gateway_can_be_asked_about_is_counted(tmp_path: Path) -> None:
    """For `status`: messages that wait for that reason, and it; not what was reached, taken out or given up since."""
    async with bench(tmp_path, gateways=0) as it:
        removed, *_ = [await it.outbox.accept(submission(OUTSIDE)) for _ in range(2)]
        await it.settled()
        assert await it.outbox.unreached() == (2, "no gateway of the domain takes submissions")
        await it.outbox.remove(removed)
        assert (await it.outbox.unreached())[0] == 1
        gateway = FakeGateway(it.world.gateway(), at_rcpt={OUTSIDE: "451 4.4.3 later"})
        await gateway.start()
        it.gateways.append(gateway)
        await it.pass_time(params.MINUTE)
        assert await it.outbox.unreached() == (0, "")
        await gateway.stop()
        await it.pass_time(params.HOUR)
        waiting, why = await it.outbox.unreached()
        assert waiting == 1
        assert why.startswith("gateway localhost: ")
        await it.pass_time(5 * params.DAY)
        assert (await it.outbox.unreached())[0] == 0


@pytest.mark.parametrize("begun", [False, True])
async def test_within_a_minute_of_a_gateways_return_mail_goes_out(tmp_path: Path, begun: bool) -> None:
    """However long it was away; also where it may have the message already."""
    async with bench(tmp_path) as it:
        gateway = it.gateways[0]
        if begun:
            await _lose(it)
        await gateway.stop()
        if not begun:
            await it.outbox.accept(submission(OUTSIDE))
            await it.settled()
        for _ in range(12):
            await it.pass_time(10 * params.MINUTE)
        assert (await it.outbox.status()).waiting == 1
        await gateway.start()
        await it.pass_time(params.MINUTE)
        assert len(gateway.queued) == 1
        assert (await it.outbox.status()).messages == 0


async def test_who_is_deferred_by_a_gateway_is_not_asked_about_every_minute(tmp_path: Path) -> None:
    """It was reached and has said "later": the pauses grow."""
    async with bench(tmp_path) as it:
        it.gateways[0].at_rcpt = {OUTSIDE: "451 4.4.3 later"}
        await it.outbox.accept(submission(OUTSIDE))
        await it.settled()
        for _ in range(60):
            await it.pass_time(params.MINUTE)
        asked = sum(line.startswith("RCPT") for line in it.gateways[0].commands)
        assert asked < 12


async def _lose(it: Bench) -> tuple[str, FakeGateway, FakeGateway]:
    """Submit a message whose first gateway queues it and loses the reply; gives its ID, that gateway, the other."""
    for gateway in it.gateways:
        gateway.at_dot = ["lose"]
    message_id = await it.outbox.accept(submission(OUTSIDE))
    await it.settled()
    for gateway in it.gateways:
        gateway.at_dot = []
    first, other = sorted([it.gateways[0], it.gateways[-1]], key=lambda gateway: len(gateway.queued), reverse=True)
    assert sum(len(gateway.queued) for gateway in it.gateways) == 1
    return message_id, first, other
