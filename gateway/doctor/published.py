"""What DNS says of the domain, beside what it should say: MX, addresses, PTR, SPF, DKIM, DMARC, MTA-STS, SRV."""

import asyncio
import ipaddress
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

from gateway.doctor import spf
from gateway.doctor import zone as wanted
from gateway.doctor.findings import LEAVE_ONE, Finding, fail, ok, warn
from gateway.doctor.zone import Zone
from gateway.outbound.mta_sts import MtaSts
from gateway.outbound.sts_policy import Policy, parse_policy, parse_record
from gateway.resolver import Resolver
from gateway.smtp import dmarc
from gateway.smtp.dkim_tags import parse_key
from p2pcore.errors import CannotKnow, Failure, Malformed

_AGAIN = "ask again when DNS answers; outbound.resolvers says which servers are asked"
_LOCAL = [  # private use, a provider's own NAT, unique local (RFC 6890 §2.2)
    ipaddress.ip_network(each)
    for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
]
_NAMES_FIRST = "see to the gateways' names first: the policy has to have all of them"
_TAG = re.compile(r"\s*([A-Za-z]+)\s*=\s*([^;]*)")


async def check(zone: Zone, resolver: Resolver, policies: MtaSts) -> list[Finding]:
    """Return one finding or more for each kind of record; of a machine without a name, which they need, that alone."""
    if zone.is_nameless:
        return [fail("host name", zone.host, "is no name that others could find this machine under", wanted.NAME_IT)]
    works = {
        "MX": _mx(zone, resolver),
        "address": _addresses(zone, resolver),
        "SPF": spf.check(zone, resolver),
        "DKIM": _dkim(zone, resolver),
        "DMARC": _dmarc(zone, resolver),
        "MTA-STS": _mta_sts(zone, resolver, policies),
        "SRV": _srv(zone, resolver),
    }
    unnamed = [
        warn("gateway name", at, "cannot be learnt from the gateway there, and any MX host may be it", wanted.named(at))
        for at in zone.unnamed
    ]
    found = await asyncio.gather(*(_looked_up(name, zone, work) for name, work in works.items()))
    return [*unnamed, *(finding for findings in found for finding in findings)]


async def own_policy(zone: Zone, resolver: Resolver, policies: MtaSts) -> Policy | None:
    """Return the domain's own MTA-STS policy as senders find it, None where they find none."""
    try:
        if parse_record((await resolver.text(wanted.mta_sts(zone).name)).values) is None:
            return None
        return parse_policy(await policies.fetch(zone.domain))
    except Failure:
        return None  # `check` says why


async def _looked_up(name: str, zone: Zone, work: Awaitable[list[Finding]]) -> list[Finding]:
    try:
        return await work
    except CannotKnow as failure:
        return [fail(name, zone.domain, str(failure), _AGAIN)]


async def _exchangers(zone: Zone, resolver: Resolver) -> list[str]:
    return [host.lower() for _, host in (await resolver.mail_exchangers(zone.domain)).values]


async def _mx(zone: Zone, resolver: Resolver) -> list[Finding]:
    found = await _exchangers(zone, resolver)
    findings = []
    for record, host in zip(wanted.mx(zone), zone.exchangers, strict=True):
        if host in found:
            in_front = ", in front of the gateways (smtp.trusted_relays)" if zone.fronts else ""
            findings.append(ok("MX", zone.domain, f"{host}{in_front}"))
        elif any(each in zone.exchangers for each in found):
            findings.append(
                warn("MX", zone.domain, f"{host} is not named: no mail from outside comes to it", f"{record}")
            )
        else:
            findings.append(fail("MX", zone.domain, f"{host} is not named", f"{record}"))
    strange = sorted(set(found) - set(zone.exchangers))
    if strange:
        remedy = (
            "if `p2pmail machine list`, where the directory is, has no gateway of this name either: take it out,\n"
            "or let it hand the mail on to a gateway (smtp.trusted_relays)"
        )
        detail = f"{', '.join(strange) or '.'} is no gateway that is known here"
        findings.append(warn("MX", zone.domain, detail, remedy))
    return findings


