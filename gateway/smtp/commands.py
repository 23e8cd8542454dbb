"""The arguments of MAIL, RCPT (RFC 5321 §4.1.1.2, §4.1.1.3) and BDAT (RFC 3030 §2), by an own fast parser; pure.

`submitted`: from one of our users, who may also give AUTH= (RFC 4954 §5).
"""

import re

from msgspec import Struct

from gateway.mail.address import Mailbox, is_ascii, parse_path
from gateway.mail.envelope import Body
from gateway.mail.outgoing import NewRecipient, Ret
from gateway.smtp import replies
from gateway.smtp.esmtp_parameters import check_auth, parse_envid, parse_notify, parse_orcpt, parse_ret
from gateway.smtp.keywords import keyword
from gateway.smtp.replies import Refusal, Reply
from p2pcore.errors import Malformed

XENVID = "XENVID"  # ours alone, between agents and gateways (RFC 5321 §2.2.2): the ENVID that the user gave
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\u0080-\U0010ffff]+))?\Z")  # RFC 5321 §4.1.2
_POSTMASTER = "<POSTMASTER>"
_CHUNK = re.compile(r"([0-9]{1,18})( +LAST)?\Z")
_MAX_SIZE_DIGITS = 20  # RFC 1870 §3


class MailCommand(Struct, frozen=True):
    """`reverse_path` is "" for "<>"; `size` is 0, `ret` and the IDs (xtext undone) are "" where not given.

    `original_envelope_id`: the ENVID that a user gave to her agent, on the relay port only.
    """

    reverse_path: str
    size: int
    body: Body
    smtputf8: bool
    ret: Ret = ""
    envelope_id: str = ""
    original_envelope_id: str = ""


class RcptCommand(Struct, frozen=True):
    """`notify` is normalised, `original` is ORCPT with xtext undone; both "" where not given."""

    mailbox: Mailbox
    notify: str = ""
    original: str = ""

    @property
    def recipient(self) -> NewRecipient:
        """The recipient as a queue takes it."""
        return NewRecipient(str(self.mailbox), self.notify, self.original)


def parse_mail(argument: str, *, extended: bool, submitted: bool = False, relayed: bool = False) -> MailCommand:
    """Return what `MAIL` + `argument` asks for; `relayed` takes XENVID as well. Raises Refusal."""
    try:
        mailbox, rest = parse_path(_after("FROM:", argument))
    except Malformed as error:
        raise Refusal(replies.BAD_REVERSE_PATH, str(error)) from error
    size, smtputf8, envelope_id, original = 0, False, "", ""
    body: Body = "7BIT"
    ret: Ret = ""
    for name, value in _parameters(rest, extended=extended):
        if name == "SIZE":
            size = _size(value)
        elif name == "BODY":
            body = _body(value)
        elif name == "SMTPUTF8":
            if value is not None:  # RFC 6531 §3.1 (item 4)
                raise Refusal(replies.BAD_PARAMETER, "SMTPUTF8 takes no value")
            smtputf8 = True
        elif name == "RET":
            ret = parse_ret(value)
        elif name == "ENVID":
            envelope_id = parse_envid(value)
        elif relayed and name == XENVID:
            original = parse_envid(value)
        elif submitted and name == "AUTH":
            check_auth(value)
        else:
            raise Refusal(replies.UNKNOWN_PARAMETER, name)
    reverse_path = "" if mailbox is None else str(mailbox)
    if not smtputf8 and not is_ascii(reverse_path):
        raise Refusal(replies.NEEDS_SMTPUTF8)
    return MailCommand(reverse_path, size, body, smtputf8, ret, envelope_id, original)


def parse_rcpt(argument: str, *, extended: bool, smtputf8: bool, domain: str) -> RcptCommand:
    """Return what `RCPT` + `argument` asks for; <postmaster> is postmaster@`domain`. Raises Refusal."""
    return _rcpt(argument, replies.ADDRESS_LITERAL, domain, extended=extended, smtputf8=smtputf8)


