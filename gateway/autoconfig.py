"""The settings that a mail reader finds by itself, in the form that Thunderbird defined, over HTTP.

Thunderbird asks `autoconfig.<domain>` (and the domain itself) for one of two paths. Whoever asks gets the same answer:
it tells nothing of who has an account.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal
from xml.sax.saxutils import escape

from aiohttp import web

from gateway.config import Config
from gateway.config_rules import ANYWHERE, is_loopback
from p2pcore.endpoint import Endpoint
from p2pcore.node.connections import Connections

PATHS: Final = ("/mail/config-v1.1.xml", "/.well-known/autoconfig/mail/config-v1.1.xml")
_CONNECTIONS: Final = 200  # at a time; the one idle longest gives way
_MAX_LINE: Final = 4_096  # octets of the request's line and of a header field
_IMPLICIT_TLS: Final = (993, 465)  # ports (RFC 8314 §7)
_BESIDE_THE_READER: Final = (Endpoint("127.0.0.1", 1143), Endpoint("127.0.0.1", 1587))  # where an agent is

Security = Literal["plain", "STARTTLS", "SSL"]


@dataclass(frozen=True, slots=True)
class Offer:
    """One server that a mail reader may use."""

    kind: Literal["imap", "smtp"]
    host: str
    port: int
    security: Security


def offers(config: Config) -> tuple[Offer, ...]:
    """Return the servers to tell of: those of `autoconfig`, else this machine's agent's, else any agent's as it comes.

    The best come first.
    """
    agent = "agent" in config.domain.roles
    beside_imap, beside_submission = _BESIDE_THE_READER
    imap = config.autoconfig.imap or ((*config.imap.listen, *config.imaps.listen) if agent else (beside_imap,))
    submission = config.autoconfig.submission or (
        (*config.submission.listen, *config.submissions.listen) if agent else (beside_submission,)
    )
    implicit = {*config.imaps.listen, *config.submissions.listen} if agent else set()

    def offer(kind: Literal["imap", "smtp"], endpoint: Endpoint) -> Offer:
        host = config.smtp.hostname if endpoint.host in ANYWHERE else endpoint.host
        return Offer(kind, host, endpoint.port, _security(endpoint, implicit))

    return (*(offer("imap", each) for each in imap), *(offer("smtp", each) for each in submission))


def _security(endpoint: Endpoint, implicit: set[Endpoint]) -> Security:
    if endpoint in implicit or endpoint.port in _IMPLICIT_TLS:
        return "SSL"
    return "plain" if is_loopback(endpoint.host) else "STARTTLS"  # as the servers themselves have it


def document(domain: str, servers: Sequence[Offer]) -> str:
    """Return the XML that tells a mail reader of `servers` for addresses of `domain`; it puts the address in itself."""
    name = escape(domain)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<clientConfig version="1.1">',
        f'  <emailProvider id="{name}">',
        f"    <domain>{name}</domain>",
        f"    <displayName>{name}</displayName>",
        f"    <displayShortName>{name}</displayShortName>",
    ]
    for server in servers:
        element = "incomingServer" if server.kind == "imap" else "outgoingServer"
        lines += [
            f'    <{element} type="{server.kind}">',
            f"      <hostname>{escape(server.host)}</hostname>",
            f"      <port>{server.port}</port>",
            f"      <socketType>{server.security}</socketType>",
            "      <authentication>password-cleartext</authentication>",
            "      <username>%EMAILADDRESS%</username>",
            f"    </{element}>",
        ]
    lines += ["  </emailProvider>", "</clientConfig>", ""]
    return "\n".join(lines)


class AutoconfigServer:
    """Answers on `autoconfig.listen`."""

    def __init__(self, config: Config) -> None:
        self._listen = config.autoconfig.listen
        self._document = document(config.domain.name, offers(config))
        self._runner: web.AppRunner | None = None
        self._connections: list[Connections] = []

    async def start(self) -> tuple[int, ...]:
        """Begin to answer; return the ports. Raises OSError where an endpoint cannot be had."""
        application = web.Application(client_max_size=0)
        for path in PATHS:
            application.router.add_get(path, self._answer)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        assert self._runner.server is not None
        ports = []
        for endpoint in self._listen:
            connections = Connections(
                self._runner.server,
                _CONNECTIONS,
                access_log=None,
                max_line_size=_MAX_LINE,
                max_field_size=_MAX_LINE,
                keepalive_timeout=0,
            )
            self._connections.append(connections)
            ports.append(await connections.listen(endpoint, None))
        return tuple(ports)

    async def stop(self) -> None:
        """Stop listening, and close what is open. Idempotent."""
        for connections in self._connections:
            await connections.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, _: web.Request) -> web.Response:
        return web.Response(text=self._document, content_type="application/xml", charset="utf-8")
