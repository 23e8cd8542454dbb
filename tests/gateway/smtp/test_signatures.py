"""DKIM says of a signature what RFC 6376 §6.1 says, step by step; keys come from DNS, and nothing else does."""

import asyncio
import base64
import time
from collections.abc import Mapping

import dkim
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway.resolver import Kind, Value
from gateway.smtp.data import ChunkScanner
from gateway.smtp.examined import Examined
from tests.gateway.smtp.world import FakeDns

HEADER = b"From: Author <a@e.example>\r\nTo: b@example.org\r\nSubject: one  two\r\n"
CONTENT = HEADER + b"\r\nbody \r\n"
KEY_NAME = "s._domainkey.e.example"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, 2_048)


def pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def published(key: rsa.RSAPrivateKey, tags: bytes = b"v=DKIM1; ", *, rfc8017: bool = False) -> FakeDns:
    form = PublicFormat.PKCS1 if rfc8017 else PublicFormat.SubjectPublicKeyInfo
    octets = base64.b64encode(key.public_key().public_bytes(Encoding.DER, form))
    return FakeDns({(KEY_NAME, "TXT"): ((tags + b"p=", octets[:255], octets[255:]),)})


def signed(key: rsa.RSAPrivateKey, content: bytes = CONTENT, **options: object) -> bytes:
    """`content` with a signature of e.example on top."""
    chosen: dict[str, object] = {"include_headers": [b"from", b"subject"], **options}
    return bytes(dkim.sign(content, b"s", b"e.example", pem(key), **chosen)) + content


async def results(content: bytes, dns: FakeDns) -> list[str]:
    examined, scanner = Examined(verified=True), ChunkScanner(len(content))
    examined.feed(scanner.feed(content))
    until = asyncio.get_running_loop().time() + 60
    checked = examined.finish().check(examined.header.octets, dns, int(time.time() * 1_000), until)
    return [one.result for one in await checked]


@pytest.mark.parametrize("header", [b"simple", b"relaxed"])
@pytest.mark.parametrize("body", [b"simple", b"relaxed"])
@pytest.mark.parametrize(
    ("change", "survives"),
    [
        (lambda content: content, {b"simple", b"relaxed"}),
        (lambda content: content.replace(b"one  two", b"one two "), {b"relaxed"}),
        (lambda content: content.replace(b"Subject: one", b"SUBJECT:\r\n one"), {b"relaxed"}),
        (lambda content: content.replace(b"To: b@", b"To: c@"), {b"simple", b"relaxed"}),  # not signed
        (lambda content: b"Received: by x; now\r\n" + content, {b"simple", b"relaxed"}),
        (lambda content: content.replace(b"one", b"two"), set()),
        (lambda content: content.replace(b"<a@", b"<b@"), set()),
    ],
)
async def test_headers(
    key: rsa.RSAPrivateKey, header: bytes, body: bytes, change: object, survives: set[bytes]
) -> None:
    """What each canonicalisation of the header forgives, and no more (§3.4.1, §3.4.2)."""
    assert callable(change)
    content = change(signed(key, canonicalize=(header, body)))
    assert await results(content, published(key)) == ["pass" if header in survives else "fail"]


