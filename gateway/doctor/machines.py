"""The domain's gateways and nodes as their peers meet them: a TLS handshake, the key that it must show, its dates."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from gateway.administration import administer
from gateway.doctor.findings import Finding, fail, ok, warn
from gateway.doctor.here import SOON
from gateway.doctor.reach import Reach
from gateway.site import Site
from p2pcore import params
from p2pcore.crypto.certificates import Certificate
from p2pcore.crypto.tls import node_client_context
from p2pcore.crypto.trust import Trust
from p2pcore.endpoint import Endpoint
from p2pcore.errors import CertificateRefused, Failure
from p2pcore.records import DomainRecord

_RENEW: Final = "it renews itself while it runs and the directory can be reached"


@dataclass(frozen=True, slots=True)
class Machine:
    """What the domain says of one machine: its node ID, or the SHA-256 of a gateway's certificate, or both; b"": not.

    Agents dial a gateway only under the certificate that the domain record lists.
    """

    role: str
    endpoint: Endpoint
    node_id: bytes = b""
    certificate: bytes = b""


def listed(site: Site, record: DomainRecord | None) -> list[Machine]:
    """Return the gateways and nodes that the directory lists, or, elsewhere, those that its record names.

    Raises OperatorError.
    """
    gateways = [each for each in record.gateways if each.port] if record is not None else []
    pinned = {(each.host, each.port): each.certificate for each in gateways}
    if "directory" in site.config.domain.roles:
        found = []
        for row in administer(site, "machine-list"):
            if row["role"] == "directory":
                continue
            at = Endpoint.parse(row["endpoint"])
            certificate = pinned.get((at.host, at.port), b"") if row["role"] == "gateway" else b""
            found.append(Machine(row["role"], at, bytes.fromhex(row["node_id"]), certificate))
        return found
    nodes = record.bootstrap if record is not None else ()
    return [
        *(Machine("gateway", Endpoint(host, port), b"", certificate) for (host, port), certificate in pinned.items()),
        *(Machine("node", Endpoint(each.host, each.port), each.node_id) for each in nodes),
    ]


async def check(machines: Sequence[Machine], trust: Trust, reach: Reach, now: int) -> list[Finding]:
    """Return a finding for each; `trust` knows the domain's revocations, `now` in ms."""
    return list(await asyncio.gather(*(_check(each, trust, reach, now) for each in machines)))


async def _check(machine: Machine, trust: Trust, reach: Reach, now: int) -> Finding:
    name, subject = f"{machine.role} reachable", f"{machine.endpoint}"
    shown, reason = await reach.shown(machine.endpoint, node_client_context())
    if not shown:
        remedy = "is it running, is the port open? If it is elsewhere now, tell the directory: `p2pmail machine set`"
        return fail(name, subject, reason, remedy)
    try:
        certificate = await asyncio.to_thread(_judged, shown, machine, trust, now)
    except Failure as failure:
        remedy = "does something else listen there? Otherwise admit that machine again: `p2pmail join`"
        return fail(name, subject, f"answers, and {failure}", remedy)
    day = datetime.fromtimestamp(certificate.not_after / 1_000, UTC).strftime("%Y-%m-%d")
    if machine.certificate not in (b"", certificate.fingerprint):
        remedy = "after a renewal the record follows within minutes; else start the directory, then that gateway again"
        return fail(name, subject, "shows another certificate than the domain record lists: agents refuse it", remedy)
    left = (certificate.not_after - now) // params.DAY
    tell = f"answers with its own key, whose certificate holds until {day} ({left} days)"
    return warn(name, subject, tell, _RENEW) if certificate.not_after <= now + SOON else ok(name, subject, tell)


def _judged(der: bytes, machine: Machine, trust: Trust, now: int) -> Certificate:
    """Return the certificate if it is one of the domain, for this machine, that counts now. Raises Failure."""
    certificate = trust.add(der)
    if machine.node_id not in (b"", certificate.node_id):
        raise CertificateRefused(f"shows the key of another machine, {certificate.name}")
    if certificate.role != machine.role:
        raise CertificateRefused(f"shows the certificate of a {certificate.role}")
    trust.judge(certificate, now, now, direct=True)
    return certificate