async def _addresses(zone: Zone, resolver: Resolver) -> list[Finding]:
    findings = []
    for host in zone.gateways:
        found = (await resolver.addresses(host)).values
        if not found:
            lines = [f"{each}" for each in wanted.addresses(zone) if each.name == host]
            remedy = "\n".join(lines) or f"{host}. IN A <its public address>"
            findings.append(fail("address", host, "has neither A nor AAAA", remedy))
        missing = [each for each in wanted.addresses(zone) if each.name == host and each.value not in found]
        if found and missing:
            listened = ", ".join(each.value for each in missing)
            remedy = "\n".join(map(str, missing))
            findings.append(
                warn("address", host, f"this gateway listens on {listened}, which DNS does not say", remedy)
            )
        for address in found:
            if _is_local(address):
                remedy = wanted.Record(host, "AAAA" if ":" in address else "A", "<its public address>").instead
                detail = f"{address} leads nobody here from outside"
                findings.append(fail("address", host, detail, remedy))
                continue
            findings.append(ok("address", host, address))
            findings.append(await _pointer(host, address, resolver))
    return findings


def _is_local(address: str) -> bool:
    """Return whether an address means this machine or one of its own network, whoever dials it."""
    its = ipaddress.ip_address(address)
    return its.is_loopback or its.is_link_local or any(its in each for each in _LOCAL)


async def _pointer(host: str, address: str, resolver: Resolver) -> Finding:
    pointer = f"{ipaddress.ip_address(address).reverse_pointer}. IN PTR {host}."
    remedy = f"{pointer}  ; made by whoever gave you the address"
    try:
        names = [name.lower() for name in (await resolver.names_of(address)).values]
    except CannotKnow as failure:
        return fail("PTR", address, str(failure), _AGAIN)
    if host in names:
        return ok("PTR", address, host)
    if not names:
        return fail("PTR", address, "has no name: many receivers refuse its mail", remedy)
    return warn("PTR", address, f"is {', '.join(names[:3])}, and greets as {host}", remedy)


async def _dkim(zone: Zone, resolver: Resolver) -> list[Finding]:
    findings = []
    for record, text in zip(wanted.dkim(zone), zone.dkim.values(), strict=True):
        found = (await resolver.text(record.name)).values
        # Without the Ed25519 record verifiers use the other signature (RFC 8463 §3)
        tell = warn if "k=ed25519" in text else fail
        if not found:
            findings.append(tell("DKIM", record.name, "there is no record", f"{record}"))
        elif len(found) > 1:  # RFC 6376 §3.6.2.2
            detail = f"{len(found)} records, of which verifiers take any"
            findings.append(tell("DKIM", record.name, detail, f"{LEAVE_ONE}:\n{record}"))
        else:
            findings.append(_key(record, text.encode(), found[0], tell))
    return findings


def _key(record: wanted.Record, own: bytes, found: bytes, tell: Callable[[str, str, str, str], Finding]) -> Finding:
    """Judge the only record found at a selector, as verifiers read it; `tell` where signatures do not verify."""
    try:
        key = parse_key(found)
        is_ours = key.public == parse_key(own).public
    except Malformed as error:
        detail = f"verifiers will not use it: {error}: {found.decode('utf-8', 'replace')}"
        return tell("DKIM", record.name, detail, record.instead)
    if not is_ours:
        return tell("DKIM", record.name, "is another key than this gateway's", record.instead)
    if key.is_test:
        detail = "is this gateway's key, and signatures prove nothing by it (t=y)"
        return warn("DKIM", record.name, detail, record.instead)
    return ok("DKIM", record.name, "is this gateway's key")