@pytest.mark.parametrize("body", [b"simple", b"relaxed"])
@pytest.mark.parametrize(
    ("old", "new", "survives"),
    [
        (b"body \r\n", b"body \r\n\r\n\r\n", {b"simple", b"relaxed"}),
        (b"body \r\n", b"body\t \r\n", {b"relaxed"}),
        (b"body \r\n", b"body\r\n", {b"relaxed"}),
        (b"body \r\n", b" body \r\n", set()),
        (b"body \r\n", b"Body \r\n", set()),
        (b"body \r\n", b"", set()),
    ],
)
async def test_bodies(key: rsa.RSAPrivateKey, body: bytes, old: bytes, new: bytes, survives: set[bytes]) -> None:
    """The same of the body (§3.4.3, §3.4.4)."""
    content = signed(key, canonicalize=(b"relaxed", body)).replace(old, new)
    assert await results(content, published(key)) == ["pass" if body in survives else "fail"]


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("name", [b"From", b"FROM", b"from"])
async def test_a_from_field_that_was_not_there(key: rsa.RSAPrivateKey, place: int, name: bytes) -> None:
    """Above or below the one that was signed (§8.15): a reader might show it."""
    before, after = signed(key).split(b"From: ", 1)
    added = name + b": ceo@e.example\r\n"
    content = (
        before + b"From: " + after.replace(b"To:", added + b"To:") if place else added + before + b"From: " + after
    )
    assert await results(content, published(key)) == ["fail"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b" v=1;", b" v=2;"),
        (b" v=1;", b""),
        (b"a=rsa-sha256", b"a=rsa-md5"),
        (b"h=from : subject", b"h=subject"),  # §3.5: From is always signed
        (b"i=@e.example", b"i=@f.example"),
        (b"i=@e.example", b"i=@not-e.example"),
        (b"q=dns/txt", b"q=other"),
        (b" d=e.example;", b""),
        (b" s=s;", b""),
    ],
)
async def test_fields_that_are_not_as_they_must_be(key: rsa.RSAPrivateKey, old: bytes, new: bytes) -> None:
    """§6.1.1: whatever the octets would verify to, a signature that breaks a rule is none."""
    content = signed(key, include_headers=[b"from", b"subject"])
    assert old in content
    assert await results(content.replace(old, new, 1), published(key)) == ["permerror"]


@pytest.mark.parametrize(
    ("tags", "result"),
    [
        (b"", "pass"),
        (b"v=DKIM1; k=rsa; ", "pass"),
        (b"v=DKIM1; s=email; n=a note; unknown=x; ", "pass"),
        (b"v=DKIM1; s=*; h=sha256; ", "pass"),
        (b"v=DKIM1; t=x:s; ", "pass"),
        (b"v=DKIM2; ", "permerror"),
        (b"k=rsa; v=DKIM1; ", "permerror"),
        (b"v=DKIM1; k=unknown; ", "permerror"),
        (b"v=DKIM1; k=ed25519; ", "permerror"),
        (b"v=DKIM1; s=other; ", "permerror"),
        (b"v=DKIM1; h=sha1; ", "permerror"),
        (b"v=DKIM1; p=; ", "permerror"),
        (b"nonsense; ", "permerror"),
        (b"v=DKIM1; t=y; ", "neutral"),
    ],
)
async def test_key_records(key: rsa.RSAPrivateKey, tags: bytes, result: str) -> None:
    """§3.6.1 and §6.1.2."""
    assert await results(signed(key), published(key, tags)) == [result]


async def test_a_key_in_the_older_form(key: rsa.RSAPrivateKey) -> None:
    """RSAPublicKey without SubjectPublicKeyInfo (§3.6.1, RFC 8017)."""
    assert await results(signed(key), published(key, rfc8017=True)) == ["pass"]


async def test_a_revoked_key(key: rsa.RSAPrivateKey) -> None:
    """An empty p= (§3.6.1)."""
    dns = FakeDns({(KEY_NAME, "TXT"): ((b"v=DKIM1; p=",),)})
    (result,) = await results(signed(key), dns)
    assert result in ("fail", "permerror")


async def test_no_key_and_no_answer(key: rsa.RSAPrivateKey) -> None:
    """§6.1.2: nothing there is for good, a failing DNS is not."""
    dns = FakeDns()
    assert await results(signed(key), dns) == ["permerror"]
    dns.broken.add(KEY_NAME)
    assert await results(signed(key), dns) == ["temperror"]


async def test_a_short_key_proves_nothing() -> None:
    """RFC 8301 §3.2: less than 1,024 bits."""
    short = rsa.generate_private_key(65_537, 1_024)
    assert await results(signed(short), published(short)) == ["pass"]
    modulus = (1 << 767) | 3
    der = b"\x30\x66\x02\x60" + modulus.to_bytes(96, "big") + b"\x02\x02\x01\x01"
    dns = FakeDns({(KEY_NAME, "TXT"): ((b"v=DKIM1; p=" + base64.b64encode(der),),)})
    (result,) = await results(signed(short), dns)
    assert result in ("fail", "permerror")


