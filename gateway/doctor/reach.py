"""Who can be reached from here: port 25 inwards and outwards, the smarthost, and whoever shows a certificate.

What comes in is tried from this machine itself, so a router that does not turn such connections around makes it fail.
"""

import asyncio
import os
import ssl
from typing import Final

from gateway.doctor.findings import Finding, fail, ok, warn
from gateway.doctor.zone import Zone
from gateway.resolver import Resolver
from p2pcore import params
from p2pcore.endpoint import Endpoint
from p2pcore.errors import CannotKnow
from p2pcore.networks import numeric

SMTP_PORT: Final = 25
TIMEOUT: Final = 10 * params.SECOND  # for a connection, and again for a greeting
_AT_ONCE: Final = 20  # connections
_MOST: Final = 512  # octets of a greeting line (RFC 5321 §4.5.3.1.5)


class Reach:
    """Dials by the gateway's own resolver; `timeout` in ms."""

    def __init__(self, resolver: Resolver, *, timeout: int = TIMEOUT) -> None:
        self._resolver = resolver
        self._timeout = timeout / 1_000
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def inwards(self, zone: Zone, port: int = SMTP_PORT) -> list[Finding]:
        """Look for a greeting at every address of every MX host that there is to be, this machine among them."""
        findings = []
        for host, addresses in (zone.fronts or {zone.host: (), **zone.gateways}).items():
            remedy = (
                f"let port {port} through to smtp.listen: firewall, port forwarding, CAP_NET_BIND_SERVICE;\n"
                "behind a router, try it from outside too: not every router leads its own network in that way"
            )
            if host != zone.host:
                remedy = f"look at {host}: is it running? Otherwise {remedy}"
            if not addresses:
                first = "see to its A and AAAA records first"
                findings.append(fail("port 25 in", host, "its address is not known", first))
            for address in addresses:
                at = Endpoint(address, port)
                greeting, reason = await self._greeting(at)
                told = ok("port 25 in", f"{at}", greeting) if greeting else fail("port 25 in", f"{at}", reason, remedy)
                findings.append(told)
        return findings

    async def outwards(self, outside: str, port: int = SMTP_PORT) -> Finding:
        """Look for a greeting at one of the MX hosts of `outside`, a domain that takes mail."""
        remedy = "ask the provider to let port 25 out, or send through a smarthost (outbound.smarthost)"
        try:
            hosts = [host for _, host in (await self._resolver.mail_exchangers(outside)).values if host]
        except CannotKnow as failure:
            return fail("port 25 out", outside, str(failure), "see to DNS first")
        if not hosts:
            return warn("port 25 out", outside, "has no MX host to try", "name another domain with --outside")
        reason = ""
        for host in hosts[:3]:
            greeting, reason = await self.greeting(Endpoint(host, port))
            if greeting:
                return ok("port 25 out", host, greeting)
        return fail("port 25 out", hosts[0], reason, remedy)

    async def shown(self, endpoint: Endpoint, context: ssl.SSLContext) -> tuple[bytes, str]:
        """Return the certificate (DER) that a TLS handshake there shows, or b"" and why there is none."""
        writer, reason = await self._connected(endpoint, context)
        if writer is None:
            return b"", reason
        shown: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        return shown or b"", "shows no certificate"

    async def smarthost(self, endpoint: Endpoint) -> Finding:
        """Connect to the smarthost."""
        writer, reason = await self._connected(endpoint)
        if writer is None:
            return fail("smarthost", f"{endpoint}", reason, "see to outbound.smarthost, or to that host")
        writer.transport.abort()
        return ok("smarthost", f"{endpoint}", "answers")

    async def greeting(self, endpoint: Endpoint) -> tuple[str, str]:
        """Return the first line that is said there, or "" and why there is none."""
        addresses, reason = await self._addresses(endpoint.host)
        for address in addresses:
            greeting, why = await self._greeting(Endpoint(address, endpoint.port))
            if greeting:
                return greeting, ""
            reason = _at(address, endpoint, why)
        return "", reason

    async def _connected(
        self, endpoint: Endpoint, context: ssl.SSLContext | None = None
    ) -> tuple[asyncio.StreamWriter | None, str]:
        """Return a connection to the first address that takes one, or None and why there is none."""
        addresses, reason = await self._addresses(endpoint.host)
        for address in addresses:
            try:
                async with self._room, asyncio.timeout(self._timeout):
                    _, writer = await asyncio.open_connection(address, endpoint.port, ssl=context)
            except OSError as error:
                reason = _at(address, endpoint, _reason(error))
                continue
            return writer, ""
        return None, reason

    async def _greeting(self, at: Endpoint) -> tuple[str, str]:
        try:
            async with self._room, asyncio.timeout(self._timeout):
                reader, writer = await asyncio.open_connection(at.host, at.port, limit=_MOST)
        except OSError as error:
            return "", _reason(error)
        try:
            async with asyncio.timeout(self._timeout):
                line = (await reader.readuntil(b"\n")).decode("utf-8", "replace")
        except OSError as error:
            return "", f"connected, and no greeting: {_reason(error)}"
        except asyncio.IncompleteReadError:
            return "", "closes the connection without a greeting"
        except asyncio.LimitOverrunError:
            return "", f"greets with more than {_MOST} octets"
        finally:
            writer.transport.abort()
        text = "".join(each for each in line if each.isprintable())
        return (text, "") if text.startswith("220") else ("", f"says {text[:100]}")

    async def _addresses(self, host: str) -> tuple[tuple[str, ...], str]:
        """Return the addresses of a name or an address, and what to say where there are none."""
        address = "127.0.0.1" if host == "localhost" else numeric(host)
        if address is not None:
            return (address,), ""
        try:
            return (await self._resolver.addresses(host)).values, "has no address"
        except CannotKnow as failure:
            return (), str(failure)


def _at(address: str, endpoint: Endpoint, reason: str) -> str:
    return reason if address == endpoint.host else f"{address}: {reason}"


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if error.errno and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)  # asyncio's own text has it in brackets, and the address twice
    return str(error) or type(error).__name__
