"""Step 8: filed once, durably; only then acknowledged and deleted."""

import re
import time
from datetime import datetime

import pytest

from gateway.site import Site
from p2pcore.names import inbox_key
from tests.flow import mta
from tests.flow.conftest import Network
from tests.flow.disk import Disk, Held, wait_until
from tests.flow.machines import DOMAIN, Machines
from tests.flow.mta import message
from tests.flow.reader import Reader


def test_both_recipients(network: Network, alice: Reader, bob: Reader) -> None:
    """A mail to an alias of two users is shown to both."""
    content = message()
    network.send(content, "both")
    alice.wait_for(content)
    bob.wait_for(content)


def test_repeated(network: Network, alice: Reader) -> None:
    """The same octets with a Message-ID, sent again with the same envelope, are shown once."""
    before, content = alice.count(), message(message_id="once@sender.example")
    for _ in range(3):
        assert network.send(content, "alice").startswith("250")
    last = message()
    network.send(last, "alice")
    alice.wait_for(last)
    wait_until(lambda: network.disk.entries_of(inbox_key(network.address("alice"))) == 0)
    assert alice.count() == before + 2


def test_without_message_id(network: Network, bob: Reader) -> None:
    """The same octets without a Message-ID, sent twice, are shown twice."""
    before, content = bob.count(), message()
    network.send(content, "bob")
    network.send(content, "bob")
    bob.wait_until(before + 2)


@pytest.mark.parametrize("other", ["octets", "reverse-path", "forward-path"])
def test_not_the_same(network: Network, bob: Reader, other: str) -> None:
    """Two mails of one Message-ID that differ in their octets, reverse-path or forward-path are both shown."""
    before = bob.count()
    first = message(message_id=f"shared-{other}@sender.example")
    second = message(message_id=f"shared-{other}@sender.example") if other == "octets" else first
    network.send(first, "bob")
    network.send(
        second,
        "bob+tag" if other == "forward-path" else "bob",
        reverse_path="other@sender.example" if other == "reverse-path" else mta.SENDER,
    )
    bob.wait_until(before + 2)


def test_claimed_results(network: Network, alice: Reader) -> None:
    """Authentication-Results in our own name that a mail came with is renamed X-Claimed-Auth-Results where it stands,
    and not one other octet changes.
    """
    names = (network.hostname, "mx.bank.example", f'"{DOMAIN}" 1')
    forged = [f"Authentication-Results: {name}; dmarc=pass header.from=bank.example\r\n".encode() for name in names]
    sent = b"".join(forged) + message() + forged[0]
    assert network.send(sent, "alice").startswith("250")
    marked = [field.replace(b"Authentication-Results", b"X-Claimed-Auth-Results") for field in forged]
    shown = sent.replace(forged[0], marked[0], 1).replace(forged[2], marked[2], 1)
    alice.wait_for(shown)


def test_quarantine(network: Network, alice: Reader) -> None:
    """Mail that fails the DMARC policy "quarantine" of its author's domain is accepted and filed in Junk."""
    content = message(author="ceo@quarantine.example")
    assert network.send(content, "alice").startswith("250")
    alice.select("Junk")
    uid = alice.wait_for(content)
    assert b"dmarc=fail (p=quarantine)" in alice.message(uid)
    alice.select("INBOX")
    assert not any(octets.endswith(content) for octets in alice.messages().values())


def test_internal_date(network: Network, alice: Reader) -> None:
    """The internal date is when the gateway took the mail, and the message is unseen."""
    content = message()
    before = int(time.time())
    network.send(content, "alice")
    after = int(time.time())
    uid = alice.wait_for(content)
    response = alice.fetch(str(uid), "(INTERNALDATE FLAGS)")[uid]
    match = re.search(rb'INTERNALDATE "([^"]+)"', response)
    assert match is not None
    taken = datetime.strptime(match.group(1).decode().strip(), "%d-%b-%Y %H:%M:%S %z")
    assert before <= taken.timestamp() <= after
    assert b"\\Seen" not in response


def test_cleaned_up(quiet: Site) -> None:
    """When a message has been filed for sync.keep_days, its entry is acknowledged and its body deleted everywhere."""
    smtp, disk = quiet.config.smtp.listen[0], Disk(quiet)
    before = disk.objects()
    contents = [message(), message() + b"0123456789abcd\r\n" * 8_000, message() + b"0123456789abcd\r\n" * 80_000]
    for content in contents:
        mta.send(smtp, content, f"alice@{DOMAIN}", f"bob@{DOMAIN}")
    assert disk.objects() == before + len(contents)
    for user in ("alice", "bob"):
        with Reader(quiet.config.imap.listen[0], user) as reader:
            reader.wait_until(len(contents))
    wait_until(lambda: disk.held() == Held(0, 0))
    wait_until(lambda: not list((quiet.node / "bodies").iterdir()))  # a file goes after its row


def test_last_recipient(network: Network, alice: Reader) -> None:
    """A body of two recipients stays until the second has it as well."""
    content = message()
    network.send(content, "alice", "waiting")
    (received,) = network.waiting.received()
    alice.wait_for(content)
    key = received.object.object_key
    wait_until(lambda: network.disk.revealed(key) == 1)
    assert network.waiting.fetch(received.notification) == received.body
    network.waiting.delete(received)
    assert not network.disk.holds(key)


def test_restart(quiet: Site, machines: Machines) -> None:
    """After a restart every message has the UID, flags and octets that it had, and none is there twice."""
    smtp, imap = quiet.config.smtp.listen[0], quiet.config.imap.listen[0]
    for number in range(5):
        mta.send(smtp, message(message_id=f"{number}@sender.example"), f"carol@{DOMAIN}")
    with Reader(imap, "carol") as reader:
        reader.wait_until(5)
        reader.imap.uid("STORE", "2:3", "+FLAGS", r"(\Flagged $Later)")
        reader.imap.uid("MOVE", "4", "Archive")
        reader.imap.uid("STORE", "5", "+FLAGS", r"(\Deleted)")
        reader.imap.expunge()
        before = _everything(reader)
    machines.stop(quiet)
    machines.start(quiet)
    with Reader(imap, "carol") as reader:
        assert _everything(reader) == before
        last = message()
        mta.send(smtp, last, f"carol@{DOMAIN}")
        assert reader.wait_for(last) == 6
        assert reader.count() == 4


def _everything(reader: Reader) -> dict[str, tuple[object, ...]]:
    """UIDVALIDITY, UIDNEXT and every message of each mailbox."""
    found: dict[str, tuple[object, ...]] = {}
    for mailbox in ("INBOX", "Archive", "Junk", "Sent", "Drafts", "Trash"):
        counters = reader.imap.status(mailbox, "(UIDVALIDITY UIDNEXT MESSAGES)")[1]
        messages = reader.select(mailbox)
        rows = reader.fetch("1:*", "(FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])") if messages else {}
        found[mailbox] = (counters, {uid: re.sub(rb"^\d+ |\\Recent ?", b"", row) for uid, row in rows.items()})
    reader.select("INBOX")
    return found
