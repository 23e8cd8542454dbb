"""FETCH of more messages than are read at once, small and large, in memory and in files."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.mail.chosen_fields import choose_fields
from gateway.mailbox.database import Transaction
from gateway.mailbox.message_calls import MessageCalls
from gateway.mailbox.model import Octets, Precomputed
from tests.gateway.imap.conftest import Site

SIZES = (10, 70_000, 3_000, 200_000, 40_000)
COUNT = 45


def _message(number: int) -> bytes:
    body = (b"%d " % number) * (SIZES[number % len(SIZES)] // 3)
    return b"Subject: message %d\r\nX-Other: y\r\n\r\n" % number + body + b"\r\n"


async def _filled(site: Site) -> None:
    for number in range(COUNT):
        await site.alice.append("INBOX", _message(number), [], number, 0)


@pytest.mark.parametrize("octets", [1, 100_000, 1 << 30])
async def test_every_message_whole_and_in_order(site: Site, monkeypatch: pytest.MonkeyPatch, octets: int) -> None:
    """Whatever goes into one batch, every response has its own message's octets."""
    monkeypatch.setattr("gateway.imap.params.FETCH_OCTETS", octets)
    monkeypatch.setattr("gateway.imap.params.FETCH_BATCH", 20)
    await _filled(site)
    client = await site.client(select="INBOX")
    answers = await client.ok("FETCH 1:* (UID BODY.PEEK[] BODY.PEEK[HEADER.FIELDS (SUBJECT)] BODY.PEEK[TEXT]<0.3>)")
    assert [int(answer.split()[1]) for answer in answers] == list(range(1, COUNT + 1))
    for number, answer in enumerate(answers):
        message = _message(number)
        assert answer.startswith(
            b"* %d FETCH (UID %d BODY[] {%d}\r\n%b " % (number + 1, number + 1, len(message), message)
        )
        assert b"}\r\nSubject: message %d\r\n\r\n" % number in answer
        assert answer.endswith(b"<0> {3}\r\n" + message.partition(b"\r\n\r\n")[2][:3] + b")")


@pytest.mark.parametrize("items", ["ENVELOPE", "BODYSTRUCTURE"])
async def test_structures_of_few_large_messages_are_held_at_once(
    site: Site, monkeypatch: pytest.MonkeyPatch, items: str
) -> None:
    """A structure may be longer than its message: the messages of a batch are bounded by their octets too."""
    asked: list[int] = []

    async def noted(
        store: MessageCalls, mailbox_id: int, uids: Sequence[int], octets: Octets
    ) -> dict[int, Precomputed]:
        asked.append(sum(len(_message(uid - 1)) for uid in uids) if len(uids) > 1 else 0)
        return await precomputed(store, mailbox_id, uids, octets)

    precomputed = MessageCalls.precomputed
    monkeypatch.setattr(MessageCalls, "precomputed", noted)
    monkeypatch.setattr("gateway.imap.params.FETCH_STRUCTURED", 150_000)
    await _filled(site)
    client = await site.client(select="INBOX")
    answers = await client.ok(f"FETCH 1:* {items}")
    assert [int(answer.split()[1]) for answer in answers] == list(range(1, COUNT + 1))
    assert 0 < max(asked) <= 150_000


