"""One client's session: who it is, what it has selected, what it has switched on, and where its responses go."""

import ipaddress
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from gateway.imap import responses
from gateway.imap.account import Account
from gateway.imap.capabilities import CAPABILITIES
from gateway.imap.errors import No
from gateway.imap.params import ImapLimits
from gateway.imap.spool import Spool
from gateway.imap.state import State
from gateway.imap.view import View
from gateway.mailbox.errors import NoSuchMailbox
from gateway.mailbox.model import Mailbox
from gateway.mailbox.store import MailStore
from gateway.mailbox.tracker import Watch


class Accounts(Protocol):
    """Who may log in; the agent implements it."""

    async def authenticate(self, user: str, password: str) -> MailStore | None:
        """The store of `user` (a whole address or its local part), None if name or password are wrong.

        Takes the same time for a wrong name as for a wrong password.
        """


class Then(Enum):
    """What follows a command's tagged response."""

    CONTINUE = "the next command"
    CLOSE = "the end of the connection"
    START_TLS = "a TLS handshake"


@dataclass(frozen=True, slots=True)
class Done:
    """A command that succeeded: the text and response code of its tagged OK."""

    text: str = ""
    code: str | None = None
    then: Then = Then.CONTINUE


class Channel(Protocol):
    """The connection as commands see it."""

    @property
    def tls(self) -> bool:
        """Whether TLS is on."""

    @property
    def peer(self) -> str:
        """The client's IP address."""

    def write(self, data: bytes) -> None:
        """Queue response octets."""

    async def flush(self, above: int = 0) -> None:
        """If more than `above` octets are queued, send them and wait until the client has taken enough."""

    async def read_line(self) -> bytes:
        """The client's next line, outside any command."""

    async def pause(self, seconds: float) -> None:
        """Let the client wait; the server's stopping ends this."""

    def abort(self) -> None:
        """Break the connection: a response that was begun cannot be ended."""


class Doorkeeper(Protocol):
    """The server as sessions see it: logging in and the account's number of sessions."""

    limits: ImapLimits
    tls_available: bool

    async def authenticate(self, user: str, password: str) -> Account | None:
        """The account, counted one session more; None if name or password are wrong. Raises No with LIMIT."""

    def leave(self, account: Account) -> None:
        """The session ends."""


@dataclass(slots=True)
class Selected:
    """The selected mailbox."""

    mailbox: Mailbox  # as it was when selected; only its ID and UIDVALIDITY stay true
    read_only: bool
    view: View
    watch: Watch


@dataclass(slots=True)
class Session:
    """Everything a command may need."""

    channel: Channel
    doorkeeper: Doorkeeper
    account: Account | None = None
    selected: Selected | None = None
    enabled: set[str] = field(default_factory=set)
    failed_logins: int = 0
    spool: Spool | None = None  # holds the octets of the one literal of this command that has no data of its own

    @property
    def state(self) -> State:
        if self.account is None:
            return State.NOT_AUTHENTICATED
        return State.AUTHENTICATED if self.selected is None else State.SELECTED

    @property
    def limits(self) -> ImapLimits:
        return self.doorkeeper.limits

    @property
    def store(self) -> MailStore:
        assert self.account is not None, "the state table lets only logged-in sessions here"
        return self.account.store

    @property
    def selection(self) -> Selected:
        assert self.selected is not None, "the state table lets only sessions with a mailbox here"
        return self.selected

    @property
    def writable_selection(self) -> Selected:
        """The selection for commands that change it. Raises No after EXAMINE."""
        if self.selection.read_only:
            raise No("the mailbox was opened read-only", "READ-ONLY")
        return self.selection

    @property
    def password_allowed(self) -> bool:
        """Whether a password may be asked for here: never in clear over a network (RFC 3501 §6.2.3, §11.2)."""
        return self.channel.tls or is_loopback(self.channel.peer)

    @property
    def condstore(self) -> bool:
        return "CONDSTORE" in self.enabled

    def capabilities(self) -> str:
        """The capability list for this state (RFC 3501 §6.1.1)."""
        names = list(CAPABILITIES)
        if self.account is None:
            if not self.channel.tls and self.doorkeeper.tls_available:
                names.append("STARTTLS")
            names.append("AUTH=PLAIN" if self.password_allowed else "LOGINDISABLED")
        names.append(f"APPENDLIMIT={self.limits.message_size}")  # RFC 7889
        return " ".join(names)

    async def sync(self, *, expunge: bool) -> None:
        """Announce what is new in the selected mailbox."""
        if self.selected is None:
            return
        await self.absorb()
        view = self.selection.view
        if view.has_news:
            self.channel.write(view.announce(expunge=expunge, modseq=self.condstore))

    async def absorb(self) -> None:
        """Bring the view up to date without announcing anything."""
        watch, view = self.selection.watch, self.selection.view
        if watch.gone:
            view.vanish()
        elif watch.overflowed:
            watch.reset()
            try:
                view.resync(await self.store.snapshot(await self._selected_name()))
            except NoSuchMailbox:
                view.vanish()
        else:
            view.absorb(watch.take())

    async def _selected_name(self) -> str:
        """The selected mailbox's name now: it may have been renamed."""
        for mailbox in await self.store.mailboxes():
            if mailbox.id == self.selection.mailbox.id:
                return mailbox.name
        raise NoSuchMailbox("the selected mailbox was deleted")

    async def select(self, name: str, *, read_only: bool) -> Selected:
        """Leave the selected mailbox and select another. Raises NoSuchMailbox; then none is selected."""
        await self.deselect()
        account = self.account
        assert account is not None
        found = await self.store.mailbox(name)
        watch = self.store.tracker.watch(found.id)  # before the snapshot, so that nothing falls between
        try:
            snapshot = await self.store.snapshot(name)
        except BaseException:
            watch.close()
            raise
        if snapshot.mailbox.id != found.id:
            watch.close()
            raise No("the mailbox was replaced at this moment; select it again", "INUSE")
        mailbox_id = found.id
        view = View(
            snapshot, lambda uid: account.claim_recent(mailbox_id, uid, keep=not read_only), read_only=read_only
        )
        self.selected = Selected(snapshot.mailbox, read_only, view, watch)
        return self.selected

    async def deselect(self) -> None:
        """Leave the selected mailbox, if one is."""
        if self.selected is not None:
            self.selected.watch.close()
            self.selected = None
            if self.account is not None:
                await self.account.save()

    async def end(self) -> None:
        """Give back everything that the session holds."""
        account = self.account
        try:
            await self.deselect()
        finally:
            self.account = None
            if account is not None:
                self.doorkeeper.leave(account)

    def tell_keywords(self) -> None:
        """Announce keywords that the client has not seen, before a response uses them."""
        news = self.selection.view.announce_keywords()
        if news:
            self.channel.write(news)

    def untagged(self, data: bytes) -> None:
        self.channel.write(b"* " + data + b"\r\n")

    def untagged_ok(self, text: str, code: str | None = None) -> None:
        self.channel.write(responses.status("*", b"OK", text, code))


def is_loopback(address: str) -> bool:
    """Whether a peer's address is this machine's own."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


class Request(Protocol):
    """A parsed command; each file in commands/ has at least one."""

    async def run(self, session: Session) -> Done:
        """Carry the command out. Raises ImapError, MailboxError."""
