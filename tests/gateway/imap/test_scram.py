"""SCRAM-SHA-256, against the example of RFC 7677 and a client written from RFC 5802."""

import base64
import hashlib
import hmac
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.imap.errors import Bad, ImapError, No
from gateway.imap.scram import ScramExchange
from p2pcore.crypto.passwords import ScramVerifier
from tests.gateway.imap.client import Client
from tests.gateway.imap.conftest import Site

_FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
_NONCE = b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
_PROOF = b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="


def exchange() -> ScramExchange:
    begun = ScramExchange(_FIRST)
    verifier = ScramVerifier.of("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4_096)
    assert begun.challenge(verifier, _NONCE) == b"r=rOprNGfwEbeRWgbNEkqO%b,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096" % _NONCE
    return begun


def test_example_of_the_rfc() -> None:
    """The exchange of RFC 7677 §3, octet for octet."""
    begun = exchange()
    assert begun.user == "user"
    final = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%b,p=%b" % (_NONCE, _PROOF)
    assert begun.conclude(final) == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


@pytest.mark.parametrize(
    "final",
    [
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%b,p=" % _NONCE + base64.b64encode(bytes(32)),
        b"c=eSws,r=rOprNGfwEbeRWgbNEkqO%b,p=%b" % (_NONCE, _PROOF),
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO,p=" + _PROOF,
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%b,p=AAAA" % _NONCE,
    ],
    ids=["proof", "header", "nonce", "length"],
)
def test_wrong_final_message(final: bytes) -> None:
    """A wrong proof, header or nonce is refused (RFC 5802 §5.1)."""
    assert exchange().conclude(final) is None


@pytest.mark.parametrize(
    ("first", "error"),
    [
        (b"p=tls-unique,,n=user,r=abc", Bad),
        (b"n,,m=x,n=user,r=abc", Bad),
        (b"n,,n=us=er,r=abc", Bad),
        (b"n,,n=\xff,r=abc", Bad),
        (b"n,a=other,n=user,r=abc", No),
        (b"", Bad),
    ],
)
def test_refused_first_message(first: bytes, error: type[ImapError]) -> None:
    """Channel binding, mandatory extensions, broken names and acting for others are refused."""
    with pytest.raises(error):
        ScramExchange(first)


def test_name_with_a_comma() -> None:
    """=2C and =3D stand for comma and equals sign (RFC 5802 §5.1)."""
    assert ScramExchange(b"y,a=a=2Cb=3D,n=a=2Cb=3D,r=abc").user == "a,b="


@given(st.binary(max_size=60) | st.text("nyp,=ar23CDc", max_size=40).map(str.encode))
def test_any_message_is_read_or_refused(message: bytes) -> None:
    """Whatever a client sends, it is read or an ImapError."""
    with suppress(ImapError):
        assert ScramExchange(message).challenge(ScramVerifier.decoy("x", b""), b"n").startswith(b"r=")
    with suppress(Bad):
        assert exchange().conclude(message) is None


async def log_in(client: Client, user: bytes, password: bytes) -> bytes:
    """Log in as a client that knows `password`; the tagged response."""
    bare = b"n=" + user + b",r=clientnonce"
    client.send(b"s AUTHENTICATE SCRAM-SHA-256 " + base64.b64encode(b"n,," + bare) + b"\r\n")
    challenge = base64.b64decode((await client.response()).removeprefix(b"+ "))
    values = dict(part.split(b"=", 1) for part in challenge.split(b","))
    salted = hashlib.pbkdf2_hmac("sha256", password, base64.b64decode(values[b"s"]), int(values[b"i"]))
    key = hmac.digest(salted, b"Client Key", "sha256")
    without_proof = b"c=biws,r=" + values[b"r"]
    signed = b",".join((bare, challenge, without_proof))
    signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
    proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
    client.send(base64.b64encode(without_proof + b",p=" + base64.b64encode(proof)) + b"\r\n")
    answer = await client.response()
    if answer.startswith(b"+ "):
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        assert base64.b64decode(answer[2:]) == b"v=" + base64.b64encode(hmac.digest(server_key, signed, "sha256"))
        client.send(b"\r\n")
        answer = await client.response()
    return answer.removeprefix(b"s ")


async def test_logging_in(site: Site) -> None:
    """Who knows the password is let in, and the server proves that it knows the verifier."""
    client = await site.client(login=False)
    assert b" AUTH=SCRAM-SHA-256 " in client.greeting
    assert (await log_in(client, b"alice", b"secret")).startswith(b"OK [CAPABILITY ")
    assert await client.ok("SELECT INBOX")


async def test_an_account_that_is_closed_for_now(site: Site) -> None:
    """Who knows the password is not told that it is wrong (RFC 5530: UNAVAILABLE), nor made to wait for it."""
    site.server._accounts.closed.add("alice")  # type: ignore[attr-defined]  # the test's
    client = await site.client(login=False)
    for _ in range(3):
        for answer in (await log_in(client, b"alice", b"secret"), (await client.command("LOGIN alice secret"))[1]):
            assert answer.startswith(b"NO [UNAVAILABLE] ")
            assert answer.endswith(b"your mail is closed for now; try again later")
    assert site.server.login_delays.wait("127.0.0.1", "alice") == 0
    assert (await log_in(client, b"alice", b"wrong")).startswith(b"NO [AUTHENTICATIONFAILED] ")
    assert (await log_in(client, b"bob", b"hunter2")).startswith(b"OK ")


@pytest.mark.parametrize("user", [b"alice", b"nobody"])
async def test_refused_as_an_unknown_name_is(site: Site, user: bytes) -> None:
    """A wrong password and an unknown name are answered alike, and the third failure ends the connection."""
    client = await site.client(login=False)
    for _ in range(2):
        assert (await log_in(client, user, b"wrong")).startswith(b"NO [AUTHENTICATIONFAILED] ")
    assert (await log_in(client, user, b"wrong")) == b"* BYE too many failed logins"
