"""Values of ESMTP parameters: those of DSN (RFC 3461 §4), and AUTH= (RFC 4954 §5); pure."""

import re

from gateway.mail.address import parse_mailbox
from gateway.mail.outgoing import Ret
from gateway.smtp import replies
from gateway.smtp.keywords import keyword
from gateway.smtp.replies import Refusal
from p2pcore.errors import Malformed

_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+\Z")  # RFC 3461 §4
_HEXCHAR = re.compile(r"\+([0-9A-F]{2})")
_PRINTABLE = re.compile(r"[ -~]+\Z")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*\Z")
_EVENTS = ("SUCCESS", "FAILURE", "DELAY")
_MAX_ENVID = 100  # octets as sent, RFC 3461 §4.4
_MAX_ORCPT = 500  # octets as sent, RFC 3461 §4.2


def parse_ret(value: str | None) -> Ret:
    """Return which part of the content a report is to return (RFC 3461 §4.3). Raises Refusal."""
    match keyword(value or ""):
        case "FULL":
            return "FULL"
        case "HDRS":
            return "HDRS"
        case _:
            raise Refusal(replies.BAD_PARAMETER, "RET is FULL or HDRS")


def parse_envid(value: str | None) -> str:
    """Return the sender's name for this transaction, xtext undone (RFC 3461 §4.4). Raises Refusal."""
    if value is None or len(value) > _MAX_ENVID:
        raise Refusal(replies.BAD_PARAMETER, f"ENVID is empty or longer than {_MAX_ENVID} octets")
    return _printable(value, "ENVID")


def parse_notify(value: str | None) -> str:
    """Return "NEVER", or of SUCCESS, FAILURE and DELAY those named, separated by commas (RFC 3461 §4.1)."""
    named = keyword(value or "").split(",")
    if named == ["NEVER"]:
        return "NEVER"
    if not set(named) <= set(_EVENTS):
        raise Refusal(replies.BAD_PARAMETER, "NOTIFY is NEVER, or SUCCESS, FAILURE, DELAY")
    return ",".join(event for event in _EVENTS if event in named)


def parse_orcpt(value: str | None) -> str:
    """Return the original recipient as "addr-type;address", xtext undone (RFC 3461 §4.2). Raises Refusal."""
    kind, semicolon, address = (value or "").partition(";")
    if len((value or "").encode()) > _MAX_ORCPT or not semicolon or not _ADDRESS_TYPE.match(kind):
        raise Refusal(replies.BAD_PARAMETER, "ORCPT is addr-type;xtext")
    if kind.lower() == "utf-8" and address.isprintable() and not any(mark in address for mark in " <>"):
        return f"utf-8;{address}"  # RFC 6533 §3: its own encodings, which whoever writes reports passes on
    return f"{kind.lower()};{_printable(address, 'ORCPT')}"


def check_auth(value: str | None) -> None:
    """Read who is said to have submitted first, and forget it: we know who submits (RFC 4954 §5). Raises Refusal."""
    if value == "<>":
        return
    try:
        parse_mailbox(_printable(value or "", "AUTH"))
    except Malformed as error:
        raise Refusal(replies.BAD_PARAMETER, f"AUTH: {error}") from error


def _printable(xtext: str, name: str) -> str:
    if _XTEXT.match(xtext):
        text = _HEXCHAR.sub(lambda match: chr(int(match[1], 16)), xtext)
        if _PRINTABLE.match(text):
            return text
    raise Refusal(replies.BAD_PARAMETER, f"{name} is not xtext of printable US-ASCII")
