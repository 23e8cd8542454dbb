"""The domain as this process knows it: its newest record, and whom an address means (§3.1 step 1).

The record is versioned and signed by the directory. What was adopted once is on disk before it counts, and nothing
adopted ever goes back. It is asked for every HEAD_INTERVAL, more often after a start, and at once when a directory's
head that some reply carried names a newer one, or when more nodes come to be known than the few that were asked.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from p2pcore import names, params
from p2pcore.client.replicas import Replicas
from p2pcore.client.tasks import Tasks
from p2pcore.client.versions import version_of
from p2pcore.clock import Clock
from p2pcore.crypto.certificates import Certificate
from p2pcore.crypto.keys import HpkeKey
from p2pcore.crypto.sealing import open_addresses
from p2pcore.crypto.trust import Trust
from p2pcore.errors import (
    CannotKnow,
    ClockSkew,
    Failure,
    InboxDormant,
    InboxFull,
    NodeFull,
    NoSuchAddress,
    NotOurDomain,
    Tampered,
    UnknownCertificate,
)
from p2pcore.mail.addresses import expand
from p2pcore.mail.certificates import CertificateBook
from p2pcore.mail.inbox_state import InboxState, InboxStates
from p2pcore.mail.record_file import load_record, save_record
from p2pcore.mail.refusal import is_refused
from p2pcore.records import (
    AddressList,
    DomainRecord,
    HeadStatement,
    PublishedVersion,
    Replication,
    SignedStatement,
    decode,
)

_RETRY = 10 * params.SECOND  # without an answer k may be old, without any record nothing works; doubled after a start
_RECENT = 5 * params.SECOND  # before "no such address" the record is asked for again, unless it was so recently

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recipients:
    """The users that an address of ours means: their certificates, by which mail is sealed to them.

    `address` is canonical, so two spellings of one address are equal.
    """

    address: str
    certificates: tuple[Certificate, ...]


class DomainNames:
    """The domain's record and the answers that follow from it.

    `hpke_keys` are this gateway's, with which the address list opens; an agent has none and asks for certificates only.
    `clock_difference` gives the median of the nodes' clocks minus ours in ms.
    `record`, `addresses` and `published` are None until something has been adopted (and opened). `refused`: no node is
    known, and those that the record lists refuse this machine's certificate.
    """

    def __init__(
        self,
        replicas: Replicas,
        trust: Trust,
        clock: Clock,
        cache_dir: Path,
        domain: str,
        hpke_keys: Sequence[HpkeKey] = (),
        *,
        clock_difference: Callable[[], int] = lambda: 0,
    ) -> None:
        self.domain = domain
        self.record: DomainRecord | None = None
        self.addresses: AddressList | None = None
        self.published: PublishedVersion | None = None
        self.refused = False
        self.last_head = 0  # when the directory last spoke, in ms; 0: not heard yet
        self._replicas = replicas
        self._checker = replicas.checker
        self._trust = trust
        self._clock = clock
        self._directory = cache_dir
        self._hpke_keys = tuple(hpke_keys)
        self._clock_difference = clock_difference
        self._certificates = CertificateBook(replicas, trust, clock)
        self._inboxes = InboxStates(replicas, clock)
        self._callbacks: list[Callable[[DomainRecord], None]] = []
        self._adopting = asyncio.Lock()
        self._wake = asyncio.Event()
        self._asking = asyncio.Lock()
        self._asked_of = 0  # how many nodes were known when the network was last asked
        self._confirmed = 0  # when it last answered what the record is, in ms
        self._failed = 0, ""  # when it last did not, and why
        self._looking: asyncio.Task[None] | None = None  # for whoever is told that there is no such address
        self._wanted = b""  # record digest of the newest head
        self._tasks = Tasks()

    async def start(self) -> None:
        """Take the record from disk, if there is one that verifies, and begin to ask for newer ones."""
        try:
            published = await asyncio.to_thread(load_record, self._directory, self._trust)
            if published is not None:
                await self.adopt(published)
        except (OSError, Failure) as error:
            _log.warning("domain record on disk is not used: %s", error)
        self._replicas.substrate.on_change(self._contacts_changed)
        self._tasks.start(self._keep_fresh(), f"domain record of {self.domain}")

    async def stop(self) -> None:
        await self._tasks.stop()
        await self._certificates.stop()
        await self._inboxes.stop()

    def on_record(self, callback: Callable[[DomainRecord], None]) -> None:
        """Call `callback` with each record that is adopted from now on."""
        self._callbacks.append(callback)

    def replication(self) -> tuple[Replication, ...]:
        """Return k and w with their history, () while no record is known."""
        return self.record.replication if self.record else ()

    async def adopt(self, published: PublishedVersion) -> bool:
        """Take `published` if it is newer than what is known; on disk when this returns True.

        Raises what `VersionChecker.check` raises, OSError.
        """
        async with self._adopting:
            if self.published is not None and version_of(published) <= version_of(self.published):
                return False
            self._checker.check(published, "domain", names.domain_identifier(self.domain))
            record = decode(DomainRecord, published.content)
            addresses = await asyncio.to_thread(self._open, record)
            await asyncio.to_thread(save_record, self._directory, published, self._trust)
            self.record, self.addresses, self.published = record, addresses, published
            self._trust.set_revocations(record.revocations)
        for callback in self._callbacks:
            callback(record)
        return True

    def _contacts_changed(self) -> None:
        known = len(self._replicas.substrate.known())
        # what a few said, or a node itself alone, may be old; where none is left, all may refuse this machine
        if self._asked_of < min(known, params.VERSIONED_REPLICAS) or not known:
            self._wake.set()

    async def refresh(self) -> None:
        """Ask the network for the newest record and adopt it. Raises CannotKnow, and what `adopt` raises."""
        async with self._asking:
            await self._ask()

    async def _ask(self) -> None:
        self._asked_of = len(self._replicas.substrate.known())
        try:
            published = await self._replicas.resolve("domain", names.domain_identifier(self.domain))
            if published is not None:
                await self.adopt(published)
            self._confirmed = self._clock()
        except (Failure, OSError) as error:
            self._failed = self._clock(), str(error)
            raise

    def heard(self, heads: Sequence[SignedStatement]) -> None:
        """Look at directory heads that came with a reply: a newer record is asked for soon."""
        for signed in heads:
            head = signed.statement
            if not isinstance(head, HeadStatement) or head.domain != self.domain or head.issued <= self.last_head:
                continue
            try:
                self._checker.verify(signed)
            except Failure as failure:
                # at a start the directory's certificate may come later than what it signed
                level = logging.DEBUG if isinstance(failure, UnknownCertificate) else logging.INFO
                _log.log(level, "head of %s is not believed: %s", self.domain, failure)
                continue
            self.last_head = head.issued
            if self.published is None or head.record_digest != hashlib.sha256(self.published.content).digest():
                if head.record_digest != self._wanted:
                    self._wake.set()
                self._wanted = head.record_digest

    async def recipient(self, address: str) -> Recipients:
        """Return whom mail for `address` goes to, if it can be taken for all of them now.

        Who has not read for long is left out beside others who do: one on leave must not hold up a whole alias.

        Raises Malformed, NotOurDomain, NoSuchAddress (a record within its `next_update` says so), CannotKnow, NoQuorum,
        InboxFull, NodeFull, InboxDormant, ClockSkew (what we date would be believed by nobody, or too long).
        """
        canonical = self._ours_now(address)
        try:
            users = self._users(canonical)
        except NoSuchAddress:
            await self._look_again()
            users = self._users(canonical)
        certificates = [await self._certificates.of(user) for user in users]
        states = [await self._inboxes.of(certificate.inbox_key) for certificate in certificates]
        return self._takers(canonical, certificates, states)

    def known(self, address: str) -> Recipients | None:
        """As `recipient` where that takes no question; None where something is to be asked or refused."""
        certificates: list[Certificate] = []
        states: list[InboxState] = []
        try:
            canonical = self._ours_now(address)
            for user in self._users(canonical):
                certificate = self._certificates.known(user)
                state = None if certificate is None else self._inboxes.known(certificate.inbox_key)
                if certificate is None or state is None:
                    return None
                certificates.append(certificate)
                states.append(state)
            return self._takers(canonical, certificates, states)
        except Failure:
            return None  # `recipient` asks again, or says why

    def _ours_now(self, address: str) -> str:
        """Return the canonical form of an address of ours. Raises Malformed, NotOurDomain, ClockSkew."""
        skew = self._clock_difference()
        if abs(skew) > params.CLOCK_WARNING:
            raise ClockSkew(f"our clock is {-skew // params.SECOND:+d} s from the nodes'")
        return self._ours(address)

    def _ours(self, address: str) -> str:
        canonical = names.canonical_address(address)
        if names.split_address(canonical)[1] != self.domain:
            raise NotOurDomain(f"{address}: not an address at {self.domain}")
        return canonical

    async def _look_again(self) -> None:
        """Ask for the record unless that was done within _RECENT: a user added a moment ago must not be refused.

        A question under way is waited for; one that its asker gives up goes on. Raises CannotKnow where there is no
        answer.
        """
        if self._looking is None or self._looking.done():
            self._looking = self._tasks.start(self._look(), f"record of {self.domain} for an unknown address")
        await asyncio.shield(self._looking)
        if self._clock() - self._confirmed >= _RECENT:
            raise CannotKnow(f"the record of {self.domain} cannot be confirmed: {self._failed[1]}")

    async def _look(self) -> None:
        async with self._asking:
            if self._clock() - max(self._confirmed, self._failed[0]) >= _RECENT:
                with suppress(Failure, OSError):
                    await self._ask()

    async def certificate_of(self, address: str) -> Certificate:
        """Return the certificate whose primary address is `address`. Raises Malformed, NotOurDomain, CannotKnow."""
        return await self._certificates.of(self._ours(address))

    def _users(self, canonical: str) -> tuple[str, ...]:
        if self.record is None or self.addresses is None:
            raise CannotKnow(f"{canonical}: the addresses of {self.domain} are not known here")
        users = expand(self.addresses, canonical)
        if users:
            return users
        if self._clock() < self.record.next_update:
            raise NoSuchAddress(f"{canonical}: no such address")
        raise CannotKnow(f"{canonical}: not in the domain record, which is out of date")

    def _takers(self, canonical: str, certificates: Sequence[Certificate], states: Sequence[InboxState]) -> Recipients:
        """Return those of an address's users who read their mail, or why it cannot be taken for all of these.

        Raises InboxFull, NodeFull, InboxDormant.
        """
        awake: list[Certificate] = []
        dormant: list[str] = []
        for certificate, state in zip(certificates, states, strict=True):
            begun = max(state.last_read, certificate.not_before)  # a new user has not read yet
            if self._clock() - begun > params.DORMANT_AFTER:
                dormant.append(certificate.primary_address)
                continue
            if not state.room and state.full:
                raise InboxFull(f"inbox of {certificate.primary_address} is full")
            if not state.room:
                raise NodeFull(f"the nodes of the inbox of {certificate.primary_address} are full")
            awake.append(certificate)
        if dormant and not awake:
            raise InboxDormant(f"inbox of {dormant[0]} has not been read for a long time")
        if dormant:
            _log.info("mail for %s goes on without %s, who read none for long", canonical, ", ".join(dormant))
        return Recipients(canonical, tuple(awake))

    def _open(self, record: DomainRecord) -> AddressList | None:
        if not self._hpke_keys:
            return None
        try:
            return open_addresses(record, self._hpke_keys)
        except Tampered as failure:  # a gateway that the record does not list (yet): every RCPT is a 451
            _log.warning("address list of %s: %s", self.domain, failure)
            return None

    async def _keep_fresh(self) -> None:
        following = _RETRY
        while True:
            pause = _RETRY
            try:
                await self.refresh()
                if self.record is not None:
                    pause, following = following, min(2 * following, params.HEAD_INTERVAL)
                self.refused = False
            except (Failure, OSError) as error:
                _log.info("domain record of %s: %s", self.domain, error)
                await self._look_whether_refused()
            try:
                async with asyncio.timeout(pause / 1_000):
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()

    async def _look_whether_refused(self) -> None:
        known = self._replicas.substrate.known()
        refused = self.record is not None and not known and await is_refused(self._replicas, self.record)
        if refused and not self.refused:
            _log.warning("the nodes refuse this machine: its certificate is revoked, or has expired; let it join anew")
        self.refused = refused
