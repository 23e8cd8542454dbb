"""What a signed notification may claim, and when two are the same message; pure (docs/flow.md §6 and §8)."""

import hashlib
import re

from gateway.mail.address_list import parse_addresses, spelled
from gateway.mail.header_section import FROM_READ
from gateway.mail.mime_header import fields_named
from p2pcore.crypto.certificate_parsing import Certificate
from p2pcore.errors import Malformed, NotAuthorised
from p2pcore.names import canonical_address, canonical_domain, split_address
from p2pcore.records import DuplicateKey, Notification, Verdicts, encode

TRACE_FIELDS = frozenset({b"return-path", b"received", b"authentication-results", b"original-recipient"})
USER_TRACE_FIELDS = frozenset({b"return-path", b"received"})  # only a gateway has checked or been told anything
# Claims a From of our domain, or none that can be judged, and no user signed for it; or nobody knows who signed
UNVERIFIED = "$P2PMailUnverified"
SIGNED = "$P2PMailSigned"  # signed by the user whom From names

_FIELD = re.compile(rb"([!-9;-~]+):[^\r\n\x00]*\r\n(?:[ \t][^\r\n\x00]*\r\n)*")


def check_trace(trace: bytes, allowed: frozenset[bytes] = TRACE_FIELDS) -> None:
    """Refuse a trace block with anything but complete fields of a fixed list. Raises NotAuthorised."""
    position = 0
    while position < len(trace):
        field = _FIELD.match(trace, position)
        if field is None or field.group(1).lower() not in allowed:
            raise NotAuthorised(f"trace block: not an allowed trace field at octet {position}")
        position = field.end()


def keywords_for(
    notification: Notification, signer: Certificate, header: bytes | None, domain: str, *, compromised: bool = False
) -> frozenset[str]:
    """Return the keywords that a message deserves. Raises NotAuthorised where its signer may not have sent it.

    A gateway speaks for the outside world; a user only for her own addresses, in the reverse-path and in From.
    `header` None: it is too long to be looked at, so nobody knows whom its From names, as where that is longer than
    FROM_READ. `compromised`: the signer's key is in other hands, so its signature says nothing (docs/formats.md §4).
    """
    if signer.role == "user":
        keywords = _keywords_for_user(notification, signer, header)
        return frozenset({UNVERIFIED}) if compromised else keywords
    check_trace(notification.trace)
    fields = _from_fields(header)
    if fields is None or compromised:
        return frozenset({UNVERIFIED})
    authors = _authors(fields)
    vouched = _canonical(notification.verdicts.authenticated)
    foreign = all(not _within(author, domain) or author == vouched for author in authors)
    return frozenset() if foreign or _is_report(notification, authors) else frozenset({UNVERIFIED})


def _keywords_for_user(notification: Notification, signer: Certificate, header: bytes | None) -> frozenset[str]:
    check_trace(notification.trace, USER_TRACE_FIELDS)
    if notification.verdicts != Verdicts():
        raise NotAuthorised(f"{signer.primary_address} signed verdicts, which only a gateway may")
    fields = _from_fields(header)
    if fields is None:
        raise NotAuthorised(f"{signer.primary_address} signed mail whose header or From is too long to be looked at")
    authors = _authors(fields)
    for claimed in (notification.reverse_path, *authors):
        if claimed and _canonical(claimed) not in signer.addresses:
            raise NotAuthorised(f"{signer.primary_address} signed mail from {claimed}")
    once = len(fields) == 1  # RFC 5322 §3.6
    return frozenset({SIGNED if authors and once else UNVERIFIED})


def duplicate_key(
    notification: Notification, signer: Certificate, header: bytes | None, content: bytes
) -> bytes | None:
    """Return the SHA-256 of its duplicate.1 for a message with this SHA-256 of its content; None: never collapsed.

    Only a sending MTA repeats a message at a gateway, and only a Message-ID makes "the same octets" the same message.
    """
    if signer.role != "gateway" or header is None or not _has_message_id(header):
        return None
    verdicts = notification.verdicts
    summary = (verdicts.spf, verdicts.dkim, verdicts.dmarc, verdicts.disposition, verdicts.authenticated)
    key = DuplicateKey(notification.reverse_path, notification.forward_path, summary, content)
    return hashlib.sha256(encode(key)).digest()


def _authors(fields: list[bytes]) -> list[str]:
    """Return every address of these From fields, canonical where it can be."""
    return [
        _canonical(spelled(address))
        for value in fields
        for address in parse_addresses(value)
        if address.mailbox is not None and address.host is not None
    ]


def _from_fields(header: bytes | None) -> list[bytes] | None:
    """Return every From field's body; None where header or fields are too long: a small mail is judged on the loop.

    A bare CR ends a line, as for mail readers: no From hides behind one.
    """
    if header is None:
        return None
    fields = fields_named(header.replace(b"\r\n", b"\n").replace(b"\r", b"\n"), b"from")
    return fields if sum(map(len, fields)) <= FROM_READ else None


def _has_message_id(header: bytes) -> bool:
    return any(fields_named(header, b"message-id"))


def _canonical(address: str) -> str:
    try:
        return canonical_address(address) if address else ""
    except Malformed:
        return address


def _within(address: str, domain: str) -> bool:
    try:
        return canonical_domain(split_address(address)[1]) == domain
    except Malformed:
        return False


def _is_report(notification: Notification, authors: list[str]) -> bool:
    """A gateway's own delivery status notifications come from mailer-daemon, a null reverse-path and no client."""
    own = not notification.reverse_path and not notification.verdicts.client_address
    return own and all(author.startswith("mailer-daemon@") for author in authors)
