"""Adds vectors of what is signed: `python -m tests.vectors.freeze_signed`. An existing file is never touched."""

import hashlib
import json
from pathlib import Path
from typing import Any

from p2pcore import records
from p2pcore.client.framing import READ_INBOX, frame
from p2pcore.crypto.keys import SigningKey
from p2pcore.crypto.requests import sign_request
from p2pcore.dht.datagrams import Payload, write_datagram
from p2pcore.directory.joining import make_request
from p2pcore.directory.rotation import make_key_request, new_keys
from p2pcore.directory.text_forms import to_text
from p2pcore.records import Batch, ContactInfo, Datagram, FindNode, Invitation, encode
from tests.support.identities import START, Member, World
from tests.support.nodes import acknowledgement, body, entry

FILE = Path(__file__).with_name("signed.json")


def main() -> None:
    """Write signed.json where there is none: its certificates are signed with chance (ECDSA), so it is made once."""
    if FILE.exists():
        return
    world = World()
    user, gateway, node = world.user("alice"), world.gateway(), world.node()
    vectors = {
        "authority": world.authority.certificate.hex(),
        "certificates": {name: made.certificate.der.hex() for name, made in _named(user, gateway, node)},
        "statements": _statements(gateway, user) + _statements(user, user),
        "requests": _requests(user, node),
        "datagrams": _datagrams(gateway, node),
        "joining": _joining(world, user, node),
    }
    FILE.write_text(json.dumps(vectors, indent=1) + "\n")


def _named(user: Member, gateway: Member, node: Member) -> tuple[tuple[str, Member], ...]:
    return ("user", user), ("gateway", gateway), ("node", node)


def _statements(signer: Member, owner: Member) -> list[dict[str, str]]:
    """Three of one batch, and one alone."""
    inbox_key = owner.certificate.inbox_key
    first = body(signer.signer, START, rights=2)
    statements = [first.statement, entry(signer.signer, inbox_key, START).statement]
    if signer is owner:
        statements.append(acknowledgement(owner.signer, inbox_key, START, [hashlib.sha256(b"e").digest()]).statement)
    signed = [*signer.signer.sign(statements), first.signed]
    return [{"signed": encode(each).hex(), "identity": records.identity(each.statement).hex()} for each in signed]


def _requests(user: Member, node: Member) -> list[dict[str, Any]]:
    key = user.certificate.inbox_key.hex()
    stored = body(user.signer, START)
    asked = [
        ("POST", "/v1/batch", encode(Batch((), (stored.store,))), ""),
        ("GET", f"/v1/{key}?cursor=7&instance={'ab' * 16}", b"", READ_INBOX),
        ("PUT", f"/v1/{stored.statement.object_key.hex()}", frame(stored.signed) + stored.octets, ""),
    ]
    made = []
    for method, path, octets, pragma in asked:
        headers = {"Pragma": pragma} if pragma else {}
        node_id, digest = node.certificate.node_id, hashlib.sha256(octets).digest()
        url = f"https://node.example.org:4466{path}"
        sign_request(method, url, headers, digest, node_id, user.signer, START, include_certificate=method == "PUT")
        made.append({"method": method, "target": path, "headers": headers, "body": octets.hex()})
    return made


def _datagrams(asker: Member, node: Member) -> list[dict[str, str]]:
    contact = ContactInfo(node.certificate.node_id, "2001:db8::1", 4466)
    payloads: list[tuple[Payload, Member, bytes]] = [
        (FindNode(hashlib.sha256(b"key").digest()), asker, asker.certificate.der),
        (records.Nodes((contact,)), node, b""),
    ]
    made = []
    for payload, signer, certificate in payloads:
        recipient = node.certificate.node_id if signer is asker else asker.certificate.node_id
        datagram = Datagram(payload, bytes(range(8)), recipient, signer.signer.fingerprint, START, certificate)
        octets = write_datagram(datagram, signer.signer.key)
        made.append({"octets": octets.hex(), "signer": signer.certificate.public_key.hex()})
    return made


def _joining(world: World, user: Member, node: Member) -> dict[str, str]:
    contact = ContactInfo(node.certificate.node_id, "192.0.2.1", 4466)
    invitation = Invitation(
        world.domain, "user", "bob@example.org", world.authority.certificate, (contact,), b"", bytes(range(16)), START
    )
    fresh = world.user("bob")
    request = make_request(invitation, fresh.identity, None)
    keys = make_key_request(user.identity, new_keys(user.identity))
    return {
        "code": invitation.code.hex(),
        "invitation": to_text(invitation),
        "request": to_text(request),
        "keys": to_text(keys),
        "held": SigningKey.from_bytes(user.identity.signing_key).public_bytes.hex(),
    }


if __name__ == "__main__":
    main()
