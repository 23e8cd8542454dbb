"""Who may do how much at once: connections, messages, memory. Whatever is taken is given back on every path."""

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from gateway.smtp import params, replies
from gateway.smtp.replies import Refusal
from gateway.smtp.settings import ListenerSettings, SmtpLimits
from p2pcore.networks import holder, parsed

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOSTS = 1_000  # addresses about which is remembered what the settings say


@dataclass(frozen=True, slots=True)
class Client:
    """A connected client. `address` is canonical; `group` is whom the limits per client count: for IPv6 its /64.

    They do not apply where it `is_unlimited`, as everybody is who `is_trusted`.
    """

    address: str
    group: str
    is_loopback: bool
    is_trusted: bool
    is_unlimited: bool


class ClientTable:
    """Tells what the settings say about an address."""

    def __init__(self, settings: ListenerSettings) -> None:
        """Raises ValueError where a network does not parse."""
        self._trusted = networks(settings.trusted_relays)
        self._unlimited = networks(settings.unlimited_clients)
        self._of_host = lru_cache(_HOSTS)(self._judge)

    def client(self, peer: object) -> Client:
        """Return the client behind a transport's `peername`."""
        return self._of_host(str(peer[0]).partition("%")[0] if isinstance(peer, tuple) and peer else "")

    def _judge(self, host: str) -> Client:
        address = parsed(host)
        if address is None:
            return Client("0.0.0.0", "unknown", is_loopback=False, is_trusted=False, is_unlimited=False)  # noqa: S104 - a UNIX socket or a closed one, nothing is bound
        is_trusted = any(address in network for network in self._trusted)
        return Client(
            str(address),
            holder(host),
            is_loopback=address.is_loopback,
            is_trusted=is_trusted,
            is_unlimited=is_trusted or any(address in network for network in self._unlimited),
        )


class Pace:
    """At most `rate` in `period` ms for each of many names; what was not used is not saved beyond one `rate`."""

    def __init__(self, rate: int, period: int, clock: Callable[[], int]) -> None:
        self._rate = rate
        self._period = period
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, int]] = OrderedDict()  # left, at time

    def take(self, name: str, count: int = 1) -> bool:
        """Count `count` more for `name`; False where they are too many now, and nothing is counted."""
        now = self._clock()
        left = self._left_at(name, now)
        self._left.pop(name, None)  # the newest stand last, the oldest are forgotten first
        allowed = left >= count
        self._left[name] = (left - count if allowed else left, now)
        while len(self._left) > params.MAX_CLIENTS_REMEMBERED:
            self._left.popitem(last=False)
        return allowed

    def left(self, name: str) -> int:
        """Return how many `take` would still allow for `name` now."""
        return int(self._left_at(name, self._clock()))

    def give_back(self, name: str, count: int) -> None:
        """Undo a `take` that led to nothing."""
        if name in self._left:
            left, at = self._left[name]
            self._left[name] = (min(float(self._rate), left + count), at)

    def count(self, name: str, count: int, at: int) -> None:
        """Count what was taken `at` an earlier time; to be told in the order of times, before any `take`."""
        self._left[name] = (max(0.0, self._left_at(name, at) - count), at)

    def _left_at(self, name: str, now: int) -> float:
        left, at = self._left.get(name, (float(self._rate), now))
        return min(float(self._rate), left + max(0, now - at) * self._rate / self._period)


