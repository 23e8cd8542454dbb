"""gateway.outbox with P2P recipients: signed by the user, kept before the first append, repeated as they are."""

from pathlib import Path

import pytest

from p2pcore import params
from p2pcore.crypto.sealing import open_body, open_notification
from p2pcore.errors import InboxFull, Malformed, NoQuorum, TooLarge
from p2pcore.records import EntryStatement, Notification, Verdicts
from tests.gateway.outbox.world import CONTENT, Bench, bench, submission


def opened(it: Bench, entry: EntryStatement) -> tuple[Notification, bytes]:
    """What bob reads: the notification, and the content."""
    keys, inbox_key = [it.bob.hpke_key], it.bob.certificate.inbox_key
    notification = open_notification(entry.notification, keys, inbox_key, it.alice.signer.fingerprint)
    (sealed,) = it.sender.bodies.values()
    return notification, open_body(notification.session_key, notification.content_size, sealed)


async def test_a_p2p_recipient_gets_the_message_from_the_sender_herself(tmp_path: Path) -> None:
    """Signed by alice, no verdicts, a trace of allowed fields; the content octet for octet; nothing is left here."""
    async with bench(tmp_path) as it:
        await it.outbox.accept(submission("bob@example.org"))
        await it.settled()
        (entry,) = it.sender.appended
        notification, content = opened(it, entry)
        assert (notification.reverse_path, notification.forward_path) == ("alice@example.org", "bob@example.org")
        assert notification.verdicts == Verdicts()
        assert notification.trace.startswith(b"Return-Path: <alice@example.org>\r\nReceived: by example.org ")
        assert content == CONTENT
        assert (await it.outbox.status()).messages == 0
        assert not it.gateways[0].commands


