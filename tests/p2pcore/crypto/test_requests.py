"""requests: RFC 9421 signatures of client requests, and everything a node refuses."""

import hashlib
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pcore import params
from p2pcore.crypto.certificates import Certificate
from p2pcore.crypto.requests import content_digest, sign_request, verify_request
from p2pcore.crypto.trust import Trust
from p2pcore.errors import (
    CertificateRefused,
    ClockSkew,
    Failure,
    Malformed,
    NotAuthorised,
    Replayed,
    SignatureRefused,
    UnknownCertificate,
)
from p2pcore.records import Revocation
from tests.support.identities import START, MemoryNonces, World

URL = "https://127.0.0.1:4000/v1/00ff?kind=object"
WORLD = World()
BOB = WORLD.user("bob")
EVE = WORLD.user("eve")
NODE = WORLD.node()
BODY = hashlib.sha256(b"body").digest()


def signed(url: str = URL, method: str = "GET", now: int = START, **options: Any) -> dict[str, str]:
    headers = dict(options.pop("headers", {}))
    node_id = options.pop("node_id", NODE.certificate.node_id)
    sign_request(method, url, headers, BODY, node_id, options.pop("signer", BOB.signer), now, **options)
    return headers


def verify(
    headers: dict[str, str],
    method: str = "GET",
    url: str = URL,
    *,
    trust: Trust | None = None,
    nonces: MemoryNonces | None = None,
    now: int = START,
) -> Certificate:
    return verify_request(
        method,
        url,
        headers,
        NODE.certificate.node_id,
        trust or WORLD.trust(BOB, EVE),
        nonces or MemoryNonces(),
        now,
    )


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
@pytest.mark.parametrize("url", [URL, "https://[::1]:4000/v1/batch", "https://host.example/v1/00?digest=ff&a=%2F"])
def test_signed_request_verifies(method: str, url: str) -> None:
    """A signed request tells the node who asks."""
    assert verify(signed(url, method), method, url) == BOB.certificate


def test_what_is_on_the_wire() -> None:
    """C: GET with Content-Digest, P2pmail-Node, Signature-Input (components, created, keyid, nonce) and Signature."""
    headers = signed(headers={"Pragma": "read-inbox"})
    assert set(headers) == {"Pragma", "Content-Digest", "P2pmail-Node", "Signature-Input", "Signature"}
    assert headers["P2pmail-Node"] == NODE.certificate.node_id.hex()
    pattern = (
        r'p2pmail=\("@method" "@path" "@query" "content-digest" "p2pmail-node" "pragma"\)'
        rf';created={START // 1_000};keyid="{BOB.certificate.fingerprint.hex()}";alg="ed25519"'
        r';nonce="[0-9a-f]{32}";tag="p2pmail"'
    )
    assert re.fullmatch(pattern, headers["Signature-Input"])


def test_certificate_comes_along_when_asked_for() -> None:
    """S: 428 UnknownCertificate; C: the same with P2pmail-Certificate; S: verified, and known from then on."""
    trust = WORLD.trust()
    with pytest.raises(UnknownCertificate, match=BOB.certificate.fingerprint.hex()):
        verify(signed(), trust=trust)
    headers = signed(include_certificate=True)
    assert max(len(f"{name}: {value}") for name, value in headers.items()) < 8_190
    assert verify(headers, trust=trust) == BOB.certificate
    assert verify(signed(), trust=trust) == BOB.certificate


