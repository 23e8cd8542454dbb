"""What `p2pmail status` shows: roles, contacts, what the node holds, accounts, and warnings worth acting on."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gateway import health
from gateway.accounts import Account, Accounts
from gateway.agents import Agents
from gateway.network import Network
from gateway.outboxes import Outboxes
from gateway.queues import Queues
from gateway.renewing import Renewals
from gateway.site import Site
from p2pcore import params
from p2pcore.client import placement
from p2pcore.client.availability import Availability
from p2pcore.client.plan import majority
from p2pcore.client.primitives import PeerClient
from p2pcore.errors import CannotKnow
from p2pcore.node.node import Node


class Status:
    """Gathers the report of a running machine."""

    def __init__(
        self,
        site: Site,
        network: Network,
        renewals: Renewals,
        peers: PeerClient,
        node: Node | None,
        accounts: Accounts,
        agents: Agents,
        queues: Queues,
        availability: Availability,
        outboxes: Outboxes,
        further: Sequence["Status"] = (),
    ) -> None:
        """`further`: of the further domains whose gateways run in this process."""
        self._site = site
        self._network = network
        self._renewals = renewals
        self._peers = peers
        self._node = node
        self._accounts = accounts
        self._agents = agents
        self._queues = queues
        self._availability = availability
        self._outboxes = outboxes
        self._further = further
        self._started = network.clock()

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
            report["repair"] = asdict(self._node.repaired())
        report["availability"] = asdict(self._availability.estimate())
        report["waiting"] = await self._queues.counts()
        report["accounts"] = [await self._account(account) for account in self._accounts.all]
        further = [await each.report({}) for each in self._further]
        report["also"] = [each["domain"] for each in further]
        report["warnings"] = await self._warnings(replication) + [
            f"{each['domain']}: {warning}" for each in further for warning in each["warnings"]
        ]
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

    async def _warnings(self, replication: tuple[int, int]) -> list[str]:
        k, w = replication
        names, known = self._network.names, len(self._network.substrate.known())
        refused = names is not None and names.refused
        warnings = [health.REFUSED] if refused else health.of_copies(k, w, known)
        called_for = self._availability.estimate()
        if k and called_for.up is not None and called_for.k is not None and k < called_for.k:
            warnings.append(too_few_copies(k, called_for.up, called_for.k, known))
        warnings += health.of_clock(self._peers.clock_difference())
        if names is not None:
            warnings += health.of_directory(names.record, names.last_head, self._started, self._network.clock())
        warnings += [f"{address}: her account is not running: {why}" for address, why in self._agents.failed.items()]
        return warnings + await self._outboxes.warnings() + self._renewals.warnings()


def too_few_copies(k: int, up: float, called_for: int, known: int) -> str:
    """Return what is wrong with the domain's `k`, and what to do; `known` nodes are there, each up with `up`."""
    found = f"a node is up with probability {up:.3g}: k = {called_for} is called for, k = {k} is set"
    if called_for > params.MAX_K:
        return f"{found}; {params.MAX_K} is the largest: `p2pmail plan --p {up:.3g}` says what it reaches"
    setting = f"`p2pmail domain set k={called_for} w={majority(called_for)}` on the directory's machine"
    if known < called_for:
        more = called_for - known
        nodes = "one more node" if more == 1 else f"{more} more nodes"
        return f"{found}; let {nodes} join (`p2pmail invite node NAME`), then {setting}"
    return f"{found}: {setting}"
