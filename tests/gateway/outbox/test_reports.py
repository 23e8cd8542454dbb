"""gateway.outbox: what is filed in her mailbox, once each: the copy for Sent, and reports of delay and failure."""

import hashlib
from pathlib import Path

import pytest

from gateway.mailbox.errors import StoreFull
from gateway.outbox.model import UnknownSubmission
from gateway.outbox.params import OutboxLimits
from gateway.outbox.schedule import next_attempt
from p2pcore import params
from tests.gateway.outbox.world import CONTENT, OUTSIDE, bench, submission


async def test_a_refusal_is_reported_at_once(tmp_path: Path) -> None:
    """With the gateway's own words, and only for the recipient it refused."""
    async with bench(tmp_path) as it:
        it.gateways[0].at_rcpt = {"nobody@example.org": "550 5.1.1 no such address"}
        await it.outbox.accept(submission(OUTSIDE, "nobody@example.org"))
        await it.settled()
        report = it.mailbox.report()
        assert report.startswith("Return-Path: <>\r\n")  # RFC 3464 §2, RFC 5321 §4.4
        assert "Final-Recipient: rfc822; nobody@example.org" in report
        assert "Status: 5.1.1" in report
        assert "no such address" in report
        assert "To: <alice@example.org>" in report
        assert "Message-ID: <1@example.org>" in report
        assert OUTSIDE not in report
        assert (await it.outbox.status()).messages == 0


async def test_delay_and_failure_are_reported_once_each(tmp_path: Path) -> None:
    """After two hours, and when trying ends after five days; a restart in between repeats nothing."""
    async with bench(tmp_path, gateways=0) as it:
        await it.outbox.accept(submission(OUTSIDE))
        await it.settled()
        await it.pass_time(params.HOUR)
        assert not it.mailbox.reports
        for _ in range(4):
            await it.pass_time(params.HOUR)
            await it.restart()
        assert "Action: delayed" in it.mailbox.report()
        it.mailbox.reports.clear()
        await it.pass_time(5 * params.DAY)
        report = it.mailbox.report()
        assert "Action: failed" in report
        assert "Status: 5.4.7" in report
        assert (await it.outbox.status()).messages == 0


async def test_the_last_attempt_is_made_when_trying_ends(tmp_path: Path) -> None:
    """And if it succeeds nothing is reported as failed."""
    async with bench(tmp_path) as it:
        it.gateways[0].at_mail = ["451 4.3.0 not now"]
        await it.outbox.accept(submission(OUTSIDE))
        await it.settled()
        await it.pass_time(6 * params.DAY)
        assert len(it.gateways[0].queued) == 1
        assert not it.mailbox.reports


@pytest.mark.parametrize(
    ("notify", "reverse_path"), [("NEVER", "alice@example.org"), ("SUCCESS", "alice@example.org"), ("", "")]
)
async def test_no_report_where_none_is_wanted(tmp_path: Path, notify: str, reverse_path: str) -> None:
    """NOTIFY= without FAILURE, or a null reverse-path: the message ends all the same."""
    async with bench(tmp_path) as it:
        it.gateways[0].at_rcpt = {OUTSIDE: "550 5.1.1 no"}
        await it.outbox.accept(submission(OUTSIDE, notify=notify, reverse_path=reverse_path))
        await it.settled()
        assert not it.mailbox.reports
        assert (await it.outbox.status()).messages == 0


async def test_success_is_reported_where_it_was_asked_for(tmp_path: Path) -> None:
    """NOTIFY=SUCCESS: of a P2P recipient by the outbox; of others the gateway reports, which got the parameter."""
    async with bench(tmp_path) as it:
        await it.outbox.accept(submission("bob@example.org", OUTSIDE, notify="SUCCESS"))
        await it.settled()
        report = it.mailbox.report()
        assert "Action: relayed" in report
        assert "bob@example.org" in report
        assert OUTSIDE not in report
        assert f"RCPT TO:<{OUTSIDE}> NOTIFY=SUCCESS" in it.gateways[0].commands