def test_largest_certificate_fits_a_header_line() -> None:
    """An authority issues nothing that would not fit one header line in base64."""
    assert len("P2pmail-Certificate: ::") + -(-params.MAX_ISSUED_CERTIFICATE // 3) * 4 < 8_190


def test_someone_elses_certificate_does_not_help() -> None:
    """A certificate that is not the one named by keyid is not even looked at."""
    headers = signed()
    headers["P2pmail-Certificate"] = signed(signer=EVE.signer, include_certificate=True)["P2pmail-Certificate"]
    with pytest.raises(UnknownCertificate):
        verify(headers, trust=WORLD.trust())


@pytest.mark.parametrize(
    ("method", "url", "change"),
    [
        ("PUT", URL, {}),
        ("GET", URL.replace("00ff", "00fe"), {}),
        ("GET", URL.replace("object", "domain"), {}),
        ("GET", URL.partition("?")[0], {}),
        ("GET", URL, {"Content-Digest": f"sha-256=:{'A' * 43}=:"}),
        ("GET", URL, {"Pragma": "append-inbox"}),
        ("GET", URL, {"Signature": f"p2pmail=:{'A' * 86}==:"}),
        ("GET", URL, {"Signature": "p2pmail=:AAAA:"}),
        ("GET", URL, {"Signature": "p2pmail=1"}),
        ("GET", URL, {"Signature": "nonsense ("}),
        ("GET", URL, {"Signature-Input": "nonsense ("}),
        ("GET", URL, {"Signature-Input": "p2pmail=1"}),
    ],
)
def test_anything_covered_is_protected(method: str, url: str, change: dict[str, str]) -> None:
    """Another method, path, query, digest, pragma or signature is refused."""
    headers = signed(headers={"Pragma": "read-inbox"}) | change
    with pytest.raises(SignatureRefused):
        verify(headers, method, url)


def test_pragma_cannot_be_added() -> None:
    """A Pragma that the signature does not cover is refused, whatever its letters' case."""
    for name in ("Pragma", "pragma", "PRAGMA"):
        with pytest.raises(SignatureRefused):
            verify(signed() | {name: "read-inbox"})


@pytest.mark.parametrize("component", ['"@method"', '"@path"', '"@query"', '"content-digest"', '"p2pmail-node"'])
def test_every_component_is_required(component: str) -> None:
    """A signature that leaves a component out is refused although it is the signer's own."""
    headers = signed()
    inputs = headers["Signature-Input"].replace(f"{component} ", "").replace(f" {component}", "")
    with pytest.raises(SignatureRefused):
        verify(headers | {"Signature-Input": inputs})


def test_missing_headers() -> None:
    """Without a signature, or a digest, there is nothing to verify."""
    for name, kind in (
        ("Signature", SignatureRefused),
        ("Signature-Input", SignatureRefused),
        ("Content-Digest", Malformed),
        ("P2pmail-Node", NotAuthorised),
    ):
        headers = signed()
        del headers[name]
        with pytest.raises(kind):
            verify(headers)


def test_addressed_to_another_node() -> None:
    """A request to one node is refused by every other, so it cannot be passed on."""
    with pytest.raises(NotAuthorised):
        verify(signed(node_id=bytes(32)))
    with pytest.raises(SignatureRefused):
        verify(signed(node_id=bytes(32)) | {"P2pmail-Node": NODE.certificate.node_id.hex()})


@pytest.mark.parametrize("offset", [-params.REQUEST_SKEW, params.REQUEST_SKEW])
def test_created_within_five_minutes(offset: int) -> None:
    """Clocks may differ by 5 minutes, either way."""
    assert verify(signed(now=START + offset)) == BOB.certificate


@pytest.mark.parametrize("offset", [-params.REQUEST_SKEW - 1_000, params.REQUEST_SKEW + 1_000, params.DAY])
def test_created_outside(offset: int) -> None:
    """Beyond that the node answers with its time instead."""
    with pytest.raises(ClockSkew):
        verify(signed(now=START + offset))


def test_replay() -> None:
    """The same request is accepted once; its nonce is kept until it would be refused as old."""
    nonces = MemoryNonces()
    headers = signed()
    verify(headers, nonces=nonces)
    with pytest.raises(Replayed):
        verify(headers, nonces=nonces)
    assert all(len(nonce) == 32 for nonce in nonces.used)
    [expires] = nonces.used.values()
    assert expires == START + params.REQUEST_SKEW + params.SECOND
    with pytest.raises(ClockSkew):
        verify(headers, nonces=MemoryNonces(), now=expires)


def test_refused_requests_use_no_nonce() -> None:
    """A nonce under a signature that does not verify is not used up."""
    nonces = MemoryNonces()
    headers = signed()
    with pytest.raises(SignatureRefused):
        verify(headers, "PUT", nonces=nonces)
    assert nonces.used == {}
    verify(headers, nonces=nonces)


def test_nonces_are_the_signers_own() -> None:
    """Two signers with one nonce do not hinder each other."""
    nonces = MemoryNonces()
    for member in (BOB, EVE):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("p2pcore.crypto.requests.secrets.token_bytes", bytes)
            headers = signed(signer=member.signer)
        verify(headers, nonces=nonces)
    assert len(nonces.used) == 2


def test_revoked_and_expired_signers() -> None:
    """Who may not sign now may not ask either."""
    trust = WORLD.trust(BOB)
    trust.set_revocations((Revocation(BOB.certificate.serial, "retired", START),))
    with pytest.raises(CertificateRefused):
        verify(signed(), trust=trust)
    late = START + 500 * params.DAY
    with pytest.raises(CertificateRefused):
        verify(signed(now=late), now=late)


def test_a_foreign_certificate_is_not_learnt() -> None:
    """A certificate of another authority that comes along is refused."""
    other = World()
    headers = signed(signer=other.user("bob").signer, include_certificate=True)
    with pytest.raises(CertificateRefused):
        verify(headers)


@pytest.mark.parametrize("text", ["", "AAAA", ":AAAA", ":A:", ":====:", ":AA\n==:"])
def test_malformed_certificate_header(text: str) -> None:
    """P2pmail-Certificate is a byte sequence (RFC 9651 §3.3.5)."""
    with pytest.raises(Malformed):
        verify(signed() | {"P2pmail-Certificate": text})


def test_content_digest() -> None:
    """The digest that the body must have, read from a single sha-256 (RFC 9530 §2)."""
    assert content_digest(signed()) == BODY
    assert content_digest({"content-DIGEST": signed()["Content-Digest"]}) == BODY
    for value in ("", "sha-256=AAAA", "sha-512=:AAAA:", "sha-256=:AAAA:", f"sha-256=:{'A' * 43}=:, sha-512=:AA==:"):
        with pytest.raises(Malformed):
            content_digest({"Content-Digest": value})


def changed(headers: dict[str, str], old: str, new: str) -> dict[str, str]:
    inputs = re.sub(old, new, headers["Signature-Input"])
    assert inputs != headers["Signature-Input"]
    return headers | {"Signature-Input": inputs}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (r";created=\d+", ""),
        (r";created=\d+", ";created=-1"),
        (r";created=\d+", ";created=999999999999999"),
        (r';keyid="[^"]*"', ""),
        (r';keyid="[^"]*"', ';keyid="bob"'),
        (r';nonce="[^"]*"', ""),
        (r';nonce="[^"]*"', ';nonce="short"'),
    ],
)
def test_parameters_are_required(old: str, new: str) -> None:
    """created, keyid and nonce are there and in bounds, else Malformed."""
    with pytest.raises(Malformed):
        verify(changed(signed(), old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (r';tag="p2pmail"', ""),
        (r';tag="p2pmail"', ';tag="other"'),
        (r'alg="ed25519"', 'alg="hmac-sha256"'),
        (r';nonce="[^"]*"', ';nonce="' + "00" * 16 + '"'),
        (r";created=(\d+)", rf";created={START // 1_000 + 1}"),
        (r";created=(\d+)", r';created="\1"'),
        (r"$", ";other=1"),
        (r'"@query"', '"@query" "@query"'),
        (r'"@query"', '"@query";req'),
        (r'"@query"', '"@query" "x-missing"'),
    ],
)
def test_parameters_are_signed(old: str, new: str) -> None:
    """Another tag, algorithm, nonce, time, parameter or list of components is refused."""
    with pytest.raises(SignatureRefused):
        verify(changed(signed(), old, new))


