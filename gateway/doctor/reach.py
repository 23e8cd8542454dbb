"""Who can be reached from here: port 25 inwards and outwards, the smarthost, and whoever shows a certificate.

What comes in is tried from this machine itself, so a router that does not turn such connections around makes it fail.
"""

import asyncio
import ipaddress
import ssl
from typing import Final

from gateway.doctor.findings import Finding, fail, ok, warn
from gateway.doctor.zone import Zone
from gateway.resolver import Resolver
from p2pcore import params
from p2pcore.endpoint import Endpoint
from p2pcore.errors import CannotKnow

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
        """Look for a greeting at every address of this machine's host name, and of the domain's other gateways."""
        findings = []
        for host in dict.fromkeys((zone.host, *zone.gateways)):
            remedy = f"let port {port} through to smtp.listen: firewall, port forwarding, CAP_NET_BIND_SERVICE"
            if host != zone.host:
                remedy = f"look at {host}: is it running? Otherwise {remedy}"
            addresses = zone.gateways.get(host, ())
            if not addresses:
                findings.append(fail("port 25 in", host, "its address is not known", f"{host}. IN A <its address>"))
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
        reason = "has no address"
        for address in await self._addresses(endpoint.host):
            try:
                async with self._room, asyncio.timeout(self._timeout):
                    _, writer = await asyncio.open_connection(address, endpoint.port, ssl=context)
            except (OSError, ssl.SSLError) as error:
                reason = _reason(error)
                continue
            shown: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.transport.abort()
            return shown or b"", "shows no certificate"
        return b"", reason

    async def smarthost(self, endpoint: Endpoint) -> Finding:
        """Connect to the smarthost."""
        reason = await self._connected(endpoint)
        remedy = "see to outbound.smarthost, or to that host"
        return fail("smarthost", f"{endpoint}", reason, remedy) if reason else ok("smarthost", f"{endpoint}", "answers")

    async def greeting(self, endpoint: Endpoint) -> tuple[str, str]:
        """Return the first line that is said there, or "" and why there is none."""
        reason = "has no address"
        for address in await self._addresses(endpoint.host):
            greeting, reason = await self._greeting(Endpoint(address, endpoint.port))
            if greeting:
                return greeting, ""
        return "", reason

    async def _connected(self, endpoint: Endpoint) -> str:
        """Return "" where a connection comes about, else why not."""
        reason = "has no address"
        for address in await self._addresses(endpoint.host):
            try:
                async with self._room, asyncio.timeout(self._timeout):
                    _, writer = await asyncio.open_connection(address, endpoint.port)
            except OSError as error:
                reason = _reason(error)
                continue
            writer.transport.abort()
            return ""
        return reason

    async def _greeting(self, at: Endpoint) -> tuple[str, str]:
        try:
            async with self._room, asyncio.timeout(self._timeout):
                reader, writer = await asyncio.open_connection(at.host, at.port, limit=_MOST)
        except OSError as error:
            return "", _reason(error)
        try:
            async with asyncio.timeout(self._timeout):
                line = (await reader.readuntil(b"\n")).decode("utf-8", "replace")
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            return "", f"connected, and no greeting: {_reason(error)}"
        finally:
            writer.transport.abort()
        text = "".join(each for each in line if each.isprintable())
        return (text, "") if text.startswith("220") else ("", f"says {text[:100]}")

    async def _addresses(self, host: str) -> tuple[str, ...]:
        try:
            return (str(ipaddress.ip_address(host)),)
        except ValueError:
            pass
        if host == "localhost":
            return ("127.0.0.1",)
        try:
            return (await self._resolver.addresses(host)).values
        except CannotKnow:
            return ()


def _reason(error: Exception) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