def parse_submitted_rcpt(argument: str, *, extended: bool, smtputf8: bool, domain: str) -> RcptCommand:
    """Return what one of our users asks for by `RCPT` + `argument`; otherwise like `parse_rcpt`. Raises Refusal."""
    return _rcpt(argument, replies.NO_MAIL_TO_LITERALS, domain, extended=extended, smtputf8=smtputf8)


def _rcpt(argument: str, literal: Reply, domain: str, *, extended: bool, smtputf8: bool) -> RcptCommand:
    mailbox, parameters = _forward_path(argument, domain, extended=extended, smtputf8=smtputf8)
    notify = original = ""
    for name, value in parameters:
        if name == "NOTIFY":
            notify = parse_notify(value)
        elif name == "ORCPT":
            original = parse_orcpt(value)
        else:
            raise Refusal(replies.UNKNOWN_PARAMETER, name)
    if mailbox.has_literal:
        raise Refusal(literal)
    return RcptCommand(mailbox, notify, original)


def parse_bdat(argument: str) -> tuple[int, bool]:
    """Return the size of the chunk that follows, and whether it is the last (RFC 3030 §2). Raises Refusal."""
    match = _CHUNK.match(keyword(argument))
    if match is None:
        raise Refusal(replies.BAD_ARGUMENT, "BDAT size [LAST]")
    return int(match[1]), match[2] is not None


def _forward_path(
    argument: str, domain: str, *, extended: bool, smtputf8: bool
) -> tuple[Mailbox, list[tuple[str, str | None]]]:
    """Return the recipient and the parameters. Raises Refusal."""
    path = _after("TO:", argument)
    length = len(_POSTMASTER)
    if keyword(path[:length]) == _POSTMASTER:  # RFC 5321 §4.1.1.3: without a domain, in any case
        mailbox: Mailbox | None = Mailbox("postmaster", domain)
        rest = path[length:]
    else:
        try:
            mailbox, rest = parse_path(path)
        except Malformed as error:
            raise Refusal(replies.BAD_FORWARD_PATH, str(error)) from error
    parameters = _parameters(rest, extended=extended)
    if mailbox is None:
        raise Refusal(replies.BAD_FORWARD_PATH, "null forward-path")
    if not smtputf8 and not is_ascii(str(mailbox)):
        raise Refusal(replies.NEEDS_SMTPUTF8)
    return mailbox, parameters


def _after(prefix: str, argument: str) -> str:
    if keyword(argument[: len(prefix)]) != prefix:
        raise Refusal(replies.BAD_ARGUMENT, f"no {prefix}")
    return argument[len(prefix) :].lstrip(" ")  # "FROM: <…>" is wrong and common


def _parameters(text: str, *, extended: bool) -> list[tuple[str, str | None]]:
    if not text:
        return []
    if not text.startswith(" "):
        raise Refusal(replies.BAD_ARGUMENT, "something follows the path without a space")
    found: dict[str, str | None] = {}
    for word in filter(None, text.split(" ")):  # SP only (RFC 5321 §4.1.2): a tab or U+00A0 is part of a word
        match = _PARAMETER.match(word)
        if match is None:
            raise Refusal(replies.BAD_PARAMETER, word)
        name = keyword(match[1])
        if name in found:
            raise Refusal(replies.BAD_PARAMETER, f"{name} twice")
        found[name] = match[2]
    if found and not extended:
        raise Refusal(replies.UNKNOWN_PARAMETER, "parameters after HELO")
    return list(found.items())


def _size(value: str | None) -> int:
    if value is None or not (value.isascii() and value.isdigit()) or len(value) > _MAX_SIZE_DIGITS:
        raise Refusal(replies.BAD_PARAMETER, "SIZE is not a number")
    return int(value)


def _body(value: str | None) -> Body:
    match keyword(value or ""):
        case "7BIT":
            return "7BIT"
        case "8BITMIME":
            return "8BITMIME"
        case _:
            raise Refusal(replies.BAD_PARAMETER, "BODY is 7BIT or 8BITMIME")  # RFC 6152 §3
