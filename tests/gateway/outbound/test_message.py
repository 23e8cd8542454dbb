"""What is sent to each kind of host, and that its end is one."""

import email
import email.policy
from email.message import Message

import pytest

from gateway.outbound.message import sendable

HEAD = b"From: alice@example.org\r\nMIME-Version: 1.0\r\n"
TEXT = "Content-Type: text/plain; charset=utf-8\r\n\r\nüber eine Zeile".encode()  # becomes quoted-printable
IMAGE = b"Content-Type: image/png\r\n\r\n" + bytes(range(128, 256))  # becomes base64


def multipart(*entities: bytes, boundary: bytes = b"b", closed: bool = True) -> bytes:
    head = b"Content-Type: multipart/mixed; boundary=" + boundary + b"\r\n\r\n"
    parts = b"\r\n".join(b"--" + boundary + b"\r\n" + each for each in entities)
    return head + parts + (b"\r\n--" + boundary + b"--" if closed else b"")


def nested(entity: bytes) -> bytes:
    return b"Content-Type: message/rfc822\r\n\r\n" + HEAD + entity


CONTENTS = {
    "ASCII": b"\r\nhello",
    "text": TEXT,
    "no text": IMAGE,
    "a multipart with text last": multipart(IMAGE, TEXT),
    "a multipart with no text last": multipart(TEXT, IMAGE),
    "a multipart without its end, text last": multipart(IMAGE, TEXT, closed=False),
    "a multipart without its end, no text last": multipart(TEXT, IMAGE, closed=False),
    "a nested message": nested(IMAGE),
    "a nested multipart": nested(multipart(TEXT, IMAGE, boundary=b"inner", closed=False)),
    "a nested message in a multipart": multipart(TEXT, nested(IMAGE)),
    "what cannot be converted": "\r\nüber eine Zeile".encode(),
}


def parts(content: bytes) -> list[tuple[str, bytes]]:
    """Type and decoded octets of every leaf, by the standard library."""
    message: Message = email.message_from_bytes(content, policy=email.policy.SMTP)
    leaves = (part for part in message.walk() if not part.is_multipart())
    return [(part.get_content_type(), bytes(part.get_payload(decode=True) or b"")) for part in leaves]


@pytest.mark.parametrize("eight_bit", [True, False])
@pytest.mark.parametrize("end", [b"", b"\r\n", b"\r\n\r\n"])
@pytest.mark.parametrize("what", CONTENTS)
def test_what_is_sent_ends_in_crlf_and_has_the_same_parts(what: str, end: bytes, *, eight_bit: bool) -> None:
    """RFC 5321 §4.1.1.4: the final dot has a line to itself. The CRLF before a delimiter is the delimiter's own."""
    content = HEAD + CONTENTS[what] + end
    sent = sendable(content, eight_bit=eight_bit)
    assert sent.endswith(b"\r\n")
    assert sent.isascii() or eight_bit or what == "what cannot be converted"
    assert parts(sent) in (parts(content), parts(content + b"\r\n"))
