"""Arguments of MAIL and RCPT are understood or refused with their own codes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.smtp.commands import MailCommand, parse_mail, parse_rcpt
from gateway.smtp.replies import Refusal

WORDS = st.sampled_from(["FROM:", "TO:", "<", ">", "@", "a", "b.c", " ", "SIZE=", "1", "BODY=8BITMIME", '"', "\\", "é"])


@given(st.lists(WORDS).map("".join) | st.text(max_size=40), st.booleans())
def test_any_argument_is_understood_or_refused(text: str, extended: bool) -> None:
    """Invariant: nothing but a Refusal comes out, its code is 5yz, and an accepted path is ASCII without SMTPUTF8."""
    for argument in (text, f"FROM:<{text}", f"FROM:<a@b> {text}"):
        outcome = mail_outcome(argument, extended)
        if isinstance(outcome, MailCommand):
            assert outcome.smtputf8 or outcome.reverse_path.isascii()
        else:
            assert 500 <= outcome <= 559
    for argument in (text, f"TO:<{text}"):
        found = rcpt_outcome(argument, extended)
        assert 500 <= found <= 559 if isinstance(found, int) else found.isascii()


def mail_outcome(argument: str, extended: bool) -> MailCommand | int:
    """The command, or the code of its refusal."""
    try:
        return parse_mail(argument, extended=extended)
    except Refusal as refusal:
        return refusal.reply.code


def rcpt_outcome(argument: str, extended: bool) -> str | int:
    """The forward-path, or the code of its refusal."""
    try:
        return str(parse_rcpt(argument, extended=extended, smtputf8=False, domain="example.org").mailbox)
    except Refusal as refusal:
        return refusal.reply.code


@pytest.mark.parametrize(
    ("argument", "command"),
    [
        ("FROM:<>", MailCommand("", 0, "7BIT", False)),
        ("from:<a@b.example>", MailCommand("a@b.example", 0, "7BIT", False)),
        ("FROM:<a@b.example> size=12 body=8bitmime smtputf8", MailCommand("a@b.example", 12, "8BITMIME", True)),
        ("FROM: <a@b.example>  BODY=7BIT", MailCommand("a@b.example", 0, "7BIT", False)),
        ("FROM:<@relay.example:a@b.example>", MailCommand("a@b.example", 0, "7BIT", False)),
        ("FROM:<é@b.example> SMTPUTF8", MailCommand("é@b.example", 0, "7BIT", True)),
    ],
)
def test_mail(argument: str, command: MailCommand) -> None:
    """Keywords in any case, parameters in any order."""
    assert parse_mail(argument, extended=True) == command
