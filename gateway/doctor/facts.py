"""What this machine knows of its domain by itself: configuration, keys, and the newest domain record on its disk."""

from collections.abc import Container, Sequence
from typing import Final

from gateway.config import Config
from gateway.config_rules import is_loopback, relay_endpoint
from gateway.doctor.zone import Zone
from gateway.errors import ConfigurationError
from gateway.outbound.sts_policy import Mode
from gateway.resolver import Resolver
from gateway.site import Site
from p2pcore.crypto.dkim_keys import dkim_record
from p2pcore.crypto.trust import Trust
from p2pcore.endpoint import Endpoint
from p2pcore.errors import CannotKnow, Failure
from p2pcore.mail.record_file import load_record
from p2pcore.networks import parsed
from p2pcore.records import DomainRecord, decode

_PORTS: Final = {"imap": 143, "imaps": 993, "submission": 587, "submissions": 465}


def domain_record(site: Site) -> DomainRecord | None:
    """Return the newest domain record that was adopted here, None where there is none. Raises ConfigurationError."""
    identity = site.own_identity()
    try:
        published = load_record(site.cache, Trust(identity.authority, site.config.domain.name))
        return decode(DomainRecord, published.content) if published is not None else None
    except (OSError, Failure) as error:
        raise ConfigurationError(f"{site.cache}: domain record: {error}") from error


def gateway_hosts(config: Config, record: DomainRecord | None) -> tuple[str, ...]:
    """Return the names of the domain's gateways, this machine's first where it is one.

    The record has the hosts where agents reach them, which is no name for MX where somebody wrote an address there.
    """
    own = (config.smtp.hostname,) if "gateway" in config.domain.roles else ()
    ours = relay_endpoint(config).host if own else ""
    listed = sorted(each.host for each in record.gateways if each.host != ours) if record is not None else []
    return tuple(dict.fromkeys((*own, *(host for host in listed if parsed(host) is None))))


async def zone_of(site: Site, record: DomainRecord | None, resolver: Resolver, mode: Mode) -> Zone:
    """Return what the zone is made from; a gateway without DKIM keys gets them now. Raises OperatorError."""
    config = site.config
    gateways = {host: await _addresses(config, host, resolver) for host in gateway_hosts(config, record)}
    keys = site.dkim_keys() if "gateway" in config.domain.roles else {}
    return Zone(
        domain=config.domain.name,
        host=config.smtp.hostname,
        gateways=gateways,
        dkim={selector: dkim_record(pem) for selector, pem in keys.items()},
        services=services(config) if "agent" in config.domain.roles else {},
        autoconfig=bool(config.autoconfig.listen),
        sts=mode,
        fronts=await _fronts(config, gateways, resolver),
    )


def services(config: Config) -> dict[str, int]:
    """Return the services that mail readers elsewhere can reach, with their ports."""
    listening: dict[str, Sequence[Endpoint]] = {
        "imap": config.imap.listen,
        "imaps": config.imaps.listen,
        "submission": config.submission.listen,
        "submissions": config.submissions.listen,
    }
    found = {}
    for name, endpoints in listening.items():
        ports = [endpoint.port for endpoint in endpoints if not is_loopback(endpoint.host)]
        if ports:
            found[name] = _PORTS[name] if _PORTS[name] in ports else ports[0]
    return found


async def _fronts(config: Config, gateways: Container[str], resolver: Resolver) -> dict[str, tuple[str, ...]]:
    """Return the MX hosts that DNS has, where smtp.trusted_relays says that some stand in front and none is ours."""
    if "gateway" not in config.domain.roles or not config.smtp.trusted_relays:
        return {}
    try:
        found = [host.lower() for _, host in (await resolver.mail_exchangers(config.domain.name)).values]
    except CannotKnow:
        return {}
    if not all(found) or any(host in gateways for host in found):  # "" is a null MX (RFC 7505)
        return {}
    return {host: await _addresses(config, host, resolver) for host in found}


async def _addresses(config: Config, host: str, resolver: Resolver) -> tuple[str, ...]:
    """Return the addresses that we listen on under `host`, or else those that DNS has, () where neither says any."""
    if host == config.smtp.hostname:
        listened = (parsed(endpoint.host) for endpoint in config.smtp.listen)
        own = tuple(str(address) for address in listened if address is not None and address.is_global)
        if own:
            return own
    try:
        return (await resolver.addresses(host)).values
    except CannotKnow:
        return ()
