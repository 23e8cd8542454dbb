"""Step 9: a stock mail reader sees it."""

from tests.flow.conftest import Network
from tests.flow.contents import CONTENTS
from tests.flow.imap_values import parse
from tests.flow.mta import message
from tests.flow.reader import Reader


def test_idle(network: Network, alice: Reader) -> None:
    """A reader in IDLE is told of a new message at once."""
    before = alice.count()
    for number in (1, 2):
        content = message()
        alice.start_idle()
        network.send(content, "alice")
        assert alice.next_exists() == before + number
        alice.end_idle()
        alice.wait_for(content)


def test_just_before_idle(network: Network, alice: Reader, bob: Reader) -> None:
    """A message that came between the last command and IDLE is told as well."""
    before = alice.count()
    content = message()
    network.send(content, "both")
    with Reader(network.imap, "alice") as other:
        other.wait_for(content)
    alice.start_idle()
    assert alice.next_exists() == before + 1
    alice.end_idle()
    bob.wait_for(content)


def test_two_readers(network: Network, alice: Reader) -> None:
    """Every reader of the account is told."""
    with Reader(network.imap, "alice") as other:
        content = message()
        for reader in (alice, other):
            reader.start_idle()
        network.send(content, "alice")
        assert alice.next_exists() == other.next_exists()


def test_fetch(network: Network, alice: Reader) -> None:
    """RFC822.SIZE is the length of BODY[], and ENVELOPE has the sender's subject, date and Message-ID."""
    content = message(message_id="fields@sender.example")
    network.send(content, "alice")
    uid = alice.wait_for(content)
    values = parse(alice.fetch(str(uid), "(RFC822.SIZE ENVELOPE BODYSTRUCTURE)")[uid])
    assert values[b"RFC822.SIZE"] == str(len(alice.message(uid))).encode()
    envelope = values[b"ENVELOPE"]
    assert isinstance(envelope, list)
    assert len(envelope) == 10
    subject = content.partition(b"Subject: ")[2].partition(b"\r\n")[0]
    assert (envelope[0], envelope[1]) == (b"Sun, 22 Nov 2026 10:00:00 +0000", subject)
    assert envelope[9] == b"<fields@sender.example>"


def test_parts(network: Network, alice: Reader) -> None:
    """Whatever the content is, BODY[HEADER] and BODY[TEXT] together are BODY[], and ENVELOPE and BODYSTRUCTURE can be
    fetched.
    """
    before = alice.count()
    for content in CONTENTS.values():
        network.send(content, "alice")
    alice.wait_until(before + len(CONTENTS))
    uids = sorted(alice.uids())[-len(CONTENTS) :]
    items = "(BODY.PEEK[HEADER] BODY.PEEK[TEXT] BODY.PEEK[] ENVELOPE BODYSTRUCTURE)"
    for response in alice.fetch(f"{uids[0]}:{uids[-1]}", items).values():
        values = parse(response)
        header, text, whole = values[b"BODY[HEADER]"], values[b"BODY[TEXT]"], values[b"BODY[]"]
        assert isinstance(header, bytes)
        assert isinstance(text, bytes)
        assert header + text == whole
        assert isinstance(values[b"ENVELOPE"], list)
        assert isinstance(values[b"BODYSTRUCTURE"], list)
