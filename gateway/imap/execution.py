"""One command from its parsing to its outcome, and the news that its end brings."""

import structlog

from gateway.imap.commands import COMMANDS, command_name, lexer_of
from gateway.imap.errors import Bad, Bye, ImapError, No
from gateway.imap.session import Done, Session
from gateway.imap.state import RULES, News
from gateway.imap.wire import RawCommand
from gateway.mailbox.errors import MailboxError

_log = structlog.get_logger("imap")


async def execute(session: Session, command: RawCommand) -> tuple[str, Done | ImapError]:
    """Run a command and queue its untagged responses; gives its name, "" if it has none, and how it ended.

    Raises Bye, ConnectionError.
    """
    name = ""
    news = News.NONE
    session.tag = command.tag
    try:
        lexer = lexer_of(command, utf8=session.utf8)
        name = command_name(lexer)
        rule = RULES[name]
        refusal = rule.refusal(session.state)
        if refusal is not None:
            raise Bad(refusal)  # noqa: TRY301 (the table's refusal is an error like the others)
        news = rule.news
        request = COMMANDS[name](lexer)
        lexer.end()
        outcome: ImapError | Done = await request.run(session)
    except Bye:
        raise
    except ImapError as error:
        outcome = error
    except MailboxError as error:
        outcome = No(str(error), error.code)
    except ConnectionError:
        raise
    except Exception:  # noqa: BLE001 (a fault of ours is one command's NO)
        _log.exception("imap command failed", command=name)
        outcome = No("internal error; the log has the details", "SERVERBUG")  # RFC 5530
    if news is not News.NONE:
        # RFC 7162 §3.2.10: VANISHED may end a UID FETCH; the client that asked for it knows what it means
        told_gone = news is News.ALL or (name == "UID FETCH" and session.qresync)
        await session.sync(expunge=told_gone)
    return name, outcome
