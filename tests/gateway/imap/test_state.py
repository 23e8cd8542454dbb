"""The table of states and commands."""

from gateway.imap.commands import COMMANDS
from gateway.imap.state import RULES, News, State


def test_every_command_has_a_rule() -> None:
    """The table of states and the table of commands name the same commands."""
    assert set(COMMANDS) == set(RULES)


def test_sequence_numbers_are_safe_where_they_are_used() -> None:
    """FETCH, STORE and SEARCH by sequence number never bring EXPUNGE (RFC 3501 §7.4.1); UID STORE and SEARCH may."""
    for name in ("FETCH", "STORE", "SEARCH", "UID FETCH"):
        assert RULES[name].news is News.NO_EXPUNGE
    for name in ("UID STORE", "UID SEARCH"):
        assert RULES[name].news is News.ALL


def test_only_login_and_its_like_before_login() -> None:
    """Before login there is no command that touches mail."""
    allowed = {name for name, rule in RULES.items() if State.NOT_AUTHENTICATED in rule.states}
    assert allowed == {"CAPABILITY", "NOOP", "LOGOUT", "ID", "STARTTLS", "AUTHENTICATE", "LOGIN"}
