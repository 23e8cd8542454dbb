"""One client's session: who it is, what it has selected, what it has switched on, and where its responses go."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from gateway.imap import responses
from gateway.imap.account import Account
from gateway.imap.capabilities import AFTER_LOGIN, BEFORE_LOGIN, CAPABILITIES
from gateway.imap.errors import No
from gateway.imap.params import ImapLimits
from gateway.imap.spool import Spool
from gateway.imap.state import State
from gateway.imap.surroundings import Channel, Doorkeeper
from gateway.imap.view import View
from gateway.mailbox.errors import NoSuchMailbox
from gateway.mailbox.model import Mailbox
from gateway.mailbox.store import MailStore
from gateway.mailbox.tracker import Watch
from p2pcore.networks import is_loopback


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
    tag: str = ""  # of the command under way
    spools: list[Spool] = field(default_factory=list)  # octets of this command's literals without data, in order

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

    @property
    def qresync(self) -> bool:
        return "QRESYNC" in self.enabled

    @property
    def rev2(self) -> bool:
        return "IMAP4rev2" in self.enabled

    @property
    def utf8(self) -> bool:
        """Whether mailbox names are UTF-8 both ways (RFC 6855 §3, RFC 9051 §5.1)."""
        return self.rev2 or "UTF8=ACCEPT" in self.enabled

    def capabilities(self) -> str:
        """The capability list for this state (RFC 3501 §6.1.1)."""
        names = [*CAPABILITIES, *(BEFORE_LOGIN if self.account is None else AFTER_LOGIN)]
        if self.account is None:
            if not self.channel.tls and self.doorkeeper.tls_available:
                names.append("STARTTLS")
            names.append("AUTH=PLAIN" if self.password_allowed else "LOGINDISABLED")
            if self.password_allowed and self.doorkeeper.scram_available:
                names.append("AUTH=SCRAM-SHA-256")  # RFC 7677
        names.append(f"APPENDLIMIT={self.limits.message_size}")  # RFC 7889
        return " ".join(names)

    async def sync(self, *, expunge: bool) -> None:
        """Announce what is new in the selected mailbox."""
        if self.selected is None:
            return
        await self.absorb()
        view = self.selection.view
        if view.has_news:
            self.channel.write(
                view.announce(expunge=expunge, modseq=self.condstore, vanished=self.qresync, recent=not self.rev2)
            )

    async def absorb(self) -> None:
        """Bring the view up to date without announcing anything."""
        watch, view = self.selection.watch, self.selection.view
        if watch.gone:
            view.vanish()
        elif watch.overflowed:
            watch.reset()
            try:
                view.resync(await self.store.snapshot_of(self.selection.mailbox.id))
            except NoSuchMailbox:
                view.vanish()
        else:
            view.absorb(watch.take())

    async def select(self, name: str, *, read_only: bool) -> Selected:
        """Leave the selected mailbox and select another. Raises NoSuchMailbox; then none is selected."""
        await self.deselect()
        account = self.account
        assert account is not None
        snapshot, watch = await self.store.open_mailbox(name)
        mailbox_id = snapshot.mailbox.id

        def claim_recent(uid: int) -> bool:
            claimed = account.claim_recent(mailbox_id, uid, keep=not read_only)
            return (
                claimed and not self.rev2
            )  # RFC 9051 has no \\Recent; this session is told of the message all the same

        view = View(snapshot, claim_recent, read_only=read_only, recent_from=account.recent_mark(mailbox_id))
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

    def list_line(self, word: bytes, attributes: Iterable[str], name: str, extended: bytes = b"") -> None:
        self.channel.write(responses.list_line(word, attributes, name, extended, utf8=self.utf8))

    def untagged(self, data: bytes) -> None:
        self.channel.write(b"* " + data + b"\r\n")

    def untagged_ok(self, text: str, code: str | None = None) -> None:
        self.channel.write(responses.status("*", b"OK", text, code))


class Request(Protocol):
    """A parsed command; each file in commands/ has at least one."""

    async def run(self, session: Session) -> Done:
        """Carry the command out. Raises ImapError, MailboxError."""
