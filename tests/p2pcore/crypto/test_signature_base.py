"""signature_base: our own form of RFC 9421, against the library that knows every form."""

import datetime
import hashlib
from typing import Any

import pytest
from http_message_signatures import HTTPMessageSignaturesException, HTTPMessageSigner
from hypothesis import given
from hypothesis import strategies as st

from p2pcore import params
from p2pcore.crypto import rfc9421
from p2pcore.crypto.requests import sign_request, verify_request
from p2pcore.crypto.signature_base import components, parameters, read_own, signature_base
from p2pcore.errors import ClockSkew, Malformed, SignatureRefused
from tests.support.identities import START, MemoryNonces, World

WORLD = World()
BOB = WORLD.user("bob")
NODE = WORLD.node()
URL = "https://127.0.0.1:4000/v1/00ff?kind=object"
DIGEST = hashlib.sha256(b"body").digest()
CREATED = START // params.SECOND
NONCE = bytes(range(16))

ASCII = "".join(map(chr, range(128)))
TARGETS = st.builds(
    "{}://{}{}{}{}".format,
    st.sampled_from(["http", "https"]),
    st.sampled_from(["127.0.0.1", "[::1]", "node", "a-b.example"]),
    st.sampled_from(["", ":1", ":4000"]),
    st.sampled_from(["", "/"]) | st.text("/%aF:@!$&'()*+,;=-._~09", max_size=20).map(lambda text: "/" + text),
    st.sampled_from(["", "?"]) | st.text("/?%aF:@!$&'()*+,;=-._~09", max_size=20).map(lambda text: "?" + text),
)
TEXTS = st.text(ASCII, max_size=40)


def fields_of(**more: str) -> dict[str, str]:
    headers: dict[str, str] = dict(more)
    sign_request("GET", URL, headers, DIGEST, NODE.certificate.node_id, BOB.signer, START)
    return {name.lower(): value for name, value in headers.items()}


def of_the_library(method: str, url: str, fields: dict[str, str]) -> tuple[bytes, str] | None:
    """The library's signature base and parameters; None where it refuses."""
    signer: Any = HTTPMessageSigner(signature_algorithm=rfc9421._Ed25519, key_resolver=None)
    try:
        prepared = signer.prepare(
            rfc9421.Message(method, url, fields),
            key_id=BOB.signer.fingerprint.hex(),
            created=datetime.datetime.fromtimestamp(CREATED, datetime.UTC),
            nonce=NONCE.hex(),
            label="p2pmail",
            tag="p2pmail",
            covered_component_ids=components(fields),
            use_existing_digest=True,
        )
    except HTTPMessageSignaturesException:
        return None
    return prepared.signature_base, prepared.signature_params


@given(
    st.sampled_from(["GET", "PUT", "POST", "DELETE", "get", "M-SEARCH", ""]) | TEXTS,
    TARGETS | TEXTS | st.tuples(TARGETS, TEXTS).map("".join),
    st.none() | st.sampled_from(["read-inbox", "append-inbox", ""]) | TEXTS,
    st.just(NODE.certificate.node_id.hex()) | TEXTS,
)
def test_same_octets_as_the_library(method: str, url: str, pragma: str | None, node: str) -> None:
    """Invariant: where a base is made by hand, the library makes the very same octets."""
    fields = {"content-digest": f"sha-256=:{'A' * 43}=:", "p2pmail-node": node}
    if pragma is not None:
        fields["pragma"] = pragma
    made = parameters(components(fields), CREATED, BOB.signer.fingerprint, NONCE)
    base = signature_base(method, url, fields, made)
    assert base is None or (base, made) == of_the_library(method, url, fields)


