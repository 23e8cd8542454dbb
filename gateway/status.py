"""What `p2pmail status` shows: roles, contacts, what the node holds, accounts, and warnings worth acting on."""

from typing import Any

from gateway.accounts import Account, Accounts
from gateway.network import Network
from gateway.queues import Queues
from gateway.site import Site
from p2pcore import params
from p2pcore.client import placement
from p2pcore.client.primitives import PeerClient
from p2pcore.errors import CannotKnow
from p2pcore.node.node import Node


class Status:
    """Gathers the report of a running machine."""

    def __init__(
        self,
        site: Site,
        network: Network,
        peers: PeerClient,
        node: Node | None,
        accounts: Accounts,
        queues: Queues,
    ) -> None:
        self._site = site
        self._network = network
        self._peers = peers
        self._node = node
        self._accounts = accounts
        self._queues = queues

    async def report(self, _: dict[str, Any]) -> dict[str, Any]:
        """Return the report as plain values."""
        replication = self._replication()
        report: dict[str, Any] = {
            "domain": self._site.config.domain.name,
            "roles": list(self._site.config.domain.roles),
            "contacts": len(self._network.substrate.known()),
            "replication": {"k": replication[0], "w": replication[1]},
        }
        if self._node is not None:
            counts = self._node.counts()
            report["node"] = {
                "objects": counts.objects,
                "entries": counts.entries,
                "octets": counts.octets,
                "versions": counts.versions,
                "tombstones": counts.tombstones,
            }
        report["waiting"] = await self._queues.counts()
        report["accounts"] = [await self._account(account) for account in self._accounts.all]
        report["warnings"] = self._warnings(replication)
        return report

    def _replication(self) -> tuple[int, int]:
        try:
            current = placement.current(self._network.replication(), self._network.clock())
        except CannotKnow:
            return 0, 0
        return current.k, current.w

    async def _account(self, account: Account) -> dict[str, Any]:
        mailboxes, messages = await account.store.counts()
        return {"address": account.address, "mailboxes": mailboxes, "messages": messages}

    def _warnings(self, replication: tuple[int, int]) -> list[str]:
        k, _ = replication
        warnings = []
        if k == 0:
            warnings.append("the domain record is not known yet: mail is answered 451 until a node gives it")
        if k == 1:
            warnings.append(
                "k = 1: every object is on one disk only; let two more nodes join (`p2pmail invite node NAME`), "
                "then `p2pmail domain set k=3 w=2`"
            )
        if len(self._network.substrate.known()) < k:
            warnings.append(f"fewer nodes are known than k = {k}")
        skew = self._peers.clock_difference()
        if abs(skew) > params.CLOCK_WARNING:
            warnings.append(f"this machine's clock is {skew / 1000:+.0f} s from the other nodes': set it right")
        record = self._network.names.record if self._network.names else None
        if record is not None and record.next_update < self._network.clock():
            warnings.append("the domain record is out of date: is the directory running?")
        return warnings
