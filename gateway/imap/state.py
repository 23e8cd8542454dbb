"""The connection states of RFC 3501 §3 as a table: where each command is allowed and what news its end may bring."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType


class State(Enum):
    NOT_AUTHENTICATED = "not authenticated"
    AUTHENTICATED = "authenticated"
    SELECTED = "selected"


class News(Enum):
    """What may be announced before a command's tagged response."""

    ALL = "everything"
    NO_EXPUNGE = "all but EXPUNGE"  # RFC 3501 §7.4.1: not while sequence numbers are being used
    NONE = "nothing"


@dataclass(frozen=True, slots=True)
class Rule:
    states: frozenset[State]
    news: News

    def refusal(self, state: State) -> str | None:
        """Why the command is not allowed in this state, None if it is."""
        if state in self.states:
            return None
        if state is State.NOT_AUTHENTICATED:
            return "log in first"
        return "you are logged in already" if self.states == _BEFORE_LOGIN else "no mailbox is selected"


_ANY = frozenset(State)
_BEFORE_LOGIN = frozenset({State.NOT_AUTHENTICATED})
_AFTER_LOGIN = frozenset({State.AUTHENTICATED, State.SELECTED})
_SELECTED = frozenset({State.SELECTED})

# RFC 3501 §6.1–§6.4, one row a command
RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "CAPABILITY": Rule(_ANY, News.ALL),
        "NOOP": Rule(_ANY, News.ALL),
        "LOGOUT": Rule(_ANY, News.NONE),
        "ID": Rule(_ANY, News.ALL),  # RFC 2971
        "STARTTLS": Rule(_BEFORE_LOGIN, News.NONE),
        "AUTHENTICATE": Rule(_BEFORE_LOGIN, News.NONE),
        "LOGIN": Rule(_BEFORE_LOGIN, News.NONE),
        "ENABLE": Rule(_AFTER_LOGIN, News.ALL),  # RFC 5161
        "SELECT": Rule(_AFTER_LOGIN, News.NONE),
        "EXAMINE": Rule(_AFTER_LOGIN, News.NONE),
        "CREATE": Rule(_AFTER_LOGIN, News.ALL),
        "DELETE": Rule(_AFTER_LOGIN, News.ALL),
        "RENAME": Rule(_AFTER_LOGIN, News.ALL),
        "SUBSCRIBE": Rule(_AFTER_LOGIN, News.ALL),
        "UNSUBSCRIBE": Rule(_AFTER_LOGIN, News.ALL),
        "LIST": Rule(_AFTER_LOGIN, News.ALL),
        "LSUB": Rule(_AFTER_LOGIN, News.ALL),
        "NAMESPACE": Rule(_AFTER_LOGIN, News.ALL),  # RFC 2342
        "STATUS": Rule(_AFTER_LOGIN, News.ALL),
        "APPEND": Rule(_AFTER_LOGIN, News.ALL),
        "IDLE": Rule(_AFTER_LOGIN, News.ALL),  # RFC 2177
        "CHECK": Rule(_SELECTED, News.ALL),
        "CLOSE": Rule(_SELECTED, News.NONE),
        "UNSELECT": Rule(_SELECTED, News.NONE),  # RFC 3691
        "EXPUNGE": Rule(_SELECTED, News.ALL),
        "SEARCH": Rule(_SELECTED, News.NO_EXPUNGE),
        "FETCH": Rule(_SELECTED, News.NO_EXPUNGE),
        "STORE": Rule(_SELECTED, News.NO_EXPUNGE),
        "COPY": Rule(_SELECTED, News.ALL),
        "MOVE": Rule(_SELECTED, News.ALL),  # RFC 6851
        "UID FETCH": Rule(_SELECTED, News.NO_EXPUNGE),  # allowed (§7.4.1), but Thunderbird 153 would keep a ghost
        "UID STORE": Rule(_SELECTED, News.ALL),
        "UID SEARCH": Rule(_SELECTED, News.ALL),
        "UID COPY": Rule(_SELECTED, News.ALL),
        "UID MOVE": Rule(_SELECTED, News.ALL),
        "UID EXPUNGE": Rule(_SELECTED, News.ALL),  # RFC 4315
    }
)
