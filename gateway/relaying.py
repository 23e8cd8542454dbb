"""What a gateway sends for its domain's users: the relay port, the durable queue, delivery by MX, DKIM, reports."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from gateway.config import Config
from gateway.config_rules import dkim_selector, relay_endpoint, smarthost
from gateway.network import Member
from gateway.outbound.bounce import Reporter
from gateway.outbound.courier import Courier
from gateway.outbound.destinations import Destinations
from gateway.outbound.dkim import DkimSigner
from gateway.outbound.mx import MailExchangers
from gateway.outbound.network import NetworkDelivery
from gateway.outbound.queue import Queue
from gateway.outbound.schedule import Schedule
from gateway.outbound.service import Outbound
from gateway.outbound.storage_key import KEY_NAME, load_storage_key
from gateway.resolver import Resolver
from gateway.site import Site
from gateway.smtp.relay import RelayServer
from gateway.smtp.settings import RelaySettings, SmtpLimits
from gateway.starting import starting
from p2pcore.clock import Clock
from p2pcore.crypto.trust import Trust
from p2pcore.mail.names import DomainNames
from p2pcore.mail.send import Sender


@dataclass(frozen=True, slots=True)
class Relaying:
    """A gateway's outgoing side while it runs."""

    queue: Queue
    outbound: Outbound
    server: RelayServer


def courier_of(config: Config, resolver: Resolver) -> Courier:
    """Return the courier to other domains' MX hosts, or to the smarthost."""
    relay = relay_endpoint(config)
    exchangers = MailExchangers(
        resolver,
        port=config.outbound.port,
        own_names=(config.smtp.hostname, relay.host),
        own_endpoints=config.smtp.listen,
        smarthost=smarthost(config),
    )
    return Courier(exchangers, config.smtp.hostname)


async def start_relaying(
    stack: AsyncExitStack,
    site: Site,
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
        key = await asyncio.to_thread(load_storage_key, site.directory / KEY_NAME, directory)
        schedule = Schedule(config.outbound.retry_first * 1_000, config.outbound.retry_last * 1_000)
        queue = Queue(directory, key, clock, schedule=schedule)
        stack.push_async_callback(queue.close)
        await queue.open()
        signer = DkimSigner(config.domain.name, dkim_selector(config), await asyncio.to_thread(site.dkim_key))
    outbound = Outbound(
        queue,
        Destinations(courier_of(config, resolver), signer, clock),
        NetworkDelivery(names, sender, queue, hostname),
        Reporter(names, sender, queue, config.domain.name, hostname, clock),
        config.domain.name,
    )
    stack.push_async_callback(outbound.stop)
    await outbound.start()
    settings = RelaySettings(
        listen=config.relay.listen,
        hostname=hostname,
        temporary_directory=site.temporary,
        max_message_size=config.smtp.max_message_size,
        limits=SmtpLimits(recipients=config.smtp.max_recipients, memory=config.smtp.memory),
    )
    relay = RelayServer(settings, queue, names, trust, site.identity("gateway"), clock)
    stack.push_async_callback(relay.stop)
    with starting("relay.listen"):
        await relay.start()
    return Relaying(queue, outbound, relay)