def test_two_signatures() -> None:
    """A request has one signature with our tag; another label's beside it must not confuse who asks."""
    mine, other = signed(), signed(signer=EVE.signer)
    both = mine | {
        name: f"{mine[name]}, {other[name].replace('p2pmail=', 'second=', 1)}"
        for name in ("Signature", "Signature-Input")
    }
    with pytest.raises(SignatureRefused):
        verify(both)


@settings(max_examples=80)
@given(st.sampled_from(sorted(signed(include_certificate=True))), st.text(max_size=60), st.data())
def test_arbitrary_headers(name: str, text: str, data: st.DataObject) -> None:
    """Invariant: whatever a header says, verification returns the signer or raises a Failure."""
    headers = signed(include_certificate=True)
    position = data.draw(st.integers(0, len(headers[name])))
    headers[name] = data.draw(st.sampled_from([text, headers[name][:position] + text + headers[name][position:]]))
    try:
        assert verify(headers) == BOB.certificate
    except Failure:
        return


@given(st.text(max_size=80).filter(lambda text: not text.startswith("#")))  # a fragment is no part of the target
def test_arbitrary_urls(text: str) -> None:
    """Invariant: whatever the request's target, verification raises SignatureRefused unless it is the signed one."""
    with pytest.raises(SignatureRefused):
        verify(signed(), "GET", f"https://127.0.0.1:4000/v1/00ff?kind=object{text}x")
