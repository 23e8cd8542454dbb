"""The map: every part of one machine, built and started in this order, stopped in the reverse.

site        lock, configuration, identities
network     trust, DHT substrate, domain record
node        what others store here
directory   publishes the domain
gateway     its users' mail to the outside, and mail from there
agent       users' inboxes into their mailboxes, and their outboxes
IMAP        what mail readers see; submission, where they send
control     what the administrator asks
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import msgspec
import uvloop

from gateway import logs
from gateway.account_commands import Hooks
from gateway.accounts import Accounts
from gateway.administration import Administration
from gateway.agents import Agents
from gateway.autoconfig import AutoconfigServer
from gateway.config_rules import advertised
from gateway.control import ControlServer
from gateway.endpoints import check_endpoints
from gateway.founding import open_directory
from gateway.further import Together, further_sites
from gateway.imap.params import ImapLimits
from gateway.imap.server import ImapServer
from gateway.mailbox_jobs import MailboxJobs
from gateway.network import Member, Network, Signers, told_contacts
from gateway.outboxes import Outboxes
from gateway.queues import Queues
from gateway.relaying import Relaying, courier_of, start_relaying
from gateway.renewing import Renewals, renew_from_book
from gateway.resolver import Resolver
from gateway.site import Site, check_access, make_private
from gateway.smtp.relayed import RelayedReports
from gateway.smtp.server import GatewaySmtp
from gateway.smtp.settings import SmtpLimits, SmtpSettings, SubmissionSettings
from gateway.smtp.submission import SubmissionServer
from gateway.starting import settle_memory, starting, tls_context, until_signalled
from gateway.status import Status
from gateway.tls_files import TlsFiles
from p2pcore.client.availability import Availability
from p2pcore.clock import Clock, system_clock
from p2pcore.crypto.keys import HpkeKey
from p2pcore.crypto.trust import Trust
from p2pcore.dht.kademlia import KademliaSubstrate
from p2pcore.directory.directory import Directory
from p2pcore.directory.heads import HeadSpreader
from p2pcore.directory.publishing import DirectoryPublisher
from p2pcore.mail.names import DomainNames
from p2pcore.mail.send import Sender
from p2pcore.node.node import Node
from p2pcore.node.settings import Limits, NodeSettings

WhenUp = Callable[[], Coroutine[None, None, None]]


def serve(site: Site, when_up: WhenUp | None = None) -> None:
    """Run the roles of `site` until SIGINT, SIGTERM or SIGHUP. Raises ConfigurationError with nothing left running.

    Prints one line beginning with "p2pmail is up" when everything listens; then `when_up` runs beside it.
    """
    logs.configure(site.config.log.level)
    with site.locked(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(until_signalled(_run(site, when_up)))


async def _run(site: Site, when_up: WhenUp | None) -> None:
    async with running(site), asyncio.TaskGroup() as tasks:
        settle_memory()
        print(f"p2pmail is up: {'; '.join(map(_told, (site, *further_sites(site))))}", flush=True)
        if when_up is not None:
            tasks.create_task(when_up(), name="when up")
        await asyncio.get_running_loop().create_future()  # until cancelled


def _told(site: Site) -> str:
    return f"{', '.join(site.config.domain.roles)} of {site.config.domain.name}"


@asynccontextmanager
async def running(site: Site) -> AsyncIterator[Status]:
    """Start every role of `site`, and further domains' sites; on leaving, stop them in reverse order.

    The caller holds the lock of `site`. Raises ConfigurationError with everything stopped again.
    """
    async with _running(site, Together((site, *further_sites(site)))) as status:
        yield status


@asynccontextmanager
async def _running(site: Site, together: Together) -> AsyncIterator[Status]:
    config, clock = site.config, system_clock
    await asyncio.to_thread(check_endpoints, config, smtp=together.listener is None)
    with starting(f"{site.directory}"):
        for place in (site.cache, site.temporary):
            make_private(place)
        check_access(site.cache, site.temporary, site.accounts)
    await asyncio.to_thread(site.seal_keys)
    roles = config.domain.roles
    has_listener = "agent" in roles or ("gateway" in roles and together.listener is None)
    tls = tls_context(site) if has_listener else None
    async with AsyncExitStack() as stack:
        directory = await _open_directory(stack, site) if "directory" in roles else None
        network, own = await _join_network(stack, site, clock)
        names = network.names
        assert names is not None
        renewals = Renewals(network, site.keys)
        node = await _start_node(stack, site, network, names) if "node" in roles else None
        if directory is not None:
            await _start_directory(stack, site, network, names, directory)
        stack.push_async_callback(names.stop)
        await names.start()
        resolver = Resolver(config.outbound.resolvers)
        relaying: Relaying | None = None
        further: Sequence[Status] = ()
        if "gateway" in roles:
            relaying, further = await _start_gateway(stack, site, network, names, resolver, together, tls)
        await renewals.follow_machine(stack, own.replicas, site, relaying.server.renew if relaying else None)
        accounts = Accounts(site)
        stack.push_async_callback(accounts.close_all)
        direct = config.submission.deliver == "direct"
        courier = courier_of(stack, site, together, resolver, clock) if direct else None
        outboxes = Outboxes(site, network, courier)
        agents = Agents(site, network, renewals, accounts, outboxes)
        stack.push_async_callback(agents.stop)
        if "agent" in roles:
            await agents.start()
            await _start_imap(stack, site, accounts, tls)
            await _start_submission(stack, site, accounts, outboxes, clock, tls)
        await _start_autoconfig(stack, site)
        queues = Queues(relaying, lambda: outboxes.all)
        availability = Availability(network.substrate, own.signer.certificate.node_id, clock, site.uptimes)
        stack.push_async_callback(availability.stop)
        await availability.start()
        status = Status(
            site, network, renewals, own.peers, node, accounts, agents, queues, availability, outboxes, further
        )
        jobs = MailboxJobs(site, agents.opened, agents.closed)
        stack.push_async_callback(jobs.stop)
        administration = Administration(
            site,
            directory,
            hooks=Hooks(agents.add, agents.remove, accounts.reload_password, agents.reload),
            record_changed=names.adopt,
            contacts=lambda: told_contacts(network, own, advertised(config)),
        )
        administration.commands.update(queues.commands)
        administration.commands["queue-release"] = outboxes.release
        await _start_control(stack, site, administration, status, jobs)
        yield status


async def _open_directory(stack: AsyncExitStack, site: Site) -> Directory:
    """Open the book; what it knows of this machine's own certificates is taken from it before anything uses them."""
    directory = await asyncio.to_thread(open_directory, site)
    stack.callback(directory.close)
    with starting(f"{site.directory}"):
        await asyncio.to_thread(renew_from_book, site, directory)
    return directory


