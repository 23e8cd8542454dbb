"""What the schema's types cannot say: how the values of a configuration must fit each other and the world; pure."""

import ipaddress
import re
from collections.abc import Callable

import msgspec

from gateway.config_schema import Config
from gateway.smtp.overrides import Overrides
from p2pcore import networks
from p2pcore.endpoint import Endpoint
from p2pcore.errors import Malformed
from p2pcore.names import canonical_domain

_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_SELECTOR = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\Z")  # RFC 6376 §3.1: sub-domains of RFC 5321
ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 -- recognised, not bound


class Broken(Exception):
    """A rule is broken; the text names the key and what to write."""


def applied(config: Config) -> Config:
    """Return `config` with its names in canonical form. Raises Broken."""
    domain = msgspec.structs.replace(config.domain, name=_canonical("domain.name", config.domain.name))
    smtp = msgspec.structs.replace(config.smtp, hostname=_canonical("smtp.hostname", config.smtp.hostname))
    config = msgspec.structs.replace(config, domain=domain, smtp=smtp)
    for rule in _RULES:
        rule(config)
    return config


def advertised(config: Config) -> Endpoint:
    """Return the endpoint under which other machines reach this node."""
    return Endpoint.parse(config.node.advertise) if config.node.advertise else config.node.listen


def relay_endpoint(config: Config) -> Endpoint:
    """Return where the domain's agents reach this gateway; port 0 where it takes nothing from them."""
    if config.relay.advertise:
        return Endpoint.parse(config.relay.advertise)
    port = config.relay.listen[0].port if config.relay.listen else 0
    return Endpoint(config.smtp.hostname, port)


def smarthost(config: Config) -> Endpoint | None:
    """Return the host that takes all mail to other domains, None where their MX hosts do."""
    return Endpoint.parse(config.outbound.smarthost) if config.outbound.smarthost else None


def dkim_selector(config: Config) -> str:
    """Return the name of this gateway's RSA key for DKIM: one of its own, so that gateways share no key."""
    return config.dkim.selector or config.smtp.hostname.partition(".")[0]


def dkim_ed25519_selector(config: Config) -> str:
    """Return the name of the gateway's Ed25519 key: another one, since a name holds one key (RFC 6376 §3.6.2.2)."""
    return f"ed25519.{dkim_selector(config)}"


def _canonical(key: str, name: str) -> str:
    if not name:
        raise Broken(f'{key}: is missing; write a name like "example.org"')
    try:
        return canonical_domain(name)
    except Malformed as error:
        raise Broken(f"{key}: {error}") from error


def _roles(config: Config) -> None:
    if not config.domain.roles:
        raise Broken("domain.roles: is empty, so nothing would run here")


def _replication(config: Config) -> None:
    if not config.replication.k / 2 < config.replication.quorum <= config.replication.k:
        raise Broken("replication.quorum: must be more than half of replication.k and at most replication.k")


def _node(config: Config) -> None:
    try:
        endpoint = advertised(config)
    except (Malformed, ValueError) as error:
        raise Broken(f"node.advertise: {error}") from error
    if "node" not in config.domain.roles:
        return
    if config.node.listen.port == 0:
        raise Broken("node.listen: a port is wanted that stays, so that others find the node again")
    if not networks.is_dialable(endpoint.host) or endpoint.port == 0:
        raise Broken(f"node.advertise: others cannot reach {endpoint}; write the public host:port of this node")


def _listeners(config: Config) -> None:
    roles = config.domain.roles
    if "gateway" in roles and not config.smtp.listen:
        raise Broken("smtp.listen: is empty, and a gateway must listen somewhere")
    if config.smtp.also and "gateway" not in roles:
        raise Broken("smtp.also: this machine is no gateway, so it takes no mail for other domains")
    if "agent" in roles and not (config.imap.listen or config.imaps.listen):
        raise Broken("imap.listen and imaps.listen: both are empty, so no mail reader could connect")


def _sending(config: Config) -> None:
    for key, endpoint in (("relay.advertise", relay_endpoint), ("outbound.smarthost", smarthost)):
        try:
            endpoint(config)
        except (Malformed, ValueError) as error:
            raise Broken(f"{key}: {error}") from error
    if "gateway" in config.domain.roles and not networks.is_dialable(relay_endpoint(config).host):
        raise Broken(f"relay.advertise: others cannot reach {relay_endpoint(config)}; write the public host:port of it")
    if bool(config.outbound.smarthost_user) != bool(config.outbound.smarthost_password_file):
        raise Broken("outbound.smarthost_user and outbound.smarthost_password_file: give both or neither")
    if config.outbound.smarthost_user and not config.outbound.smarthost:
        raise Broken("outbound.smarthost_user: there is no outbound.smarthost to log in to")
    if 0 < config.relay.recipients_per_day < config.smtp.max_recipients:
        raise Broken("relay.recipients_per_day: is less than smtp.max_recipients, so some mails could never be sent")
    if config.outbound.retry_last < config.outbound.retry_first:
        raise Broken("outbound.retry_last: is less than outbound.retry_first")


def _dkim(config: Config) -> None:
    if not _SELECTOR.match(dkim_selector(config)):
        raise Broken(f'dkim.selector: {config.dkim.selector!r}: not a DNS name like "mx1" or "2026.mx1"')


def _networks(config: Config) -> None:
    for network in config.smtp.trusted_relays:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError as error:
            raise Broken(f'smtp.trusted_relays: {network!r}: not a network like "192.0.2.0/24"') from error
    try:
        Overrides.named(config.smtp.dmarc_overrides)
    except ValueError as error:
        raise Broken(f"smtp.dmarc_overrides: {error}") from error


def _resolvers(config: Config) -> None:
    for endpoint in config.outbound.resolvers:
        try:
            ipaddress.ip_address(endpoint.host)
        except ValueError as error:
            raise Broken(f'outbound.resolvers: {endpoint}: not an IP address and port like "192.0.2.53:53"') from error


def _tls(config: Config) -> None:
    if bool(config.tls.certificate) != bool(config.tls.key):
        raise Broken("tls.certificate and tls.key: give both or neither")


_RULES: tuple[Callable[[Config], None], ...] = (
    _roles,
    _replication,
    _node,
    _listeners,
    _sending,
    _dkim,
    _networks,
    _resolvers,
    _tls,
)


def is_loopback(host: str) -> bool:
    """Return whether a configured host, an IP address or a name, is this machine alone."""
    return host == "localhost" or networks.is_loopback(host)
