"""The vectors, read by a reader that was written from docs/formats.md and shares no code with p2pmail."""

import ast
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature

from tests.vectors import second

HERE = Path(__file__).parent
RECORDS = json.loads((HERE / "records.json").read_text())
SEALING = json.loads((HERE / "sealing.json").read_text())
SIGNED = json.loads((HERE / "signed.json").read_text())
DERS = [bytes.fromhex(der) for der in SIGNED["certificates"].values()]
# Certificates by fingerprint (§1)
CERTIFICATES = {hashlib.sha256(der).digest(): der for der in DERS}


def test_it_shares_no_code() -> None:
    """It imports the standard library and `cryptography`, nothing else."""
    tree = ast.parse((HERE / "second.py").read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [name for name in imported if name.partition(".")[0] in ("p2pcore", "gateway", "tests", "msgspec")]


@pytest.mark.parametrize("tag", RECORDS["records"])
def test_records(tag: str) -> None:
    """§3: every record is an array of its tag and its fields, and is written again as it was."""
    octets = bytes.fromhex(RECORDS["records"][tag]["encoding"])
    read = second.unpack(octets)
    assert read[0] == tag
    fields = RECORDS["records"][tag]["fields"]
    assert len(read) == len(fields) + (
        fields["record"] != tag
    )  # "record" stands for the tag where no field is called so
    assert second.pack(read) == octets


@pytest.mark.parametrize("vector", RECORDS["merkle"], ids=lambda vector: f"{vector['index']} of {vector['size']}")
def test_merkle_paths(vector: dict[str, Any]) -> None:
    """§4: from leaf and path to root."""
    leaf = hashlib.sha256(b"\x00" + bytes([vector["index"]]) + b"\x00").digest()
    path = [bytes.fromhex(sibling) for sibling in vector["path"]]
    assert second.merkle_root(leaf, vector["index"], vector["size"], path).hex() == vector["root"]


@pytest.mark.parametrize("vector", SIGNED["statements"], ids=lambda vector: vector["identity"][:8])
def test_signed_statements(vector: dict[str, str]) -> None:
    """§4: each statement verifies by itself, alone or of a batch; another statement under its proof does not."""
    signed = bytes.fromhex(vector["signed"])
    statement = second.verify_statement(signed, CERTIFICATES)
    assert second.identity(statement).hex() == vector["identity"]
    tag, (*fields, signer), proof = second.unpack(signed)
    expires = 4 if fields[0] != "acknowledge.1" else 5
    changed = [*fields, signer]
    changed[expires] += 1
    with pytest.raises(InvalidSignature):
        second.verify_statement(second.pack([tag, changed, proof]), CERTIFICATES)


WHOLE = [vector for vector in SEALING["bodies"] if "sealed" in vector]  # large ones are frozen by their digest alone


@pytest.mark.parametrize("vector", WHOLE, ids=lambda vector: str(vector["content_size"]))
def test_bodies(vector: dict[str, Any]) -> None:
    """§6: a sealed body opens to its content."""
    sealed = bytes.fromhex(vector["sealed"])
    content = (b"0123456789abcdef" * (vector["content_size"] // 16 + 1))[: vector["content_size"]]
    assert second.open_body(bytes.fromhex(vector["session_key"]), vector["content_size"], sealed) == content
    assert hashlib.sha256(sealed).hexdigest() == vector["digest"]


def test_padme() -> None:
    """§6: sizes."""
    assert [second.padme(size) for size, _ in SEALING["padme"]] == [padded for _, padded in SEALING["padme"]]


@pytest.mark.parametrize(
    ("name", "key"),
    [("notification", "hpke_key"), ("notification_1024", "hpke_key_1024"), ("single_notification", "hpke_key")],
)
def test_notification(name: str, key: str) -> None:
    """§7: a sealed notification opens to an encoded notification.1, in both suites and both layouts."""
    vector = {field: bytes.fromhex(value) for field, value in SEALING[name].items()}
    private = bytes.fromhex(SEALING[key]["private"])
    plain = second.open_notification(private, vector["inbox_key"], vector["signer"], vector["sealed"])
    assert plain == vector["plaintext"]
    assert second.unpack(plain)[1:3] == [vector["inbox_key"], vector["signer"]]


def test_addresses() -> None:
    """§7: the address list opens with a gateway's key."""
    vector = SEALING["addresses"]
    private = bytes.fromhex(SEALING["hpke_key"]["private"])
    sealed_key, addresses = bytes.fromhex(vector["key"]), bytes.fromhex(vector["addresses"])
    assert second.open_addresses(private, vector["domain"], sealed_key, addresses).hex() == vector["plaintext"]


@pytest.mark.parametrize("vector", SIGNED["requests"], ids=lambda vector: vector["method"])
def test_requests(vector: dict[str, Any]) -> None:
    """§8: a signed request verifies, and another target does not."""
    user = hashlib.sha256(bytes.fromhex(SIGNED["certificates"]["user"])).digest()
    known = {} if "P2pmail-Certificate" in vector["headers"] else CERTIFICATES
    assert second.verify_request(vector, known) == user
    with pytest.raises(InvalidSignature):
        second.verify_request(vector | {"target": vector["target"] + "?x"}, known)


@pytest.mark.parametrize("vector", SIGNED["datagrams"], ids=["question", "answer"])
def test_datagrams(vector: dict[str, str]) -> None:
    """§9: a datagram verifies; a question that introduces its signer carries the certificate it names."""
    octets = bytes.fromhex(vector["octets"])
    tag, _payload, _request_id, _recipient, signer, _time, certificate = second.verify_datagram(
        octets, bytes.fromhex(vector["signer"])
    )
    assert tag == "dht.1"
    assert signer in CERTIFICATES
    assert certificate in (b"", CERTIFICATES[signer])
    with pytest.raises(InvalidSignature):
        second.verify_datagram(octets[:-1] + bytes([octets[-1] ^ 1]), bytes.fromhex(vector["signer"]))


def test_joining() -> None:
    """§10: invitation, request and key request are read from their texts, and prove what they must."""
    vector = SIGNED["joining"]
    invitation = second.from_text("INVITATION", vector["invitation"])
    assert invitation[0] == "invitation.1"
    assert invitation[7].hex() == vector["code"]
    second.verify_join(bytes.fromhex(vector["code"]), second.from_text("JOIN REQUEST", vector["request"]))
    second.verify_keys(bytes.fromhex(vector["held"]), second.from_text("KEY REQUEST", vector["keys"]))