async def test_the_copy_is_filed_once(tmp_path: Path) -> None:
    """While the mailbox has no room it stays owed, with its message; later it is there, delivered or not."""
    async with bench(tmp_path) as it:
        it.mailbox.failure = StoreFull("no room")
        await it.outbox.accept(submission(OUTSIDE))
        await it.settled()
        assert (await it.outbox.status()).messages == 1
        assert len(it.gateways[0].queued) == 1
        it.mailbox.failure = None
        await it.restart()
        await it.settled()
        assert list(it.mailbox.sent.values()) == [CONTENT]
        assert (await it.outbox.status()).messages == 0
        assert len(it.gateways[0].transactions) == 1


async def test_a_copy_waits_for_the_mail_reader_to_file_its_own(tmp_path: Path) -> None:
    """`sent_grace` after acceptance, not before, whatever becomes of the mail; a report waits for nothing."""
    async with bench(tmp_path, limits=OutboxLimits(sent_grace=params.MINUTE)) as it:
        it.gateways[0].at_rcpt = {OUTSIDE: "550 5.1.1 no"}
        await it.outbox.accept(submission(OUTSIDE))
        await it.settled()
        assert len(it.mailbox.reports) == 1
        await it.pass_time(params.MINUTE - 1)
        await it.restart()
        await it.settled()
        assert not it.mailbox.sent
        it.world.clock.advance(1)
        await it.restart()
        await it.settled()
        assert list(it.mailbox.sent.values()) == [CONTENT]
        assert (await it.outbox.status()).messages == 0


async def test_no_copy_where_none_is_wanted(tmp_path: Path) -> None:
    async with bench(tmp_path, limits=OutboxLimits(save_sent=False)) as it:
        await it.outbox.accept(submission(OUTSIDE))
        await it.settled()
        assert not it.mailbox.sent
        assert (await it.outbox.status()).messages == 0


async def test_identities_are_told_apart(tmp_path: Path) -> None:
    """Two equal submissions are two messages: two copies, two transactions."""
    async with bench(tmp_path) as it:
        first = await it.outbox.accept(submission(OUTSIDE))
        second = await it.outbox.accept(submission(OUTSIDE))
        await it.settled()
        assert first != second
        assert set(it.gateways[0].queued) == {first, second}
        assert len(it.mailbox.sent) == 2
        assert all(len(identity) == hashlib.sha256().digest_size for identity in it.mailbox.sent)


async def test_list_retry_remove(tmp_path: Path) -> None:
    """A message can be seen, hurried and dropped; dropped, it and its files are gone and nobody hears of it."""
    async with bench(tmp_path, gateways=0) as it:
        message_id = await it.outbox.accept(submission(OUTSIDE, content=bytes(100_000)))
        await it.settled()
        (message,) = await it.outbox.list()
        assert (message.id, message.recipients[0].attempts) == (message_id, 1)
        await it.outbox.retry(message_id)
        await it.settled()
        (message,) = await it.outbox.list()
        assert message.recipients[0].attempts == 2
        status = await it.outbox.status()
        assert (status.messages, status.oldest) == (1, it.world.clock())
        await it.outbox.remove(message_id)
        assert await it.outbox.list() == ()
        assert list((tmp_path / "outbox" / "contents").iterdir()) == []
        for call in (it.outbox.remove, it.outbox.retry):
            with pytest.raises(UnknownSubmission):
                await call(message_id)
        await it.pass_time(6 * params.DAY)
        assert not it.mailbox.reports


async def test_many_messages_at_once(tmp_path: Path) -> None:
    """More than there is room for attempts: each arrives once, by both routes."""
    async with bench(tmp_path) as it:
        ids = [await it.outbox.accept(submission("bob@example.org", OUTSIDE)) for _ in range(30)]
        await it.settled()
        assert set(it.gateways[0].queued) == set(ids)
        assert len(it.sender.appended) == len(it.entries_of(it.bob)) == 30
        assert (await it.outbox.status()).messages == 0


def test_attempts_become_rarer_and_end_in_time() -> None:
    """Ten seconds at first, half an hour at last, and one attempt at the very end."""
    until = 5 * params.DAY
    assert next_attempt(0, 1, until) == 10 * params.SECOND
    assert next_attempt(params.DAY, 100, until) == params.DAY + 30 * params.MINUTE
    assert next_attempt(until - 1, 100, until) == until
    assert next_attempt(0, 1, until, unreached=True) == 10 * params.SECOND
    assert next_attempt(0, 100, until, unreached=True) == params.MINUTE