async def _join_network(stack: AsyncExitStack, site: Site, clock: Clock) -> tuple[Network, Member]:
    """Start the DHT substrate under this machine's own identity and prepare to know the domain's record."""
    config = site.config
    identity = site.own_identity()
    opening = site.identity("gateway").hpke_keys if "gateway" in config.domain.roles else ()  # the address list
    is_node = "node" in config.domain.roles
    with starting(f"{site.directory}: identity of {identity.role} {identity.name}"):
        trust = Trust(identity.authority, config.domain.name)
        signers = Signers(trust)
        signer = signers.of(identity)
    substrate = KademliaSubstrate(
        signer,
        trust,
        clock,
        listen=config.node.listen if is_node else None,
        node=is_node,
        contacts_file=site.contacts,
    )
    stack.push_async_callback(substrate.stop)
    with starting("node.listen"):
        await substrate.start([(endpoint.host, endpoint.port, None) for endpoint in config.node.bootstrap])
    network = Network(trust, signers, substrate, clock, site.temporary)
    own = await stack.enter_async_context(network.member(identity))
    keys = [HpkeKey.from_bytes(key) for key in opening]
    network.names = DomainNames(
        own.replicas, trust, clock, site.cache, config.domain.name, keys, clock_difference=own.peers.clock_difference
    )
    network.names.on_record(lambda record: substrate.listed(record.bootstrap))
    return network, own


async def _start_node(stack: AsyncExitStack, site: Site, network: Network, names: DomainNames) -> Node:
    identity = site.identity("node")
    config = site.config.node
    limits = Limits(disk_reserve=config.disk_reserve, connections=config.max_connections)
    settings = NodeSettings(site.node, config.listen, config.quota, limits)
    signer = network.signers.of(identity)
    node = Node(settings, identity, signer, network.trust, network.substrate, network.clock, network.replication)
    node.on_heads(names.heard)
    stack.push_async_callback(node.stop)
    with starting(f"{site.node}", "node.listen"):
        await node.start()
    return node


async def _start_directory(
    stack: AsyncExitStack, site: Site, network: Network, names: DomainNames, directory: Directory
) -> None:
    newest = directory.signer.certificate  # the book's: it renews itself
    identity = msgspec.structs.replace(site.identity("directory"), certificate=newest.der)
    member = await stack.enter_async_context(network.member(identity))
    await names.adopt(await asyncio.to_thread(directory.current_record))
    spreader = HeadSpreader(network.substrate, member.replicas)
    publisher = DirectoryPublisher(directory, member.replicas, spreader, trust=network.trust, own=member.signer)
    await publisher.start()
    stack.push_async_callback(publisher.stop)


