"""What this machine knows of its domain by itself: configuration, keys, and the newest domain record on its disk."""

import asyncio
import hashlib
from collections.abc import Container, Sequence
from typing import Final

from gateway.administration import administer
from gateway.config import Config
from gateway.config_rules import is_loopback
from gateway.doctor.reach import Reach
from gateway.doctor.zone import Zone
from gateway.errors import ConfigurationError
from gateway.outbound.sts_policy import Mode
from gateway.resolver import Resolver
from gateway.site import Site
from p2pcore.crypto.dkim_keys import dkim_record
from p2pcore.crypto.keys import HpkeKey, SigningKey
from p2pcore.crypto.tls import node_client_context
from p2pcore.crypto.trust import Trust
from p2pcore.endpoint import Endpoint
from p2pcore.errors import CannotKnow, Failure
from p2pcore.mail.record_file import load_record
from p2pcore.networks import parsed
from p2pcore.records import DomainRecord, GatewayInfo, Identity, decode

_PORTS: Final = {"imap": 143, "imaps": 993, "submission": 587, "submissions": 465}


def domain_record(site: Site) -> DomainRecord | None:
    """Return the newest domain record that was adopted here, None where there is none. Raises ConfigurationError."""
    identity = site.own_identity()
    try:
        published = load_record(site.cache, Trust(identity.authority, site.config.domain.name))
        return decode(DomainRecord, published.content) if published is not None else None
    except (OSError, Failure) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(
            f"{site.cache}/domain-record: {reason}; remove it, and `p2pmail run` fetches the newest"
        ) from error


async def _gateways(site: Site, record: DomainRecord | None, reach: Reach) -> list[tuple[Endpoint, str]]:
    """Return where agents reach each of the domain's other gateways, and its name for MX, "" where it is not known.

    The directory has those that are listed now, and what they are called; elsewhere the record has where they are. An
    address there is no name: a gateway shows its own by its certificate. Raises OperatorError.
    """
    own = _own_gateway(site)
    if "directory" in site.config.domain.roles:
        rows = await asyncio.to_thread(administer, site, "machine-list")
        node_id = SigningKey.from_bytes(own.signing_key).fingerprint.hex() if own is not None else ""
        others = [row for row in rows if row["role"] == "gateway" and row["node_id"] != node_id]
        found = [(Endpoint.parse(row["endpoint"]), row["name"]) for row in others]
        return [(at, name if parsed(at.host) is not None else at.host) for at, name in found]
    hpke_key = hashlib.sha256(HpkeKey.from_bytes(own.hpke_keys[0]).public_bytes).digest() if own is not None else b""
    listed = [each for each in record.gateways if each.hpke_key != hpke_key] if record is not None else []
    trust = Trust(site.own_identity().authority, site.config.domain.name)
    names = await asyncio.gather(*(_name(each, trust, reach) for each in listed))
    return [(Endpoint(each.host, each.port), name) for each, name in zip(listed, names, strict=True)]


def _own_gateway(site: Site) -> Identity | None:
    try:
        return site.identity("gateway") if "gateway" in site.config.domain.roles else None
    except ConfigurationError:
        return None  # gateway.doctor.here says so


async def _name(gateway: GatewayInfo, trust: Trust, reach: Reach) -> str:
    if parsed(gateway.host) is None:
        return gateway.host
    shown, _ = await reach.shown(Endpoint(gateway.host, gateway.port), node_client_context())
    try:
        certificate = trust.add(shown)
    except Failure:
        return ""
    return certificate.host if hashlib.sha256(certificate.hpke_key or b"").digest() == gateway.hpke_key else ""


async def zone_of(site: Site, record: DomainRecord | None, resolver: Resolver, reach: Reach, mode: Mode) -> Zone:
    """Return what the zone is made from; a gateway without DKIM keys gets them now. Raises OperatorError."""
    config = site.config
    others = await _gateways(site, record, reach)
    own = [config.smtp.hostname] if "gateway" in config.domain.roles else []
    hosts = dict.fromkeys([*own, *sorted(name for _, name in others if name)])
    gateways = {host: await _addresses(config, host, resolver) for host in hosts}
    keys = site.dkim_keys() if "gateway" in config.domain.roles else {}
    return Zone(
        domain=config.domain.name,
        host=config.smtp.hostname,
        gateways=gateways,
        unnamed=tuple(sorted(f"{at}" for at, name in others if not name)),
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