class ConnectionLimits:
    """Counts connections and paces messages."""

    def __init__(self, limits: SmtpLimits, clock: Callable[[], int]) -> None:
        self._limits = limits
        self._by_group: Counter[str] = Counter()
        self._total = 0
        self._messages = Pace(limits.messages_per_minute, params.MINUTE, clock)
        self._unknown = Pace(limits.unknown_recipients, params.HOUR, clock)

    @property
    def connections(self) -> int:
        """Connections open now."""
        return self._total

    def connect(self, client: Client) -> None:
        """Count one connection of `client` until `disconnect`. Raises Refusal where it is one too many."""
        if self._total >= self._limits.connections:
            raise Refusal(replies.TOO_MANY_CONNECTIONS)
        if not client.is_unlimited and self._by_group[client.group] >= self._limits.connections_per_client:
            raise Refusal(replies.TOO_MANY_FROM_CLIENT)
        self._total += 1
        self._by_group[client.group] += 1

    def disconnect(self, client: Client) -> None:
        """Give back what `connect` counted."""
        self._total -= 1
        self._by_group[client.group] -= 1
        if not self._by_group[client.group]:
            del self._by_group[client.group]

    def message(self, client: Client) -> None:
        """Count one message of `client`. Raises Refusal where it comes too fast."""
        if not client.is_unlimited and not self._messages.take(client.group):
            raise Refusal(replies.TOO_MANY_MESSAGES)

    def guesses(self, client: Client) -> None:
        """Raises Refusal where `client` has asked for too many addresses that do not exist: no more is answered now."""
        if not (client.is_unlimited or self._unknown.left(client.group)):
            raise Refusal(replies.TOO_MANY_UNKNOWN)

    def guessed_wrong(self, client: Client) -> None:
        """Count one address of `client` that does not exist."""
        self._unknown.take(client.group)


class FailedLogins:
    """Counts failed logins: who guesses is not listened to for a while."""

    def __init__(self, limits: SmtpLimits, clock: Callable[[], int]) -> None:
        self._limits = limits
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, int]] = OrderedDict()  # count, since

    def check(self, client: Client) -> None:
        """Raises Refusal where `client` failed too often within LOGIN_WINDOW."""
        count, since = self._failures.get(client.group, (0, 0))
        if count >= self._limits.failed_logins and self._clock() - since < params.LOGIN_WINDOW:
            raise Refusal(replies.TOO_MANY_LOGINS)

    def failed(self, client: Client) -> None:
        """Count one failure of `client`, unless it is exempt from limits."""
        if client.is_unlimited:
            return
        now = self._clock()
        count, since = self._failures.pop(client.group, (0, now))
        self._failures[client.group] = (count + 1, since) if now - since < params.LOGIN_WINDOW else (1, now)
        while len(self._failures) > params.MAX_CLIENTS_REMEMBERED:
            self._failures.popitem(last=False)


class MemoryBudget:
    """Octets of content that all sessions together may hold in memory."""

    def __init__(self, total: int) -> None:
        self._total = total
        self.used = 0

    def share(self) -> "MemoryShare":
        """Return one transaction's share, empty at first; its owner closes it."""
        return MemoryShare(self)

    def take(self, octets: int) -> None:
        """Raises Refusal where the budget is used up; nothing is taken then."""
        if self.used + octets > self._total:
            raise Refusal(replies.NO_MEMORY, f"{self.used} of {self._total} octets of content in memory")
        self.used += octets

    def give_back(self, octets: int) -> None:
        """Return what was taken."""
        self.used -= octets


class MemoryShare:
    """What one transaction holds of the budget."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._held = 0
        self._buffer = 0

    def take(self, octets: int) -> None:
        """Hold `octets` more. Raises Refusal."""
        self._budget.take(octets)
        self._held += octets

    def give_back(self, octets: int) -> None:
        """Hold `octets` less."""
        octets = min(octets, self._held)
        self._held -= octets
        self._budget.give_back(octets)

    def open_buffer(self) -> None:
        """Hold what of a content may be here before anybody takes it. Raises Refusal: none of it may."""
        self.take(params.CONTENT_CHUNK)
        self._buffer = params.CONTENT_CHUNK

    def buffer(self, received: int) -> int:
        """Return how much of a content that is `received` octets long so far may be here unread; more for large ones.

        What it grows by is held as well; where there is no room for that, it stays as it is.
        """
        more = params.CONTENT_BUFFER - self._buffer
        if more and received > params.CONTENT_CHUNK:
            with suppress(Refusal):
                self.take(more)
                self._buffer = params.CONTENT_BUFFER
        return self._buffer

    def close(self) -> None:
        """Give everything back; may be called again."""
        self.give_back(self._held)


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Return the networks that `texts` name. Raises ValueError."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)
