"""What a gateway sends for its domain's users: the relay port, the durable queue, delivery by MX, DKIM, reports."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from gateway.config_rules import relay_endpoint, smarthost
from gateway.errors import ConfigurationError
from gateway.further import Together
from gateway.lost import tell_if_lost
from gateway.network import Member, when_nodes_come
from gateway.outbound.bounce import Reporter
from gateway.outbound.courier import Courier, Login
from gateway.outbound.destinations import Destinations
from gateway.outbound.dkim import DkimSigner
from gateway.outbound.mta_sts import MtaSts
from gateway.outbound.mx import MailExchangers
from gateway.outbound.network import NetworkDelivery
from gateway.outbound.queue import Queue
from gateway.outbound.schedule import Schedule
from gateway.outbound.service import Outbound
from gateway.outbound.storage_key import load_storage_key
from gateway.outbound.sts_cache import PolicyCache
from gateway.resolver import Resolver
from gateway.site import QUEUE_KEY, Site
from gateway.smtp.relay import RelayServer
from gateway.smtp.settings import RelaySettings, SmtpLimits
from gateway.starting import starting
from p2pcore.clock import Clock
from p2pcore.crypto.trust import Trust
from p2pcore.mail.names import DomainNames
from p2pcore.mail.send import Sender

_MAX_PASSWORD = 1_000  # octets of its line


@dataclass(frozen=True, slots=True)
class Relaying:
    """A gateway's outgoing side while it runs."""

    queue: Queue
    outbound: Outbound
    server: RelayServer


def courier_of(stack: AsyncExitStack, site: Site, together: Together, resolver: Resolver, clock: Clock) -> Courier:
    """Return the courier to other domains' MX hosts, or to the smarthost; until `stack` ends its policies stay fresh.

    To another domain of this process mail goes like any, by its MX, which may be this host (docs/decisions/0026).
    Raises ConfigurationError.
    """
    config = site.config
    relay = relay_endpoint(config)
    exchangers = MailExchangers(
        resolver,
        port=config.outbound.port,
        own_names=(relay.host, *(each.config.smtp.hostname for each in together.sites)),
        own_endpoints=together.sites[0].config.smtp.listen,
        served=together.domains,
        smarthost=smarthost(config),
    )
    obeying = config.outbound.mta_sts and not config.outbound.smarthost  # RFC 8461 is about MX hosts
    policies = MtaSts(resolver, PolicyCache(site.cache / "mta-sts"), clock) if obeying else None
    if policies is not None:
        stack.push_async_callback(policies.stop)
        policies.start()
    single = bool(config.outbound.smarthost)
    return Courier(exchangers, config.smtp.hostname, single=single, policies=policies, login=_login(site))


def _login(site: Site) -> Login | None:
    """Return how to log in to the smarthost, None: it wants none. Raises ConfigurationError."""
    outbound = site.config.outbound
    if not outbound.smarthost_user:
        return None
    path = site.directory / outbound.smarthost_password_file
    try:
        with path.open("rb") as file:
            password = file.readline(_MAX_PASSWORD).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"outbound.smarthost_password_file: {path}: cannot be read: {error}") from error
    if not password:
        raise ConfigurationError(f"outbound.smarthost_password_file: {path}: its first line is empty")
    return Login(outbound.smarthost_user, password)


async def start_relaying(
    stack: AsyncExitStack,
    site: Site,
    together: Together,
    member: Member,
    sender: Sender,
    names: DomainNames,
    trust: Trust,
    resolver: Resolver,
    clock: Clock,
) -> Relaying:
    """Open the queue, begin to empty it and listen for the domain's agents. Raises ConfigurationError."""
    config, hostname = site.config, site.config.smtp.hostname
    directory = site.directory / "gateway-queue"
    with starting(f"{directory}"):
        key = await asyncio.to_thread(load_storage_key, site.keys, site.directory / QUEUE_KEY, directory)
        schedule = Schedule(config.outbound.retry_first * 1_000, config.outbound.retry_last * 1_000)
        queue = Queue(directory, key, clock, schedule=schedule)
        stack.push_async_callback(queue.close)
        tell_if_lost(directory / "queue.db", "mail on its way out", "none: agents send again what they still have")
        await queue.open()
        signer = DkimSigner(config.domain.name, await asyncio.to_thread(site.dkim_keys))
    outbound = Outbound(
        queue,
        Destinations(courier_of(stack, site, together, resolver, clock), signer, clock),
        NetworkDelivery(names, sender, queue, hostname),
        Reporter(names, sender, queue, config.domain.name, hostname, clock),
        config.domain.name,
    )
    stack.push_async_callback(outbound.stop)
    await outbound.start()
    when_nodes_come(member.replicas.substrate, outbound.nodes_came)
    settings = RelaySettings(
        listen=config.relay.listen,
        hostname=hostname,
        temporary_directory=site.temporary,
        max_message_size=config.smtp.max_message_size,
        limits=SmtpLimits(
            messages_per_minute=config.relay.messages_per_minute,
            recipients=config.smtp.max_recipients,
            memory=config.smtp.memory,
        ),
        recipients_per_day=config.relay.recipients_per_day,
    )
    relay = RelayServer(settings, queue, names, trust, site.identity("gateway"), clock)
    stack.push_async_callback(relay.stop)
    with starting("relay.listen"):
        await relay.start()
    return Relaying(queue, outbound, relay)
