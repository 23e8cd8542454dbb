"""What SPF says of our own gateways, evaluated as receivers do it, includes and redirects and all (RFC 7208)."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from gateway.doctor import zone as wanted
from gateway.doctor.findings import LEAVE_ONE, Finding, fail, ok, warn
from gateway.doctor.zone import Zone
from gateway.resolver import Resolver
from gateway.smtp.sender_policy import check_sender
from p2pcore.errors import CannotKnow

STRANGER: Final = "198.51.100.77"  # of a network for documentation (RFC 5737): nobody sends from there
_TIMEOUT: Final = 20.0  # seconds for one evaluation (RFC 7208 §4.6.4 asks for at least that)


async def check(zone: Zone, resolver: Resolver) -> list[Finding]:
    """Return a finding for the domain and for the name of each gateway. Raises CannotKnow."""
    findings = []
    with ThreadPoolExecutor(1, "spf") as threads:
        for record in wanted.spf(zone):
            texts = [text.decode("utf-8", "replace") for text in (await resolver.text(record.name)).values]
            found = [text for text in texts if text.lower().split(" ")[0] == "v=spf1"]
            if not found:
                tell = fail if record.name == zone.domain else warn
                findings.append(tell("SPF", record.name, "there is no record", f"{record}"))
            elif len(found) > 1:  # RFC 7208 §4.5
                findings.append(fail("SPF", record.name, f"{len(found)} records, which count as an error", LEAVE_ONE))
            else:
                hosts = tuple(zone.gateways) if record.name == zone.domain else (record.name,)
                findings.append(await _evaluated(zone, record, found[0], hosts, resolver, threads))
    return findings


async def _evaluated(
    zone: Zone, record: wanted.Record, text: str, hosts: Sequence[str], resolver: Resolver, threads: ThreadPoolExecutor
) -> Finding:
    async def result(address: str, host: str) -> str:
        until = asyncio.get_running_loop().time() + _TIMEOUT
        reverse_path = f"postmaster@{zone.domain}" if record.name == zone.domain else ""  # a report has none
        found = (await check_sender(address, reverse_path, host, resolver, threads, until)).result
        if found == "temperror":
            raise CannotKnow(f"SPF of {record.name}: DNS does not answer all of its questions")
        return found

    for host in hosts:
        for address in zone.gateways[host]:
            if (found := await result(address, host)) != "pass":
                detail = f"says {found} of {host} [{address}]: {text}"
                return fail("SPF", record.name, detail, _mended(record, text, found))
    if await result(STRANGER, hosts[0] if hosts else zone.host) == "pass":
        return fail("SPF", record.name, f"everybody may send in its name: {text}", record.instead)
    return ok("SPF", record.name, text)


def _mended(record: wanted.Record, text: str, result: str) -> str:
    """Return what to do about a record that does not let our gateways pass; whom else it names may go on sending."""
    if result == "permerror" or not text.isascii() or set(text) & set('"\\'):
        return record.instead
    ours, there = record.value.strip('"').split()[1:-1], text.split()[1:]
    if set(ours) <= set(there):
        return "see to the MX and address records first"
    return replace(record, value=wanted.quoted(" ".join(["v=spf1", *ours, *there]))).instead
