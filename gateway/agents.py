"""The agents of this machine's users: one per account, started and stopped with it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from gateway.accounts import Account, Accounts
from gateway.backups import Opened
from gateway.errors import ConfigurationError
from gateway.mailbox_jobs import opened_here
from gateway.network import Member, Network
from gateway.outboxes import Outboxes
from gateway.renewing import Renewals
from gateway.site import Site
from gateway.starting import starting
from gateway.sync.agent import Agent, instance_of
from gateway.sync.cleanup import Cleanup
from gateway.sync.ingest import Ingest
from p2pcore import params
from p2pcore.crypto.keys import HpkeKey
from p2pcore.mail.finish import Finisher
from p2pcore.mail.read import InboxReader
from p2pcore.mail.retrieve import Retriever
from p2pcore.records import Identity

FIRST_PAUSE = 1.0  # seconds before an agent that failed begins again; doubled up to LAST_PAUSE
LAST_PAUSE = 300.0

log = structlog.get_logger("agents")


class Agents:
    """Runs one agent and one outbox per open account."""

    def __init__(
        self, site: Site, network: Network, renewals: Renewals, accounts: Accounts, outboxes: Outboxes
    ) -> None:
        self._site = site
        self._network = network
        self._renewals = renewals
        self._accounts = accounts
        self._outboxes = outboxes
        self.failed: dict[str, str] = {}  # accounts that could not be started, and why
        self._running: dict[str, tuple[asyncio.Task[None], AsyncExitStack]] = {}

    async def start(self) -> None:
        """Open every account of the site and start its agent; one that cannot be started is in `failed`."""
        for address in self._site.account_addresses():
            try:
                await self.add(address)
            except ConfigurationError as error:
                log.error("account not started; the others are", address=address, error=str(error))  # noqa: TRY400 - no defect
                self.failed[address] = str(error)

    async def stop(self) -> None:
        """Stop every agent; the accounts stay open for their owner to close."""
        for address in tuple(self._running):
            await self._cancel(address)

    async def add(self, address: str) -> None:
        """Open the account of a canonical address and start its agent. Raises ConfigurationError, with it closed."""
        account = await self._accounts.open(address)
        try:
            await self._start(account)
        except BaseException:
            await self._accounts.close(address)
            raise
        self.failed.pop(address, None)

    async def _start(self, account: Account) -> None:
        address = account.address
        async with AsyncExitStack() as stack:
            member = await stack.enter_async_context(self._network.member(account.identity))
            with starting(f"{self._site.account_directory(address)}"):
                await self._outboxes.open(stack, account, member)
            file = self._site.account_directory(address) / "identity"
            await self._renewals.follow(stack, member.replicas, file, account.identity, self._renewed)
            task = asyncio.create_task(self._run(account, member), name=f"agent of {address}")
            self._running[address] = task, stack.pop_all()

    async def reload(self, address: str) -> None:
        """Begin again with the identity on disk, whose keys have changed; sessions stay. Raises ConfigurationError."""
        if address not in self._running:
            return  # it could not be started, or is stopping
        await self._cancel(address)
        await self._start(await self._accounts.reload(address))

    async def remove(self, address: str) -> None:
        """Stop the agent of an address, close its account, and let nobody log in; does nothing where there is none."""
        await self._close(address)
        self._accounts.forget(address)

    @asynccontextmanager
    async def opened(self, address: str) -> AsyncIterator[Opened]:
        """Give the open stores of an account; one that could not be started is opened for the time of the block.

        Raises ConfigurationError.
        """
        for account in self._accounts.all:
            if account.address == address:
                directory, outbox = self._site.account_directory(address), self._outboxes.of(address).store
                yield Opened(address, directory, account.identity, account.key, account.store, outbox)
                return
        async with opened_here(self._site, address) as opened:
            yield opened

    @asynccontextmanager
    async def closed(self, address: str) -> AsyncIterator[None]:
        """Keep an account closed for the time of the block, then start its agent again. Raises ConfigurationError."""
        await self._close(address)
        try:
            yield
        finally:
            await self.add(address)

    def _renewed(self, identity: Identity) -> None:
        self._accounts.renew(identity)
        self._outboxes.of(identity.name).renew(identity)

    async def _close(self, address: str) -> None:
        await self._cancel(address)
        await self._accounts.close(address)
        self.failed.pop(address, None)

    async def _cancel(self, address: str) -> None:
        if address in self._running:
            task, stack = self._running.pop(address)
            task.cancel()
            await asyncio.wait([task])
            await stack.aclose()

    async def _run(self, account: Account, member: Member) -> None:
        """Run one agent; a fault in it is logged and it begins again, as after a restart of the process."""
        pause, now = FIRST_PAUSE, asyncio.get_running_loop().time
        while True:
            started = now()
            try:
                await (await self._build(account, member)).run()
            except Exception:
                if now() - started > LAST_PAUSE:
                    pause = FIRST_PAUSE
                log.exception("agent failed; it begins again", address=account.address, seconds=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE)

    def _gateway_hosts(self) -> tuple[str, ...]:
        names = self._network.names
        record = names.record if names else None
        return tuple(gateway.host for gateway in record.gateways) if record else ()

    async def _build(self, account: Account, member: Member) -> Agent:
        network = self._network
        instance = await instance_of(account.store, network.clock())
        keys = [HpkeKey.from_bytes(key) for key in account.identity.hpke_keys]
        reader = InboxReader(
            member.replicas,
            member.peers,
            member.signer.certificate.inbox_key,
            instance.name,
            network.clock,
            foreign=lambda other: _warn_of_second_agent(account.address, other),
            began=instance.began,
            refused=lambda entry, failure: ingest.refused(entry, failure),
            seen=account.store.seen,
        )
        retriever = Retriever(member.replicas, self._site.temporary)
        ingest = Ingest(
            account.store,
            retriever,
            keys,
            self._site.config.domain.name,
            give_up=reader.reopen,
            compromised=network.trust.is_compromised,
            clock=network.clock,
            keep=self._site.config.sync.keep_days * params.DAY,
            hosts=self._gateway_hosts,
        )
        cleanup = Cleanup(
            account.store, Finisher(member.replicas, member.signer, instance.name, network.clock), network.clock
        )
        return Agent(reader, ingest, cleanup)


def _warn_of_second_agent(address: str, instance: bytes) -> None:
    log.error("another agent reads this inbox: the mail is being split", address=address, instance=instance.hex())
