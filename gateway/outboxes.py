"""The outboxes of this machine's users, and how they file copies and reports in their mailboxes."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from gateway import health
from gateway.accounts import Account
from gateway.backups import outbox_key
from gateway.mail.header_section import HEADER_READ, header_of, message_id
from gateway.mailbox.model import SEEN, NewMessage
from gateway.mailbox.own_copies import OWN_COPY
from gateway.mailbox.search import Header
from gateway.mailbox.store import MailStore
from gateway.network import Member, Network, when_nodes_come
from gateway.outbound.courier import Courier
from gateway.outbox.model import FileOnce
from gateway.outbox.outbox import Outbox
from gateway.outbox.params import OutboxLimits
from gateway.site import Site
from p2pcore import params
from p2pcore.mail.send import Sender
from p2pcore.records import GatewayInfo

_MAY_SEND = "agent.outbox"  # a setting of the mailbox: there once its outbox may send


class Outboxes:
    """One outbox per open account; `courier` is given where users' mail leaves by MX from this machine."""

    def __init__(self, site: Site, network: Network, courier: Courier | None) -> None:
        self._site = site
        self._network = network
        self._courier = courier
        self._open: dict[str, Outbox] = {}
        self._held: dict[str, MailStore] = {}
        when_nodes_come(network.substrate, self._nodes_came)

    def of(self, address: str) -> Outbox:
        """Return the outbox of an open account. Raises KeyError."""
        return self._open[address]

    @property
    def all(self) -> dict[str, Outbox]:
        """The open outboxes by canonical address."""
        return dict(self._open)

    async def open(self, stack: AsyncExitStack, account: Account, member: Member) -> None:
        """Start the outbox of `account`, until `stack` is left. Raises StoreError, OSError."""
        names, submission = self._network.names, self._site.config.submission
        assert names is not None
        sender = Sender(member.replicas, member.signer, self._network.clock)
        stack.push_async_callback(sender.stop)
        outbox = Outbox(
            self._site.account_directory(account.address) / "outbox",
            outbox_key(account.key),
            account.identity,
            names,
            sender,
            self._gateways,
            files_into(account.store, "\\Sent"),
            files_into(account.store, None),
            self._network.clock,
            OutboxLimits(save_sent=submission.save_sent, sent_grace=submission.sent_grace * params.SECOND),
            self._site.temporary,
            self._courier,
        )
        stack.push_async_callback(outbox.stop)
        # A mailbox made anew, or from a backup, does not know what was sent since: its user decides (queue release)
        outbox.held = await account.store.setting(_MAY_SEND) is None
        await outbox.start()
        self._open[account.address] = outbox
        stack.callback(self._open.pop, account.address, None)
        if outbox.held and not (await outbox.status()).waiting:
            await _release(account.store, outbox)
        elif outbox.held:
            self._held[account.address] = account.store
            stack.callback(self._held.pop, account.address, None)

    async def release(self, _: dict[str, object]) -> list[str]:
        """Let every outbox that was held send; return whose they were."""
        released = []
        for address, store in tuple(self._held.items()):
            await _release(store, self._open[address])
            self._held.pop(address, None)
            released.append(address)
        return released

    async def warnings(self) -> list[str]:
        """Return what `status` should say of outboxes that are held, or reach no gateway."""
        warnings = [
            f"{address}: her mailbox is new or from a backup, so her outbox is held; look at it (`p2pmail queue list`),"
            " take out what was sent before (`p2pmail queue remove`), then `p2pmail queue release`"
            for address in self._held
        ]
        for address, outbox in self.all.items():
            warnings += health.of_gateways(address, *await outbox.unreached())
        return warnings

    def _nodes_came(self) -> None:
        for outbox in self._open.values():
            outbox.nodes_came()

    def _gateways(self) -> tuple[GatewayInfo, ...]:
        names = self._network.names
        record = names.record if names else None
        return tuple(gateway for gateway in record.gateways if gateway.port) if record else ()


async def _release(store: MailStore, outbox: Outbox) -> None:
    """Let an outbox send, for good; durable on return."""
    await store.set_setting(_MAY_SEND, b"released")
    outbox.release()


def files_into(store: MailStore, special_use: str | None) -> FileOnce:
    """Return what files copies, seen, in the mailbox of `special_use`, or reports in INBOX (None).

    A copy that her mail reader has filed there itself is not filed again; one that it files later takes ours' place.
    """

    async def file(identity: bytes, content: bytes | Path, time: int) -> None:
        if special_use is not None and await _filed_by_reader(store, special_use, content):
            return
        flags = frozenset({SEEN, OWN_COPY}) if special_use is not None else frozenset[str]()
        await store.file_once(identity, special_use, NewMessage(content, flags, time // 1_000, 0))

    return file


async def _filed_by_reader(store: MailStore, special_use: str, content: bytes | Path) -> bool:
    """Whether her mail reader has filed a copy of its own: the same Message-ID stands in that mailbox."""
    identifier = message_id(await asyncio.to_thread(header_of, content))
    for mailbox in await store.mailboxes():
        if mailbox.special_use != special_use or not identifier:
            continue
        for uid in await store.search(mailbox.id, Header("message-id", identifier.decode(errors="replace"))):
            found = await store.read(mailbox.id, uid, 0, HEADER_READ + 1)
            if message_id(header_of(found)) == identifier:  # not a part of it
                return True
    return False
