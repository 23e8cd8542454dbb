"""Step 2: content is read and sealed exactly as received, or refused as a whole."""

import random

import pytest

from tests.flow.conftest import Network
from tests.flow.contents import CONTENTS
from tests.flow.machines import MAX_MESSAGE_SIZE
from tests.flow.mta import HELO, SENDER, Mta, message
from tests.flow.reader import Reader, split

_REFUSED = {
    "NUL": b"Subject: x\r\n\r\na\0b\r\n",
    "NUL in header": b"Subject: \0\r\n\r\nbody\r\n",
    "bare CR": b"Subject: x\r\n\r\na\rb\r\n",
    "CR CR LF": b"Subject: x\r\n\r\na\r\r\n",
    "bare LF": b"Subject: x\r\n\r\na\nb\r\n",
    "bare LF in header": b"Subject: x\nFrom: y\r\n\r\nbody\r\n",
    "bare LF first": b"\nbody\r\n",
    "line over 64 KiB": b"Subject: x\r\n\r\n" + b"x" * 65_537 + b"\r\n",
}


@pytest.mark.parametrize("name", CONTENTS)
def test_octet_for_octet(network: Network, alice: Reader, name: str) -> None:
    """Content comes out octet for octet as it went in, whatever it is: 8-bit octets, lines of 64 KiB, leading dots, any
    MIME or none, no body, no header.
    """
    content = CONTENTS[name]
    before = alice.count()
    assert network.send(content, "alice").startswith("250")
    if content:
        uid = alice.wait_for(content)
    else:
        alice.wait_until(before + 1)
        uid = max(alice.messages("*"))
    assert split(alice.message(uid), content)


def test_large(network: Network, alice: Reader) -> None:
    """Five megabytes come out as they went in."""
    octets = random.Random(5).randbytes(5 << 20).translate(bytes.maketrans(b"\0\r\n", b"..."))
    lines = b"\r\n".join(octets[start : start + 998] for start in range(0, len(octets), 998))
    content = message() + lines + b"\r\n"
    assert network.send(content, "alice").startswith("250")
    alice.wait_for(content)


@pytest.mark.parametrize("end", [b"\r\n", b"."])
def test_chunks(network: Network, alice: Reader, end: bytes) -> None:
    """A content in chunks (BDAT) comes out octet for octet too, whether or not it ends in CRLF."""
    content = message() + b".\r\n..\r\nQUIT" + end
    with Mta(network.smtp) as mta:
        mta.say(f"EHLO {HELO}")
        mta.say(f"MAIL FROM:<{SENDER}>")
        mta.say(f"RCPT TO:<{network.address('alice')}>")
        assert mta.raw(b"BDAT 100\r\n" + content[:100]) == "250 2.0.0 100 octets received"
        last = mta.raw(f"BDAT {len(content) - 100} LAST\r\n".encode() + content[100:])
    assert last.startswith("250 2.6.0 stored on 1 of 1 nodes")
    assert split(alice.message(alice.wait_for(content)), content)


@pytest.mark.parametrize("name", _REFUSED)
def test_refused(network: Network, name: str) -> None:
    """A NUL, a bare CR, a bare LF or a line over 64 KiB is answered 554 5.6.0, and nothing is stored."""
    objects = network.disk.objects()
    with Mta(network.smtp) as mta:
        mta.begin([network.waiting.address])
        assert mta.content(_REFUSED[name]).startswith("554 5.6.0 ")
        assert mta.say("NOOP").startswith("250")
    assert network.waiting.new_entries() == []
    assert network.disk.objects() == objects


@pytest.mark.parametrize("first", [b" ; dmarc=pass\r\n", b"\t\r\n"])
def test_continuation_line_first(network: Network, first: bytes) -> None:
    """A content that begins with white space would continue the field above it, one of ours: 554 5.6.0, and nothing is
    stored.
    """
    objects = network.disk.objects()
    with Mta(network.smtp) as mta:
        mta.begin([network.waiting.address])
        assert mta.content(first + message()).startswith("554 5.6.0 ")
    assert network.waiting.new_entries() == []
    assert network.disk.objects() == objects


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r"])
def test_smuggling(network: Network, end: bytes) -> None:
    """Only CRLF, dot, CRLF ends a content: what looks like a second mail after any other end is never taken for one."""
    smuggled = f"MAIL FROM:<x@sender.example>\r\nRCPT TO:<{network.waiting.address}>\r\nDATA\r\n".encode()
    with Mta(network.smtp) as mta:
        mta.begin([network.waiting.address])
        assert mta.raw(message() + b"x" + end + smuggled + message() + b".\r\n").startswith("554 5.6.0 ")
        assert mta.say("NOOP").startswith("250")
    assert network.waiting.new_entries() == []


def test_declared_too_large(network: Network) -> None:
    """A declared SIZE over the limit is answered 552 5.3.4 at MAIL."""
    with Mta(network.smtp) as mta:
        mta.say(f"EHLO {HELO}")
        assert mta.say(f"MAIL FROM:<{SENDER}> SIZE={MAX_MESSAGE_SIZE + 1}").startswith("552 5.3.4 ")
        assert mta.say(f"MAIL FROM:<{SENDER}> SIZE={MAX_MESSAGE_SIZE}").startswith("250")


def test_too_large(network: Network) -> None:
    """A content over the limit is read to its end, answered 552 5.3.4, and nothing is stored."""
    objects = network.disk.objects()
    content = b"Subject: too large\r\n\r\n" + (b"x" * 1022 + b"\r\n") * (MAX_MESSAGE_SIZE >> 10)
    with Mta(network.smtp) as mta:
        mta.begin([network.waiting.address])
        assert mta.content(content).startswith("552 5.3.4 ")
        assert mta.say("NOOP").startswith("250")
    assert network.waiting.new_entries() == []
    assert network.disk.objects() == objects


def test_dmarc_reject(network: Network) -> None:
    """Mail that fails the DMARC policy "reject" of its author's domain is answered 550 5.7.1, and nothing is stored."""
    objects = network.disk.objects()
    with Mta(network.smtp) as mta:
        mta.begin([network.waiting.address])
        assert mta.content(message(author="ceo@reject.example")).startswith("550 5.7.1 ")
    assert network.waiting.new_entries() == []
    assert network.disk.objects() == objects


def test_sealed(network: Network) -> None:
    """What a node holds is the content sealed: it shows nothing of it, and opens with the session key alone."""
    content = message(body="the secret of the house " * 20)
    network.send(content, "waiting")
    (received,) = network.waiting.received()
    assert b"secret" not in received.body.body
    assert received.object.size == len(received.body.body) > len(content)
    assert received.content == content