async def _dmarc(zone: Zone, resolver: Resolver) -> list[Finding]:
    record = wanted.dmarc(zone)
    found = [text for text in await _texts(record.name, resolver) if _tags(text).get("v") == "DMARC1"]
    if not found:
        return [warn("DMARC", record.name, "there is no record", f"{record}")]
    if len(found) > 1:  # RFC 7489 §6.6.3
        return [warn("DMARC", record.name, f"{len(found)} records, which count as none", LEAVE_ONE)]
    policy, asked = dmarc.parse_policy(found[0].encode()), _tags(found[0]).get("p", "")
    if policy is None or policy.request != asked.lower():
        return [fail("DMARC", record.name, f"is no policy that receivers know: {found[0]}", record.instead)]
    return [ok("DMARC", record.name, found[0])]


async def _mta_sts(zone: Zone, resolver: Resolver, policies: MtaSts) -> list[Finding]:
    record, file = wanted.mta_sts(zone), wanted.policy_file(zone)
    values = (await resolver.text(record.name)).values
    found = [value.decode("utf-8", "replace") for value in values if value.startswith(b"v=STSv1")]
    if len(found) > 1:  # RFC 8461 §3.1
        return [warn("MTA-STS", record.name, f"{len(found)} records, which count as none", LEAVE_ONE)]
    if parse_record(values) is None:
        detail = f"is no record that senders know: {found[0]}" if found else "there is no record"
        remedy = f"{record.instead if found else record}\nand serve this at {wanted.policy_url(zone)}:\n{file}"
        remedy = _NAMES_FIRST if zone.unnamed else remedy
        return [warn("MTA-STS", record.name, f"{detail}: senders may be led past TLS", remedy)]
    try:
        policy = parse_policy(await policies.fetch(zone.domain))
    except Failure as failure:
        remedy = _NAMES_FIRST if zone.unnamed else f"serve this there, as text/plain:\n{file}"
        return [fail("MTA-STS", zone.domain, str(failure), remedy)]
    missing = [host for host in zone.exchangers if policy.mode != "none" and not policy.allows(host)]
    if missing:
        others = tuple(host for host in await _exchangers(zone, resolver) if policy.allows(host))
        same = replace(zone, sts=policy.mode, promised=others)
        remedy = f"serve this at {wanted.policy_url(zone)}:\n{wanted.policy_file(same)}{wanted.mta_sts(same).instead}"
        return [fail("MTA-STS", zone.domain, f"the policy does not name {', '.join(missing)}", remedy)]
    return [ok("MTA-STS", zone.domain, f"mode {policy.mode}, {policy.max_age} s")]


async def _srv(zone: Zone, resolver: Resolver) -> list[Finding]:
    """Only where users' mail readers connect from elsewhere: without a service there, nothing need be said of it."""
    findings = []
    for record in wanted.services(zone):
        found = [str(each) for each in (await resolver.ask(record.name, "SRV")).values]
        service = record.name.split(".")[0].removeprefix("_")
        if service not in zone.services:
            stale = [each for each in found if each.endswith(f" {zone.host}.")]
            if stale:
                findings.append(warn("SRV", record.name, f"{stale[0]}: it is not offered there", record.instead))
        elif any(each.split()[2:] == record.value.split()[2:] for each in found):
            findings.append(ok("SRV", record.name, record.value))
        else:
            detail = f"says {found[0]}" if found else "there is no record: mail readers must be told by hand"
            findings.append(warn("SRV", record.name, detail, record.instead if found else f"{record}"))
    return findings


async def _texts(name: str, resolver: Resolver) -> list[str]:
    return [text.decode("utf-8", "replace") for text in (await resolver.text(name)).values]


def _tags(text: str) -> dict[str, str]:
    """Return the tags of a "k=v; k=v" record (RFC 6376 §3.2), names in lower case, values without white space."""
    return {match[1].lower(): "".join(match[2].split()) for match in map(_TAG.match, text.split(";")) if match}