async def _start_gateway(
    stack: AsyncExitStack,
    site: Site,
    network: Network,
    names: DomainNames,
    resolver: Resolver,
    together: Together,
    tls: TlsFiles | None,
) -> tuple[Relaying, list[Status]]:
    """Start what is this site's alone; then, where it is the first, further domains' sites, and listen for all."""
    config = site.config
    member = await stack.enter_async_context(network.member(site.identity("gateway")))
    sender = Sender(member.replicas, member.signer, network.clock)
    stack.push_async_callback(sender.stop)
    relaying = await start_relaying(
        stack, site, together, member, sender, names, network.trust, resolver, network.clock
    )
    reports = RelayedReports(relaying.queue, names.domain, config.smtp.hostname, network.clock)
    further: list[Status] = []
    if together.listener is not None:
        together.listener.serve(names, sender, config.smtp.hostname, reports)
    else:
        smtp = GatewaySmtp(_smtp_settings(site), names, sender, tls, resolver, network.clock, reports=reports)
        for other in together.sites[1:]:
            stack.enter_context(other.locked())
            further.append(await stack.enter_async_context(_running(other, replace(together, listener=smtp))))
        stack.push_async_callback(smtp.stop)
        with starting("smtp.listen"):
            await smtp.start()
    return relaying, further


def _smtp_settings(site: Site) -> SmtpSettings:
    config = site.config
    return SmtpSettings(
        listen=config.smtp.listen,
        hostname=config.smtp.hostname,
        temporary_directory=site.temporary,
        max_message_size=config.smtp.max_message_size,
        verify=config.smtp.verify,
        trusted_relays=config.smtp.trusted_relays,
        dmarc_overrides=config.smtp.dmarc_overrides,
        limits=SmtpLimits(
            connections=config.smtp.max_connections,
            connections_per_client=config.smtp.max_connections_per_client,
            messages_per_minute=config.smtp.messages_per_minute,
            recipients=config.smtp.max_recipients,
            memory=config.smtp.memory,
        ),
    )


async def _start_autoconfig(stack: AsyncExitStack, site: Site) -> None:
    server = AutoconfigServer(site.config)
    stack.push_async_callback(server.stop)
    with starting("autoconfig.listen"):
        await server.start()


async def _start_imap(stack: AsyncExitStack, site: Site, accounts: Accounts, tls: TlsFiles | None) -> None:
    config = site.config
    limits = ImapLimits(
        connections=config.imap.max_connections,
        connections_per_account=config.imap.max_connections_per_account,
        message_size=config.smtp.max_message_size,
    )
    server = ImapServer(accounts, tls, limits, spool_directory=site.temporary)
    accounts.on_close(server.dismiss)
    stack.push_async_callback(server.stop)
    with starting("imap.listen or imaps.listen"):
        await server.start(list(config.imap.listen), list(config.imaps.listen))


async def _start_submission(
    stack: AsyncExitStack, site: Site, accounts: Accounts, outboxes: Outboxes, clock: Clock, tls: TlsFiles | None
) -> None:
    config = site.config
    settings = SubmissionSettings(
        listen=config.submission.listen,
        hostname=config.smtp.hostname,
        listen_tls=config.submissions.listen,
        max_message_size=config.smtp.max_message_size,
        limits=SmtpLimits(recipients=config.smtp.max_recipients, memory=config.smtp.memory),
    )
    server = SubmissionServer(
        settings, accounts.authenticate_sender, outboxes.of, tls, clock, counted_as=accounts.counted_as
    )
    stack.push_async_callback(server.stop)
    with starting("submission.listen or submissions.listen"):
        await server.start()


async def _start_control(
    stack: AsyncExitStack, site: Site, administration: Administration, status: Status, jobs: MailboxJobs
) -> None:
    administration.commands["status"] = status.report  # one of them: an account is not closed while it is counted
    handlers = {name: _bound(administration, name) for name in administration.commands}
    control = ControlServer(site.control_socket, handlers | jobs.commands)
    stack.push_async_callback(control.stop)
    with starting(f"{site.control_socket}"):
        await control.start()


def _bound(administration: Administration, command: str) -> Callable[[dict[str, object]], Awaitable[object]]:
    return lambda arguments: administration.run(command, arguments)
