"""LOGIN (RFC 3501 §6.2.3), and the checks that AUTHENTICATE shares with it."""

from dataclasses import dataclass

from gateway.imap import params
from gateway.imap.account import Account
from gateway.imap.errors import Bye, ImapError, No
from gateway.imap.lexer import Lexer
from gateway.imap.session import Done, Session


@dataclass(frozen=True, slots=True)
class Login:
    user: bytes
    password: bytes

    @classmethod
    def parse(cls, lexer: Lexer) -> "Login":
        lexer.space()
        user = lexer.astring("a user name")
        lexer.space()
        return cls(user, lexer.astring("a password"))

    async def run(self, session: Session) -> Done:
        require_privacy(session)
        return await log_in(session, self.user, self.password)


def require_privacy(session: Session) -> None:
    """Raise No unless a password may be given here (RFC 3501 §6.2.3: LOGINDISABLED)."""
    if not session.password_allowed:
        raise No("a password is not taken in clear; use STARTTLS first", "PRIVACYREQUIRED")


async def log_in(session: Session, user: bytes, password: bytes) -> Done:
    """Log the session in. Raises No with AUTHENTICATIONFAILED after a delay, Bye after too many failures."""
    name = user.decode("utf-8", "replace")
    await wait_for_turn(session, name)
    try:
        account = await session.doorkeeper.authenticate(user.decode("utf-8"), password.decode("utf-8"))
    except UnicodeDecodeError:
        account = None
    return await admitted(session, name, account)


async def wait_for_turn(session: Session, user: str) -> None:
    """Let an attempt wait where the address or the account has had many that failed."""
    seconds = session.doorkeeper.login_delays.wait(session.channel.peer, user)
    if seconds:
        await session.channel.pause(seconds)


async def refuse_login(session: Session, user: str) -> ImapError:
    """Let a client that failed to log in wait; return how it is refused: Bye after too many failures."""
    session.failed_logins += 1
    session.doorkeeper.login_delays.failed(session.channel.peer, user)
    # only this connection waits: each has its own task
    await session.channel.pause(session.limits.failed_login_delay * 2 ** (session.failed_logins - 1))
    if session.failed_logins >= params.LOGIN_FAILURES:
        return Bye("too many failed logins")
    return No("wrong user name or password", "AUTHENTICATIONFAILED")


async def admitted(session: Session, user: str, account: Account | None) -> Done:
    """Log the session in to `account`. Raises as `log_in` where there is none."""
    if account is None:
        raise await refuse_login(session, user)
    session.doorkeeper.login_delays.succeeded(session.channel.peer, user)
    session.account = account  # from here on the session gives it back when it ends
    return Done("you are logged in", f"CAPABILITY {session.capabilities()}")
