"""What no parser makes sense of, or gives up on at its limits: filed, and shown whole all the same."""

import random

import pytest

from gateway.mail.structure import MAX_ADDRESSES, MAX_DEPTH, MAX_PARTS
from gateway.mailbox.model import Incoming
from tests.gateway.imap.client import Client
from tests.gateway.imap.conftest import Site

TRACE = b"Return-Path: <>\r\n"
MULTIPART = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"

BEYOND = {
    "nested": b"Content-Type: message/rfc822\r\n\r\n" * 4 * MAX_DEPTH + b"needle",
    "parts": MULTIPART + b"--b\r\n\r\nx\r\n" * 3 * MAX_PARTS + b"needle",
    "delimiters": MULTIPART + b"--b\r\n" + b"--bx\r\n" * 50_000 + b"needle\r\n--b--",
    "boundary in pieces": b"Content-Type: multipart/mixed" + b"; boundary*1=x" * 10_000 + b"\r\n\r\nneedle",
    "addresses": b"From: " + b"a," * 2 * MAX_ADDRESSES + b"\r\nTo: <" + b"@a," * 20_000 + b"\r\n\r\nneedle",
    "parameters": b"Content-Type: text/plain" + b'; a="' * 20_000 + b"\r\n\r\nneedle",
    "encoded words": b"Subject: " + b"=?utf-7?q?+?= =?x?b?" * 5_000 + b"\r\n\r\nneedle",
    "charset": b"Content-Type: text/plain; charset=utf-7\r\n\r\nneedle +" + b"ZeVn" * 50_000,
    "references": b"References: " + b"<1@x>\r\n " * 10_000 + b"\r\n\r\nneedle",
    "header without end": b"X: y\r\n" * 100_000 + b"needle\r\n",
    "no line": b"needle" + bytes(range(256)) * 1_000,
    "NUL": b"Subject: \0\r\nContent-Type: \0/\0\r\n\r\n\0needle\0",
}


def incoming(number: int, content: bytes) -> Incoming:
    return Incoming(bytes([0, number]) * 16, None, TRACE, content, number, "INBOX", frozenset(), b"")


async def whole(client: Client, seq: int) -> bytes:
    """BINARY[]: octet for octet what was filed, since a literal of BODY[] has no NUL (RFC 9051 §4.3.1)."""
    (answer,) = await client.ok(f"FETCH {seq} BINARY.PEEK[]")
    return answer.partition(b"}\r\n")[2].removesuffix(b")")


@pytest.mark.parametrize("name", BEYOND)
async def test_beyond_the_limits(site: Site, name: str) -> None:
    """Its structure may be less than its author meant; its octets are all there, and every command is answered."""
    message = TRACE + BEYOND[name]
    await site.alice.file_incoming([incoming(1, BEYOND[name])])
    client = await site.client(select="INBOX")
    assert await whole(client, 1) == message
    sendable = message.replace(b"\0", b"\x80")
    (answer,) = await client.ok("FETCH 1 (RFC822.SIZE BODY.PEEK[])")
    assert answer == b"* 1 FETCH (RFC822.SIZE %d BODY[] {%d}\r\n%b)" % (len(message), len(message), sendable)
    (header,) = await client.ok("FETCH 1 BODY.PEEK[HEADER]")
    (text,) = await client.ok("FETCH 1 BODY.PEEK[TEXT]")
    assert b"".join(part.partition(b"}\r\n")[2].removesuffix(b")") for part in (header, text)) == sendable
    await client.ok("FETCH 1 (ENVELOPE BODY BODYSTRUCTURE)")
    await client.ok("SEARCH OR TEXT needle HEADER Subject needle")


async def test_anything(site: Site) -> None:
    """Whatever the octets, from a fixed seed: every one of the messages is there, and is what was filed."""
    chance = random.Random(5)
    pieces = [
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b"--b",
        b"--",
        b":",
        b"From",
        b" ",
        b'"',
        b"<a@b",
        b"=?",
        b"?=",
        b"\xff",
        MULTIPART,
    ]
    contents = [b"".join(chance.choices(pieces, k=chance.randrange(60))) for _ in range(200)]
    await site.alice.file_incoming([incoming(number, content) for number, content in enumerate(contents)])
    client = await site.client(select="INBOX")
    for seq, content in enumerate(contents, 1):
        assert await whole(client, seq) == TRACE + content
    assert len(await client.ok("FETCH 1:* (ENVELOPE BODY BODYSTRUCTURE)")) == len(contents)
