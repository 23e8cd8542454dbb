"""The whole examination of a machine and its domain, in the order in which it is told."""

import asyncio

from gateway.config import Config
from gateway.config_rules import smarthost
from gateway.doctor import here, machines, mx_tls, published
from gateway.doctor.facts import domain_record, zone_of
from gateway.doctor.findings import Finding
from gateway.doctor.reach import SMTP_PORT, Reach
from gateway.errors import ConfigurationError
from gateway.further import further_sites
from gateway.outbound.mta_sts import MtaSts
from gateway.outbound.sts_cache import PolicyCache
from gateway.resolver import Resolver
from gateway.site import Site
from p2pcore.clock import Clock
from p2pcore.crypto.trust import Trust
from p2pcore.errors import Failure
from p2pcore.records import DomainRecord


async def examine(
    site: Site, clock: Clock, outside: str, *, port: int = SMTP_PORT, reach: Reach | None = None
) -> list[Finding]:
    """Return all findings, those of further domains (smtp.also) behind the first one's.

    `outside` is a domain whose MX hosts are greeted at `port`. Raises OperatorError.
    """
    config = site.config
    resolver = Resolver(config.outbound.resolvers)
    reach = reach or Reach(resolver)
    findings = await _of_domain(site, clock, resolver, reach, port)
    if _sends(config):
        relay = smarthost(config)
        findings.append(await (reach.smarthost(relay) if relay else reach.outwards(outside, port)))
    for other in further_sites(site):
        findings += await _of_domain(other, clock, resolver, reach, port, shown=False)
    return findings


def _sends(config: Config) -> bool:
    """Return whether mail leaves this machine for other domains."""
    roles = config.domain.roles
    return "gateway" in roles or ("agent" in roles and config.submission.deliver == "direct")


async def _of_domain(
    site: Site, clock: Clock, resolver: Resolver, reach: Reach, port: int, *, shown: bool = True
) -> list[Finding]:
    record = domain_record(site)
    findings: list[Finding] = []
    zone = await zone_of(site, record, resolver, reach, "testing")
    policies = MtaSts(resolver, PolicyCache(site.cache / "mta-sts"), clock)
    findings += await published.check(zone, resolver, policies)
    if "gateway" in site.config.domain.roles and not zone.is_nameless:
        findings += await reach.inwards(zone, port)
        findings += await mx_tls.check(zone, await published.own_policy(zone, resolver, policies), clock, port)
    findings += await asyncio.to_thread(here.check, site, record, clock(), shown=shown)
    listed = await asyncio.to_thread(machines.listed, site, record)
    return findings + await machines.check(listed, _trust(site, record), reach, clock())


def _trust(site: Site, record: DomainRecord | None) -> Trust:
    """Return who is of the domain, by the newest record. Raises ConfigurationError."""
    try:
        trust = Trust(site.own_identity().authority, site.config.domain.name)
    except Failure as failure:
        raise ConfigurationError(f"{site.directory}: {failure}") from failure
    trust.set_revocations(record.revocations if record is not None else ())
    return trust
