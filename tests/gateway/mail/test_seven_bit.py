"""8-bit content for hosts that take 7 bits (RFC 6152 §3)."""

import email
import email.policy
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mail.seven_bit import to_seven_bit
from p2pcore.errors import Malformed

UMLAUTS = "Grüße\r\n über alle Maße = und =FC \t\r\n.\r\n" + "viel Text in ASCII " * 20 + "\r\n"


def parts(content: bytes) -> list[tuple[str, bytes]]:
    """Type and decoded octets of every leaf, by the standard library."""
    message: Message = email.message_from_bytes(content, policy=email.policy.SMTP)
    leaves = (part for part in message.walk() if not part.is_multipart())
    return [(part.get_content_type(), bytes(part.get_payload(decode=True) or b"")) for part in leaves]


def part(body: bytes, kind: str = "text/plain; charset=utf-8", encoding: str = "8bit") -> bytes:
    said = f"Content-Transfer-Encoding: {encoding}\r\n" if encoding else ""
    return f"Content-Type: {kind}\r\n{said}\r\n".encode() + body


def mail(entity: bytes) -> bytes:
    return b"From: a@example.org\r\nMIME-Version: 1.0\r\n" + entity


def multipart(*entities: bytes, kind: str = "mixed", boundary: str = "b") -> bytes:
    head = f"Content-Type: multipart/{kind}; boundary={boundary}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n".encode()
    delimiter = f"--{boundary}".encode()
    return head + b"".join(delimiter + b"\r\n" + each + b"\r\n" for each in entities) + delimiter + b"--\r\n"


@given(st.binary(max_size=300), st.sampled_from(["text/plain", "image/png"]))
def test_every_leaf_says_the_same_afterwards(octets: bytes, kind: str) -> None:
    """Invariant: the result is ASCII with lines of at most 78 octets, and decodes to the octets that were there."""
    body = octets.replace(b"\r", b"").replace(b"\n", b"\r\n") + "ü".encode()
    converted = to_seven_bit(mail(part(body, kind)))
    assert converted.isascii()
    assert max(map(len, converted.split(b"\r\n"))) <= 78
    assert parts(converted) == [(kind, body)]


@given(st.binary(max_size=400))
def test_anything_is_ascii_afterwards_or_malformed(octets: bytes) -> None:
    """Invariant: whatever comes in, nothing but ASCII goes out."""
    for content in (octets, mail(octets), mail(multipart(octets))):
        try:
            assert to_seven_bit(content).isascii()
        except Malformed:
            continue


def test_text_becomes_quoted_printable_and_the_rest_base64() -> None:
    """What is mostly ASCII stays readable; parts without 8-bit octets stay as they are, to the octet."""
    ascii_part = part(b"plain = text\r\n", encoding="7bit")
    image = part(bytes(range(256)), "image/png", "binary")
    content = mail(multipart(part(UMLAUTS.encode()), ascii_part, image, part("日本語".encode())))
    converted = to_seven_bit(content)
    assert ascii_part in converted
    assert b"Gr=C3=BC=C3=9Fe\r\n" in converted
    encodings = [line.partition(b": ")[2] for line in converted.split(b"\r\n") if line.startswith(b"Content-Transfer")]
    assert encodings == [b"7bit", b"quoted-printable", b"7bit", b"base64", b"base64"]
    assert [octets for _, octets in parts(converted)] == [octets for _, octets in parts(content)]


def test_messages_and_multiparts_inside_are_converted_too() -> None:
    """A nested message is no leaf: what is in it is encoded, and it says 7bit (RFC 2045 §6.4)."""
    inner = mail(multipart(part(UMLAUTS.encode(), encoding=""), boundary="inner"))
    content = mail(multipart(part(inner, "message/rfc822")))
    converted = to_seven_bit(content)
    assert b"message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n" in converted
    assert parts(converted) == [("text/plain", UMLAUTS.encode())]


def test_what_is_signed_and_ascii_stays_to_the_octet() -> None:
    """A signed part beside an 8-bit one is not touched."""
    signed = multipart(part(b"hello \r\n", encoding="7bit"), part(b"sig", "application/pgp-signature"), kind="signed")
    signed = signed.replace(b"=b\r\n", b"=s\r\n").replace(b"--b", b"--s")
    assert signed in to_seven_bit(mail(multipart(signed, part(UMLAUTS.encode()))))


@pytest.mark.parametrize(
    "content",
    [
        mail(multipart(part(UMLAUTS.encode()), part(b"sig", "application/pgp-signature"), kind="signed")),
        mail(multipart(multipart(part(UMLAUTS.encode()), kind="signed", boundary="in"))),
        b"From: a@example.org\r\n\r\n" + UMLAUTS.encode(),
        mail(part(UMLAUTS.encode(), encoding="base64")),
        mail(part(UMLAUTS.encode(), "multipart/mixed")),
        mail(part(UMLAUTS.encode(), "message/partial; id=1; number=1")),
        mail("Subject: ü\r\n".encode() + part(UMLAUTS.encode())),
        mail(multipart(part(b"x")) + "epilogue ü".encode()),
    ],
)
def test_what_would_be_damaged_is_not_converted(content: bytes) -> None:
    """Signatures, content without MIME, contradictions, and 8-bit octets outside leaves."""
    with pytest.raises(Malformed):
        to_seven_bit(content)
