"""What a session has around it, as it sees them: the accounts, its connection and the server."""

from typing import Protocol

from gateway.imap.account import Account
from gateway.imap.params import ImapLimits
from gateway.login_delays import LoginDelays
from gateway.mailbox.store import MailStore
from p2pcore.crypto.passwords import ScramVerifier


class Accounts(Protocol):
    """Who may log in; the agent implements it."""

    async def authenticate(self, user: str, password: str) -> MailStore | None:
        """The store of `user` (a whole address or its local part), None if name or password are wrong.

        Takes the same time for a wrong name as for a wrong password. Raises AccountClosed where both are right.
        """

    def counted_as(self, user: str) -> str:
        """The one name of whatever account `user` means, whether there is one or not."""

    @property
    def scram(self) -> bool:
        """Whether SCRAM may be offered: every account has a verifier."""

    def verifier(self, user: str) -> ScramVerifier:
        """The verifier of `user`, or a stable one that fits no password."""

    def proven(self, user: str, verifier: ScramVerifier) -> MailStore | None:
        """The store of `user` once she has proved to know what `verifier` is of; None where it is hers no longer.

        Raises AccountClosed.
        """


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
        """If more than `above` octets are queued, send them and wait until the client has taken enough.

        With `above` other sessions have their turn then.
        """

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
    login_delays: LoginDelays

    async def authenticate(self, user: str, password: str) -> Account | None:
        """The account, counted one session more; None if name or password are wrong.

        Raises No with LIMIT, or UNAVAILABLE where her mail is closed for now.
        """

    @property
    def scram_available(self) -> bool:
        """Whether SCRAM is offered."""

    def verifier(self, user: str) -> ScramVerifier:
        """See Accounts."""

    async def admit(self, user: str, verifier: ScramVerifier) -> Account | None:
        """As `authenticate`, for a user who has proved to know the password of `verifier`."""

    def leave(self, account: Account) -> None:
        """The session ends."""