@given(st.sampled_from(["GET", "PUT", "POST", "DELETE"]), TARGETS, st.sampled_from([{}, {"pragma": "read-inbox"}]))
def test_what_is_asked_of_nodes_needs_no_library(method: str, url: str, pragma: dict[str, str]) -> None:
    """Invariant: a URL that the library takes has a base made by hand."""
    fields = {"content-digest": f"sha-256=:{'A' * 43}=:", "p2pmail-node": "00"} | pragma
    made = parameters(components(fields), CREATED, BOB.signer.fingerprint, NONCE)
    assert (signature_base(method, url, fields, made) is None) == (of_the_library(method, url, fields) is None)


@given(st.sampled_from(["signature-input", "signature"]), st.text(max_size=30), st.data())
def test_reading_any_header(name: str, text: str, data: st.DataObject) -> None:
    """Invariant: reading returns None or what, written again, is the header."""
    fields = fields_of()
    position = data.draw(st.integers(0, len(fields[name])))
    fields[name] = data.draw(st.sampled_from([text, fields[name][:position] + text + fields[name][position:]]))
    own = read_own(fields)
    assert own is None or (
        parameters(components(fields), own.created, own.key_id, own.nonce) == own.parameters
        and fields["signature-input"] == f"p2pmail={own.parameters}"
    )


def verified(fields: dict[str, str], monkeypatch: pytest.MonkeyPatch, *, library: bool) -> None:
    """Verify, and assert whether the library was asked."""
    asked: list[rfc9421.Message] = []
    whole = rfc9421.verify

    def verify(message: rfc9421.Message, *rest: Any) -> rfc9421.Found:
        asked.append(message)
        return whole(message, *rest)

    monkeypatch.setattr(rfc9421, "verify", verify)
    try:
        trust, node_id = WORLD.trust(BOB), NODE.certificate.node_id
        assert verify_request("GET", URL, fields, node_id, trust, MemoryNonces(), START) == BOB.certificate
    finally:
        assert bool(asked) == library


@pytest.mark.parametrize("more", [{}, {"Pragma": "read-inbox"}])
def test_our_own_requests_are_read_by_hand(monkeypatch: pytest.MonkeyPatch, more: dict[str, str]) -> None:
    """A request of ours is verified without the library."""
    verified(fields_of(**more), monkeypatch, library=False)


@pytest.mark.parametrize(
    "covered",
    [
        ("@path", "@method", "@query", "content-digest", "p2pmail-node"),
        ("@method", "@path", "@query", "content-digest", "p2pmail-node", "@scheme"),
        ("@method", "@path", "@query", "content-digest", "p2pmail-node", "user-agent"),
    ],
)
def test_another_client_is_welcome(monkeypatch: pytest.MonkeyPatch, covered: tuple[str, ...]) -> None:
    """Other orders, further components: whatever covers what it must is accepted (RFC 9421 §1.4)."""
    fields = fields_of() | {"user-agent": "other"}
    del fields["signature"], fields["signature-input"]
    message = rfc9421.Message("GET", URL, fields)
    rfc9421.sign(message, BOB.signer.key, BOB.signer.fingerprint, CREATED, NONCE, covered)
    verified({name.lower(): value for name, value in fields.items()}, monkeypatch, library=True)


def test_an_uncovered_pragma_goes_to_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Pragma beside a signature that does not cover it is not of our form, and refused."""
    with pytest.raises(SignatureRefused):
        verified(fields_of() | {"pragma": "read-inbox"}, monkeypatch, library=True)


def test_judged_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request read by hand is refused for its time and its signature."""
    later = fields_of()["signature-input"].replace(str(CREATED), str(CREATED + params.DAY))
    with pytest.raises(ClockSkew):
        verified(fields_of() | {"signature-input": later}, monkeypatch, library=False)
    with pytest.raises(SignatureRefused):
        verified(fields_of() | {"signature": f"p2pmail=:{'A' * 86}==:"}, monkeypatch, library=False)


def test_what_cannot_be_signed_is_said() -> None:
    """A URL outside ASCII is the library's to refuse."""
    with pytest.raises(Malformed):
        sign_request("GET", "https://node/é", {}, DIGEST, NODE.certificate.node_id, BOB.signer, START)
