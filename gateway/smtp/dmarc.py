"""DMARC: a domain's policy and whether a message meets it (RFC 7489); pure, DNS and public suffixes are parameters."""

import re
from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct

from gateway.mail.address import domain_in_dns, parse_mailbox
from gateway.mail.address_list import has_one_reading, parse_addresses, simple_addresses
from gateway.smtp import replies
from gateway.smtp.replies import Refusal
from p2pcore.errors import Malformed

Request = Literal["none", "quarantine", "reject"]
Disposition = Literal["deliver", "quarantine", "defer", "reject"]  # by weight
MAX_FROM = 8 * 1024  # octets of all From fields together; nobody's have more, and they are read on the event loop
MAX_FROM_DOMAINS = 4  # a header with more authors' domains than this is no mail that anybody writes

_REQUESTS: dict[str, Request] = {"none": "none", "quarantine": "quarantine", "reject": "reject"}
_PERCENT = re.compile(r"[0-9]{1,3}\Z")  # RFC 7489 §6.4: dmarc-percent
_FROM = re.compile(rb"\nfrom[ \t]*:((?:[^\r\n]+|\r\n[ \t])*)", re.IGNORECASE)  # with "(?:\A|\n)" twenty times as slow
_HOST = re.compile(rb"@[ \t]*([^\s\"(),:;<>@\[\]]+)")


class Policy(Struct, frozen=True):
    """A DMARC record's meaning; `percent` of failing messages get the whole of what is requested."""

    request: Request
    subdomain_request: Request
    strict_dkim: bool = False
    strict_spf: bool = False
    percent: int = 100


class Checked(Struct, frozen=True):
    """One identifier that SPF or DKIM has judged."""

    result: str
    domain: str


def is_record(text: bytes) -> bool:
    """Return whether a TXT record is one of DMARC's, if not a valid one: its first tag says so (RFC 7489 §6.3)."""
    name, _, value = text.partition(b";")[0].partition(b"=")
    return (name.strip().lower(), value.strip()) == (b"v", b"DMARC1")


def parse_policy(record: bytes) -> Policy | None:
    """Return the policy of a TXT record; None where it is no valid DMARC record (RFC 7489 §6.3, §6.6.3)."""
    if not is_record(record):
        return None
    tags: dict[str, str] = {}
    for part in record.decode("utf-8", "replace").split(";"):  # §6.3: what cannot be read is ignored
        name, equals, value = part.partition("=")
        if equals:
            tags.setdefault(name.strip().lower(), value.strip())
    requested = tags.get("p", "")
    request, subdomain_request = _request(requested), _request(tags.get("sp", requested))
    if request is None or subdomain_request is None:
        if "rua" not in tags:
            return None
        request = subdomain_request = "none"  # §6.6.3 step 6
    percent = tags.get("pct", "100")
    return Policy(
        request,
        subdomain_request,
        strict_dkim=tags.get("adkim", "r").lower() == "s",
        strict_spf=tags.get("aspf", "r").lower() == "s",
        percent=min(100, int(percent)) if _PERCENT.match(percent) else 100,
    )


def author_domains(header: bytes) -> tuple[str, ...]:
    """Return the canonical domains in all From fields of a header section; none where they show none, as bounces do.

    Raises Malformed where a field shows what may be an address and none is usable, Refusal where they show too many or
    the fields are too long: what is not looked at is not the way around all policies (RFC 7489 §6.6.1). A message with
    several is judged by each of them, so that a second From field cannot hide the first.
    """
    values = _from_fields(header)
    hosts: list[bytes] = []
    for value in values:
        simple = simple_addresses(value)
        addresses = parse_addresses(value) if simple is None else simple
        hosts += [address.host for address in addresses if address.host]
        if simple is None and not has_one_reading(value):  # some reader may show any of them
            hosts += _HOST.findall(value)
    spellings = dict.fromkeys(host.lower() for host in hosts)
    if len(spellings) > MAX_FROM_DOMAINS:  # counted as they are written: IDNA takes its time for each
        raise Refusal(replies.TOO_MANY_AUTHORS, f"{len(spellings)} domains")
    domains = dict.fromkeys(filter(None, (usable_domain(host.decode("utf-8", "replace")) for host in spellings)))
    if not domains and any(b"@" in value for value in values):
        raise Malformed("no From field with a readable address")
    return tuple(domains)


def _from_fields(header: bytes) -> list[bytes]:
    """Return the bodies of all From fields, unfolded. Raises Refusal where they are longer than MAX_FROM together."""
    found: list[bytes] = []
    size = 0
    for field in _FROM.finditer(b"\n" + header):
        size += len(field[0])
        if size > MAX_FROM:
            raise Refusal(replies.FROM_TOO_LONG)
        found.append(field[1].replace(b"\r\n", b""))
    return found


def usable_domain(text: str) -> str:
    """Return a domain as DNS is asked for it, "" for what is none: then no policy can be looked up for it either."""
    try:
        mailbox = parse_mailbox(f"x@{text}")
        return "" if mailbox.has_literal else domain_in_dns(mailbox.domain)
    except Malformed:
        return ""


def is_aligned(
    policy: Policy,
    author: str,
    spf: Checked | None,
    dkim: Sequence[Checked],
    organisation: Callable[[str], str],
    wanted: str = "pass",
) -> bool:
    """Return whether an identifier with the result `wanted` is aligned with the author's domain (§3.1)."""
    if spf is not None and spf.result == wanted and _same(spf.domain, author, policy.strict_spf, organisation):
        return True
    return any(
        signature.result == wanted and _same(signature.domain, author, policy.strict_dkim, organisation)
        for signature in dkim
    )


def disposition(policy: Policy, *, inherited: bool, draw: int) -> Disposition:
    """Return what a failing message gets; `draw` is a number from 0 to 99, `inherited` the organisation's policy."""
    request = policy.subdomain_request if inherited else policy.request
    if draw >= policy.percent:  # §6.6.4: what is not selected gets the next weaker request
        request = "quarantine" if request == "reject" else "none"
    return "deliver" if request == "none" else request


def _same(domain: str, author: str, strict: bool, organisation: Callable[[str], str]) -> bool:
    domain = domain.lower().removesuffix(".")
    return domain == author or (not strict and organisation(domain) == organisation(author))


def _request(text: str) -> Request | None:
    return _REQUESTS.get(text.lower())