async def test_a_long_header_holds_up_nobody(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A nested message may be nothing but header fields; they are chosen in a thread, for as long as it takes."""
    threads: list[threading.Thread] = []

    def noted(header: bytes, names: tuple[bytes, ...], *, exclude: bool) -> bytes:
        threads.append(threading.current_thread())
        return choose_fields(header, names, exclude=exclude)

    monkeypatch.setattr("gateway.imap.fetch_response.choose_fields", noted)
    fields = b"A: 1\r\n" + b"B: 2\r\n" * 50_000
    multipart = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
    await site.alice.append("INBOX", multipart + fields + b"\r\nx\r\n--b--\r\n", [], 0, 0)
    client = await site.client(select="INBOX")
    (answer,) = await client.ok("FETCH 1 BODY.PEEK[1.HEADER.FIELDS.NOT (B)]")
    assert answer.endswith(b"{8}\r\nA: 1\r\n\r\n)")
    assert threading.main_thread() not in threads


async def test_seen_is_told_for_each(site: Site) -> None:
    """Reading bodies sets \\Seen where it is not set, and says so for those only (RFC 3501 §6.4.5)."""
    await _filled(site)
    await site.alice.store_flags(1, [2, 44], "add", ["\\Seen"])
    client = await site.client(select="INBOX")
    answers = await client.ok("FETCH 1:* BODY[HEADER]")
    told = [int(answer.split()[1]) for answer in answers if b"\\Seen" in answer]
    assert told == [uid for uid in range(1, COUNT + 1) if uid not in (2, 44)]
    assert not [answer for answer in await client.ok("FETCH 1:* BODY[HEADER]") if b"\\Seen" in answer]


async def test_messages_that_go_meanwhile(site: Site) -> None:
    """Those that another session expunged are left out, and the answer is NO (RFC 5530: EXPUNGEISSUED)."""
    await _filled(site)
    client = await site.client(select="INBOX")
    await site.alice.store_flags(1, [3, 30], "add", ["\\Deleted"])
    await site.alice.expunge(1, None)
    for items in ("FLAGS", "ENVELOPE", "BODY.PEEK[]", "BODY.PEEK[1]"):
        untagged, tagged = await client.command(f"FETCH 1:* ({items})")
        assert tagged.startswith(b"NO [EXPUNGEISSUED]"), items
        seqs = [int(answer.split()[1]) for answer in untagged if b" FETCH (" in answer]
        assert seqs == [seq for seq in range(1, COUNT + 1) if seq not in (3, 30)], items


async def test_the_first_response_does_not_wait_for_the_last(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first sync streams: responses leave while later messages have not been read."""
    asked: list[int] = []
    precomputed = type(site.alice).precomputed

    async def noting(self: object, mailbox_id: int, uids: list[int], octets: str = "none") -> object:
        asked.append(len(uids))
        return await precomputed(site.alice, mailbox_id, uids, octets)  # type: ignore[arg-type]

    monkeypatch.setattr(type(site.alice), "precomputed", noting)
    await _filled(site)
    client = await site.client(select="INBOX")
    client.send(b"f FETCH 1:* (ENVELOPE)\r\n")
    assert (await client.response()).startswith(b"* 1 FETCH")
    await client.until(b"f")
    assert asked == [16, COUNT - 16]


HEADER = (
    b"Received: from a\r\n\tby b; Mon, 1 Jan 2024 00:00:00 +0000\r\nX-Other: y\r\nfrom: a@b.example\r\n"
    b"Subject : folded\r\n over two\r\nX-Priority: 1\r\nReceived: again\r\n\r\n"
)


@pytest.mark.parametrize("names", [b"Subject", b"FROM x-priority", b"Received", b"Subject X-Other", b"To"])
async def test_usual_fields(site: Site, names: bytes) -> None:
    """Fields are the same whether they were put aside when the message came or are taken from its header."""
    for number in range(4):
        await site.alice.append("INBOX", HEADER + b"%d" % number, [], 0, 0)
    await site.alice._worker.write(_forget_fields)
    client = await site.client(select="INBOX")
    answers = await client.ok(b"FETCH 1:* (RFC822.SIZE BODY.PEEK[HEADER.FIELDS (%b)])" % names)
    expected = choose_fields(HEADER, names.split(), exclude=False)
    start = b"(RFC822.SIZE %d BODY[HEADER.FIELDS (%b)] {%d}\r\n" % (len(HEADER) + 1, names, len(expected))
    assert answers == [b"* %d FETCH %b%b)" % (seq, start, expected) for seq in range(1, 5)]


def _forget_fields(transaction: Transaction) -> None:
    """As in a store that was filled before there were any."""
    transaction.connection.execute("DELETE FROM usual_fields WHERE content_id IN (SELECT min(id) FROM contents)")


@pytest.mark.parametrize("items", ["BINARY[1]", "(FLAGS BINARY[1])", "(FLAGS BODY.PEEK[TEXT] BINARY[1])"])
async def test_seen_is_told_of_a_message_that_is_refused(site: Site, items: str) -> None:
    """A part cannot be decoded, and its message has \\Seen by then: the reader hears of that all the same."""
    await site.alice.append("INBOX", b"Content-Transfer-Encoding: x-uuencode\r\n\r\nx\r\n", [], 0, 0)
    await site.alice.append("INBOX", b"\r\ny\r\n", [], 0, 0)
    client = await site.client(select="INBOX")
    untagged, tagged = await client.command(f"FETCH 1:2 {items}")
    assert tagged.startswith(b"NO [UNKNOWN-CTE]")
    assert untagged[0].startswith(b"* 2 FETCH (")
    assert untagged[1:] == [b"* 1 FETCH (UID 1 FLAGS (\\Recent \\Seen))"]
    assert await client.ok("NOOP") == []


async def test_a_damaged_message_holds_up_no_other(site: Site, tmp_path: Path) -> None:
    """The others come, and the command says that one did not (RFC 5530: CORRUPTION)."""
    files, large = tmp_path / "alice/messages", b"\r\n" + b"x" * 100_000
    await site.alice.append("INBOX", large, [], 0, 0)
    first = set(files.iterdir())
    await site.alice.append("INBOX", large, [], 0, 0)
    (second,) = set(files.iterdir()) - first
    await site.alice.append("INBOX", large, [], 0, 0)
    second.unlink()
    client = await site.client(select="INBOX")
    untagged, tagged = await client.command("FETCH 1:3 BODY.PEEK[]")
    assert tagged.startswith(b"NO [CORRUPTION] ")
    assert [answer.partition(b" {")[0] for answer in untagged] == [b"* 1 FETCH (BODY[]", b"* 3 FETCH (BODY[]"]
