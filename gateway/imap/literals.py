"""Which literals a session takes, and where the octets of large messages go while they arrive."""

from pathlib import Path

import structlog

from gateway.imap import params
from gateway.imap.errors import Bad, ImapError, No
from gateway.imap.session import Session
from gateway.imap.spool import Spool
from gateway.imap.wire import LiteralOffered

_log = structlog.get_logger("imap")


async def admit(session: Session, offered: LiteralOffered, directory: Path | None) -> tuple[bool, ImapError | None]:
    """Whether a literal's octets go to a spool, made for them in `directory`; and why they are not taken, or None."""
    together = offered.held + offered.size
    large = offered.size > params.SPOOL_ABOVE or together > params.MEMORY_LITERALS
    to_spool = offered.command == "APPEND" and large
    refusal = _judge(session, offered, to_spool=to_spool)
    if refusal is None and to_spool:
        try:
            session.spools.append(await Spool.open(directory, offered.size))
        except OSError as error:
            refusal = _no_room(error)
    return to_spool, refusal


async def spool(session: Session, data: bytes) -> ImapError | None:
    """Put octets into the spool opened last; why that failed, or None."""
    try:
        await session.spools[-1].write(data)
    except OSError as error:
        return _no_room(error)
    return None


def drop_spools(session: Session) -> None:
    """The command is over."""
    for one in session.spools:
        one.close()
    session.spools.clear()


def _judge(session: Session, offered: LiteralOffered, *, to_spool: bool) -> ImapError | None:
    """Why a literal is not taken, or None. Messages may be large, everything else is small."""
    held = offered.held + offered.size
    if session.account is None:
        return _too_big("a literal", params.PREAUTH_LITERALS) if held > params.PREAUTH_LITERALS else None
    if offered.command == "APPEND" and offered.size > session.limits.message_size:
        return No(f"the message is larger than {session.limits.message_size} octets", "TOOBIG")
    if to_spool:
        together = sum(one.size for one in session.spools) + offered.size
        if together > max(params.APPEND_TOTAL, session.limits.message_size):
            return No("the messages of one APPEND are too large together", "TOOBIG")
        full = len(session.spools) >= params.MAX_SPOOLS
        return No("one APPEND has too many large messages", "LIMIT") if full else None
    return _too_big("a literal", params.MEMORY_LITERALS) if held > params.MEMORY_LITERALS else None


def _no_room(error: OSError) -> ImapError:
    _log.error("imap spool", error=str(error))
    return No("there is no room to take the message now", "UNAVAILABLE")  # RFC 5530: a passing condition


def _too_big(what: str, limit: int) -> ImapError:
    return Bad(f"{what} here may have {limit} octets", "TOOBIG")