@pytest.mark.parametrize("size", [100, 100_000, 3_000_000])
async def test_contents_of_every_size_arrive_whole(tmp_path: Path, size: int) -> None:
    """In a row, in a sealed file, and with the body in a file of its own; no octet in clear, no file left."""
    content = b"Subject: x\r\n\r\n" + b"secret words\r\n" * (size // 14)
    given: bytes | Path = content
    if size > 1_000_000:
        given = tmp_path / "submitted"
        given.write_bytes(content)
    async with bench(tmp_path) as it:
        it.sender.body_failure = NoQuorum("0 of 2 nodes")
        await it.outbox.accept(submission("bob@example.org", content=given))
        await it.settled()
        for path in (tmp_path / "outbox").rglob("*"):
            assert path.is_dir() or b"secret words" not in path.read_bytes()
        it.sender.body_failure = None
        await it.pass_time(params.MINUTE)
        assert opened(it, it.entries_of(it.bob)[0])[1] == content
        assert list(it.mailbox.sent.values()) == [content]
        assert (await it.outbox.status()).messages == 0
        assert list((tmp_path / "outbox" / "contents").iterdir()) == []


async def test_the_same_statements_are_repeated(tmp_path: Path) -> None:
    """Attempts without quorum, restarts between them, then one that succeeds: one and the same entry and body."""
    async with bench(tmp_path) as it:
        it.sender.body_failure = NoQuorum("1 of 2 nodes")
        await it.outbox.accept(submission("bob@example.org"))
        await it.settled()
        for _ in range(3):
            await it.restart()
            await it.pass_time(params.HOUR)
        it.sender.body_failure = None
        await it.pass_time(params.HOUR)
        assert len(it.sender.appended) == 5
        assert len(it.entries_of(it.bob)) == 1
        assert len(it.sender.bodies) == 1
        assert (await it.outbox.status()).messages == 0


async def test_who_has_the_message_is_not_tried_again(tmp_path: Path) -> None:
    """Bob's inbox is full, alice's own is not; only bob's entry is appended again."""
    async with bench(tmp_path) as it:
        it.names.certificates["alice@example.org"] = it.alice.certificate
        it.sender.entry_failures[it.bob.certificate.inbox_key] = InboxFull("full")
        await it.outbox.accept(submission("bob@example.org", "alice@example.org"))
        await it.settled()
        (message,) = await it.outbox.list()
        states = [(each.forward_path, each.state, each.status) for each in message.recipients]
        assert states == [("bob@example.org", "pending", "4.2.2"), ("alice@example.org", "delivered", "2.6.0")]
        it.sender.entry_failures.clear()
        await it.pass_time(params.MINUTE)
        assert [entry.inbox_key for entry in it.sender.appended[2:]] == [it.bob.certificate.inbox_key]
        assert len(it.entries_of(it.bob)) == 1
        assert (await it.outbox.status()).messages == 0


async def test_a_certificate_found_later_is_used(tmp_path: Path) -> None:
    """While no gateway can say who she is, the mail waits; then she is sealed to."""
    async with bench(tmp_path, gateways=0) as it:
        del it.names.certificates["bob@example.org"]
        await it.outbox.accept(submission("bob@example.org"))
        await it.settled()
        assert not it.sender.appended
        it.names.certificates["bob@example.org"] = it.bob.certificate
        await it.pass_time(params.MINUTE)
        assert len(it.entries_of(it.bob)) == 1


async def test_a_permanent_failure_is_reported_at_once(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.sender.body_failure = TooLarge("sealed body of 200 MiB")
        await it.outbox.accept(submission("bob@example.org"))
        await it.settled()
        assert "Status: 5.3.4" in it.mailbox.report()
        assert (await it.outbox.status()).messages == 0


async def test_one_forward_path_named_twice_is_one_recipient(tmp_path: Path) -> None:
    """But two forms of one address are two envelopes."""
    async with bench(tmp_path) as it:
        await it.outbox.accept(submission("bob@example.org", "bob@example.org", "bob+tag@example.org"))
        await it.settled()
        assert len(it.sender.appended) == len(it.entries_of(it.bob)) == 2


async def test_what_is_no_address_is_not_accepted(tmp_path: Path) -> None:
    """Nor is a submission without recipients; a path cannot carry a header line into the trace block."""
    async with bench(tmp_path) as it:
        for wrong in ([], ["bob"], ["bob@example.org\r\nX: y"], ["<bob@example.org>"]):
            with pytest.raises(Malformed):
                await it.outbox.accept(submission(*wrong))
        assert (await it.outbox.status()).messages == 0


async def test_a_node_that_comes_back_ends_the_wait(tmp_path: Path) -> None:
    """What no quorum took is tried as soon as a node is there again, however long its next time is away."""
    async with bench(tmp_path) as it:
        it.sender.body_failure = NoQuorum("0 of 2 nodes")
        await it.outbox.accept(submission("bob@example.org"))
        for _ in range(6):
            await it.pass_time(15 * params.MINUTE)
        (message,) = await it.outbox.list()
        tried = message.recipients[0].attempts
        it.sender.body_failure = None
        await it.pass_time(20 * params.SECOND)
        assert (await it.outbox.list())[0].recipients[0].attempts == tried  # its time has not come
        it.outbox.nodes_came()
        await it.settled()
        assert len(it.entries_of(it.bob)) == 1


async def test_nodes_that_come_and_go_cause_no_storm(tmp_path: Path) -> None:
    """However often a node comes, a message is tried once in ten seconds; and none of that is forgotten."""
    async with bench(tmp_path) as it:
        it.sender.body_failure = NoQuorum("0 of 2 nodes")
        await it.outbox.accept(submission("bob@example.org"))
        for _ in range(6):
            await it.pass_time(15 * params.MINUTE)
        tried = (await it.outbox.list())[0].recipients[0].attempts
        for _ in range(9):
            it.outbox.nodes_came()
            await it.pass_time(params.SECOND)
        assert (await it.outbox.list())[0].recipients[0].attempts == tried
        await it.pass_time(params.SECOND)
        assert (await it.outbox.list())[0].recipients[0].attempts == tried + 1
