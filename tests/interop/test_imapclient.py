"""IMAPClient, a library that people write their own mail programs with, does everyday work."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from imapclient import DELETED, FLAGGED, SEEN, IMAPClient, exceptions

from tests.harness.mail import send
from tests.interop.mailbox import compose, octets
from tests.interop.server import Server, User

pytestmark = pytest.mark.interop


@pytest.fixture
def client(server: Server, user: User) -> Iterator[IMAPClient]:
    """A session of the user over TLS from the first octet."""
    context = ssl.create_default_context(cafile=str(server.certificate))
    with IMAPClient("localhost", port=server.imaps[1], ssl=True, ssl_context=context, timeout=30) as client:
        client.login(user.address, user.password)
        yield client


def _mail(user: User, name: str) -> bytes:
    return octets(compose(f"Zu {name} – €", f"Text von {name}.\n", f"{name}@sender.example", user.address))


def test_starttls_and_plain(server: Server, user: User) -> None:
    """A session that begins in clear becomes private, and SASL PLAIN logs in."""
    context = ssl.create_default_context(cafile=str(server.certificate))
    with IMAPClient("localhost", port=server.imap[1], ssl=False, timeout=30) as client:
        assert b"STARTTLS" in client.capabilities()
        client.starttls(context)
        client.plain_login(user.address, user.password)
        assert client.select_folder("INBOX")[b"EXISTS"] == 0


def test_wrong_password(server: Server, user: User) -> None:
    """Is refused as a failed login, and the same session may try again."""
    with IMAPClient("localhost", port=server.imap[1], ssl=False, timeout=30) as client:
        with pytest.raises(exceptions.LoginError):
            client.login(user.address, "not the password")
        client.login(user.address, user.password)


def test_folders(client: IMAPClient) -> None:
    """Special folders are found by their use; names of any script are created, renamed and deleted."""
    for name in ("Sent", "Drafts", "Trash", "Junk", "Archive"):
        assert client.find_special_folder(f"\\{name}".encode()) == name
    client.create_folder("Bücher & Filme/日本")
    client.subscribe_folder("Bücher & Filme/日本")
    assert "Bücher & Filme/日本" in [name for _, _, name in client.list_sub_folders()]
    client.rename_folder("Bücher & Filme", "Regal")
    assert client.folder_exists("Regal/日本")
    client.delete_folder("Regal/日本")
    assert not client.folder_exists("Regal/日本")
    (personal,) = client.namespace().personal
    assert tuple(personal) == ("", "/")


def test_messages(client: IMAPClient, user: User) -> None:
    """Filed, found, read, flagged, copied, moved and expunged, each by its UID."""
    for name in ("eins", "zwei", "drei"):
        client.append("INBOX", _mail(user, name), flags=[SEEN] if name == "eins" else [])
    client.multiappend("INBOX", [_mail(user, "vier"), {"msg": _mail(user, "sechs"), "flags": [FLAGGED]}])
    client.select_folder("INBOX")
    uids = client.search()
    assert len(uids) == 5
    assert client.search(["UNSEEN", "SUBJECT", "zwei"]) == [uids[1]]
    assert client.search(["BODY", "Text von sechs"], charset="UTF-8") == [uids[4]]
    fetched = client.fetch(uids, ["ENVELOPE", "FLAGS", "BODY.PEEK[]", "RFC822.SIZE", "INTERNALDATE", "BODYSTRUCTURE"])
    assert fetched[uids[2]][b"BODY[]"] == _mail(user, "drei")
    assert fetched[uids[2]][b"RFC822.SIZE"] == len(_mail(user, "drei"))
    assert fetched[uids[0]][b"ENVELOPE"].message_id == b"<eins@sender.example>"
    assert FLAGGED in fetched[uids[4]][b"FLAGS"]
    assert not fetched[uids[4]][b"BODYSTRUCTURE"].is_multipart
    assert {SEEN, b"Haus"} <= set(client.add_flags(uids[1], [SEEN, "Haus"])[uids[1]])
    assert SEEN not in client.remove_flags(uids[1], [SEEN])[uids[1]]
    client.copy(uids[0], "Archive")
    client.move([uids[3], uids[4]], "Trash")
    assert client.search() == uids[:3]
    assert client.folder_status("Trash", ["MESSAGES", "UNSEEN"]) == {b"MESSAGES": 2, b"UNSEEN": 2}
    client.delete_messages(uids[0])
    assert client.search(["DELETED"]) == [uids[0]]
    assert {SEEN, DELETED} <= set(client.get_flags(uids[0])[uids[0]])
    client.uid_expunge(uids[0])
    assert client.search() == uids[1:3]
    client.unselect_folder()


def test_idle(client: IMAPClient, server: Server, user: User) -> None:
    """What is new is told while the client waits."""
    client.select_folder("INBOX")
    client.idle()
    send(server, _mail(user, "neu"), user.address)
    told: list[tuple[int, bytes]] = []
    while (1, b"EXISTS") not in told:
        answers = client.idle_check(timeout=30)
        assert answers, "nothing came in IDLE"
        told += [answer[:2] for answer in answers]
    client.idle_done()
    assert client.fetch(1, ["UID"])


def test_modseq(client: IMAPClient, user: User) -> None:
    """CONDSTORE: what has changed since a known moment, and nothing else."""
    assert set(client.enable("CONDSTORE")) == {b"CONDSTORE"}
    for name in ("eins", "zwei"):
        client.append("INBOX", _mail(user, name))
    known = client.select_folder("INBOX")[b"HIGHESTMODSEQ"]
    first, second = client.search()
    assert client.fetch([first, second], ["FLAGS"], modifiers=[f"CHANGEDSINCE {known}"]) == {}
    client.add_flags(second, [FLAGGED])
    changed = client.fetch([first, second], ["FLAGS"], modifiers=[f"CHANGEDSINCE {known}"])
    assert list(changed) == [second]


def test_refusals(client: IMAPClient) -> None:
    """What cannot be done is said, and the session goes on."""
    attempts: list[Callable[[], object]] = [
        lambda: client.select_folder("Nirgends"),
        lambda: client.delete_folder("INBOX"),
        lambda: client.create_folder("Sent"),
    ]
    for attempt in attempts:
        with pytest.raises(exceptions.IMAPClientError):
            attempt()
    client.noop()
    with suppress(exceptions.IMAPClientError):
        client.fetch(1, ["FLAGS"])  # nothing is selected: IMAPClient itself may refuse
    assert client.folder_exists("INBOX")
