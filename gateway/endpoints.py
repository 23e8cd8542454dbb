"""Whether every configured endpoint can be had, found out before anything starts."""

import socket
from collections.abc import Iterator

from gateway.config import Config
from gateway.errors import ConfigurationError
from p2pcore.endpoint import Endpoint

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM


def check_endpoints(config: Config, *, smtp: bool = True) -> None:
    """Bind what this machine's roles listen on, and let go again. Blocks. Raises ConfigurationError.

    `smtp`: smtp.listen is among it.
    """
    taken: dict[Endpoint, str] = {}
    for key, endpoint, kind in _wanted(config, smtp=smtp):
        if kind == TCP and endpoint.port:
            if endpoint in taken:
                raise ConfigurationError(f"{key}: {endpoint} is in {taken[endpoint]} already; give one of them another")
            taken[endpoint] = key
        try:
            _bind(endpoint, kind)
        except (OSError, ValueError) as error:  # UnicodeError: a name that is no host name
            reason = getattr(error, "strerror", None) or str(error)
            hint = "; ports below 1024 need CAP_NET_BIND_SERVICE" if isinstance(error, PermissionError) else ""
            raise ConfigurationError(f"{key}: {endpoint} cannot be used: {reason}{hint}") from error


def _wanted(config: Config, *, smtp: bool) -> Iterator[tuple[str, Endpoint, socket.SocketKind]]:
    roles = config.domain.roles
    if "node" in roles:
        yield "node.listen", config.node.listen, TCP
        yield "node.listen", config.node.listen, UDP
    if "gateway" in roles:
        yield from (("smtp.listen", endpoint, TCP) for endpoint in config.smtp.listen if smtp)
        yield from (("relay.listen", endpoint, TCP) for endpoint in config.relay.listen)
    yield from (("autoconfig.listen", endpoint, TCP) for endpoint in config.autoconfig.listen)
    if "agent" in roles:
        yield from (("imap.listen", endpoint, TCP) for endpoint in config.imap.listen)
        yield from (("imaps.listen", endpoint, TCP) for endpoint in config.imaps.listen)
        yield from (("submission.listen", endpoint, TCP) for endpoint in config.submission.listen)
        yield from (("submissions.listen", endpoint, TCP) for endpoint in config.submissions.listen)


def _bind(endpoint: Endpoint, kind: socket.SocketKind) -> None:
    found = socket.getaddrinfo(endpoint.host, endpoint.port, type=kind, flags=socket.AI_PASSIVE)
    for family, _, _, _, address in dict.fromkeys(found):
        with socket.socket(family, kind) as probe:
            if kind == TCP:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(address)