async def test_ed25519() -> None:
    """RFC 8463."""
    private = ed25519.Ed25519PrivateKey.generate()
    seed = base64.b64encode(private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
    public = base64.b64encode(private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
    field = dkim.sign(
        CONTENT, b"s", b"e.example", seed, include_headers=[b"from"], signature_algorithm=b"ed25519-sha256"
    )
    dns = FakeDns({(KEY_NAME, "TXT"): ((b"v=DKIM1; k=ed25519; p=" + public,),)})
    assert await results(field + CONTENT, dns) == ["pass"]
    assert await results(field + CONTENT.replace(b"body", b"Body"), dns) == ["fail"]


@pytest.mark.parametrize(
    ("signed_at", "until", "result"),
    [(-10, 10, "pass"), (-30, -20, "fail"), (20, 30, "fail"), (None, -20, "fail"), (-10, -20, "permerror")],
)
async def test_dates(key: rsa.RSAPrivateKey, signed_at: int | None, until: int, result: str) -> None:
    """x= is over, or t= is yet to come, by more days than clocks differ (§3.5)."""
    day, now = 86_400, int(time.time())
    tags: Mapping[bytes, int] = {
        **({} if signed_at is None else {b"t": now + signed_at * day}),
        b"x": now + until * day,
    }
    extra = b"; ".join(b"%b=%d" % item for item in tags.items())
    # signed as it stands: the tags are part of what the signature covers
    field = _with_tags(key, extra)
    assert await results(field + CONTENT, published(key)) == [result]


def _with_tags(key: rsa.RSAPrivateKey, extra: bytes) -> bytes:
    """A signature that carries `extra`, made by hand (§3.7)."""
    body_hash = hashes.Hash(hashes.SHA256())
    body_hash.update(b"body\r\n")
    value = b"v=1; a=rsa-sha256; c=relaxed/relaxed; d=e.example; s=s; h=from; %b; bh=%b; b=" % (
        extra,
        base64.b64encode(body_hash.finalize()),
    )
    covered = b"from:Author <a@e.example>\r\ndkim-signature:" + value
    return (
        b"DKIM-Signature: " + value + base64.b64encode(key.sign(covered, padding.PKCS1v15(), hashes.SHA256())) + b"\r\n"
    )


async def test_only_keys_are_asked_for(key: rsa.RSAPrivateKey) -> None:
    """Each name once, however many signatures name it."""
    content = signed(key)
    field = content[: content.index(b"From:")]
    dns = published(key)
    assert await results(field + field + content, dns) == ["pass"] * 3
    asked: list[tuple[str, Kind]] = [(KEY_NAME, "TXT")]
    assert dns.asked == asked


@pytest.mark.parametrize(("flags", "result"), [(b"", "pass"), (b"t=s; ", "permerror")])
async def test_a_key_that_is_not_for_subdomains(key: rsa.RSAPrivateKey, flags: bytes, result: str) -> None:
    """t=s in the key's record: i= has the signature's very domain (§3.6.1)."""
    content = signed(key, identity=b"a@sub.e.example")
    assert await results(content, published(key, b"v=DKIM1; " + flags)) == [result]


@pytest.mark.parametrize("place", ["above", "below"])
@pytest.mark.parametrize("line", [b"garbage", b">From x", b"\xc3\xa9: x", b": x", b"X-Field : x", b"From x y"])
async def test_lines_that_are_no_fields(key: rsa.RSAPrivateKey, line: bytes, place: str) -> None:
    """Only the fields that h= names are hashed (§3.7); mail with such lines is sent, and read."""
    field, content = signed(key).split(b"From:", 1)
    content = b"From:" + content
    if place == "above":
        content = line + b"\r\n\tand more\r\n" + field + content
    else:
        content = field + content.replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n\r\n", 1)
    assert await results(content, published(key)) == ["pass"]


@pytest.mark.parametrize("canonicalize", [(b"simple", b"simple"), (b"relaxed", b"simple")])
async def test_a_from_field_with_a_blank_before_its_colon(
    key: rsa.RSAPrivateKey, canonicalize: tuple[bytes, bytes]
) -> None:
    """RFC 5322 §4.5 lets it stand and readers show it, so it counts like any other."""
    content = b"From : ceo@e.example\r\n" + signed(key, canonicalize=canonicalize)
    assert await results(content, published(key)) == ["fail"]


@pytest.mark.parametrize("bits", [8_192, 16_384])
@pytest.mark.parametrize("exponent", [65_537, (1 << 8_000) + 1])
async def test_a_keys_size_is_bounded(key: rsa.RSAPrivateKey, bits: int, exponent: int) -> None:
    """RFC 8301 §3.2; a power of such numbers takes seconds."""
    dns = FakeDns({(KEY_NAME, "TXT"): ((b"v=DKIM1; p=" + _rsa_key((1 << bits) - 1, exponent),),)})
    assert await results(signed(key), dns) == ["permerror"]


async def test_a_keys_exponent_is_bounded(key: rsa.RSAPrivateKey) -> None:
    """Of a modulus that is small enough."""
    dns = FakeDns({(KEY_NAME, "TXT"): ((b"v=DKIM1; p=" + _rsa_key((1 << 2_048) - 1, (1 << 2_000) + 1),),)})
    assert await results(signed(key), dns) == ["permerror"]


def _rsa_key(modulus: int, exponent: int) -> bytes:
    """A key record's p= for any numbers (RFC 8017 §A.1.1)."""

    def der(tag: int, body: bytes) -> bytes:
        return bytes([tag, 0x82]) + len(body).to_bytes(2, "big") + body

    numbers = (der(2, number.to_bytes(number.bit_length() // 8 + 1, "big")) for number in (modulus, exponent))
    return base64.b64encode(der(0x30, b"".join(numbers)))


_MANY = 300_000


@pytest.mark.parametrize(
    "field",
    [
        b"v=1; a=rsa-sha256; d=e.example; s=s; h=from; bh=eA==; b=" + b"\r\n " * _MANY + b"eA==",
        b"v=1; a=rsa-sha256; d=e.example; s=s; bh=eA==; b=eA==; h=from" + b" \r\n " * (_MANY // 4) + b":to",
        b"v=1; a=rsa-sha256; d=e.example; s=s; bh=eA==; b=eA==; h=from" + b":\r\n from" * (_MANY // 8),
        b"v=1; a=rsa-sha256; d=e.example; s=s; h=from; bh=eA==; b=eA==" + b" \r\n " * (_MANY // 4) + b"=",
        b"v=1; a=rsa-sha256; d=e.example; s=s; h=from; bh=eA==; b=eA==" + b";\r\n b" * (_MANY // 5),
        b"v=1; a=rsa-sha256; c=relaxed; d=e.example; s=s; h=from; bh=eA==; b=eA==; x"
        + b"\t \r\n " * (_MANY // 5)
        + b"=1",
        b";\r\n " * (_MANY // 4),
    ],
)
async def test_a_signatures_cost_is_bounded_by_its_length(key: rsa.RSAPrivateKey, field: bytes) -> None:
    """What takes time in the square of 300,000 octets is not over before the test is given up."""
    (result,) = await results(b"DKIM-Signature: " + field + b"\r\n" + CONTENT, published(key))
    assert result in ("fail", "permerror")


@pytest.mark.parametrize("value", [b"", b"\xff", b"p=\xff", b"v=DKIM1; p=!", b"v=DKIM1; p=" + b"A" * 60_000])
async def test_any_key_record_is_judged(key: rsa.RSAPrivateKey, value: bytes) -> None:
    """Nonsense in DNS is the signer's error."""
    record: tuple[Value, ...] = ((value,),)
    (result,) = await results(signed(key), FakeDns({(KEY_NAME, "TXT"): record}))
    assert result in ("fail", "permerror")


_OF_RFC_8463 = b"""\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
""".replace(b"\n", b"\r\n")
_KEYS_OF_RFC_8463: dict[tuple[str, Kind], tuple[Value, ...]] = {
    ("brisbane._domainkey.football.example.com", "TXT"): (
        (b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",),
    ),
    ("test._domainkey.football.example.com", "TXT"): (
        (
            b"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2"
            b"jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3"
            b"Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
        ),
    ),
}


async def test_the_example_of_rfc_8463() -> None:
    """Appendix A: one message, a signature of each kind."""
    assert await results(_OF_RFC_8463, FakeDns(_KEYS_OF_RFC_8463)) == ["pass", "pass"]
    altered = _OF_RFC_8463.replace(b"Is dinner", b"Was dinner")
    assert await results(altered, FakeDns(_KEYS_OF_RFC_8463)) == ["fail", "fail"]
