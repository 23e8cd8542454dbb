"""The trace block: Return-Path, Authentication-Results, Received, at times Original-Recipient; the agent prepends it.

Pure. Each field ends in CRLF; continuation lines begin with a tab. What strangers chose (HELO, names from DNS, paths)
was checked by its parser and is checked again here, so no trace block can hold a line that we did not mean.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from msgspec import Struct

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~\-]+\Z")  # RFC 2045 §5.1
_PVALUE = re.compile(r"[A-Za-z0-9!#$%&'*+./=^_`{|}~\-\u0080-\U0010ffff]*@?[A-Za-z0-9._\-\u0080-\U0010ffff]+\Z")
_NOT_IN_COMMENT = re.compile(r"[()\\]")
MAX_VALUE = 300  # octets of one value; longer ones are cut, since a line may have 998 (RFC 5322 §2.1.1, RFC 6532 §3.4)


class Hop(Struct, frozen=True):
    """One passage of a message from a client to us. `time` in ms; `client_name` is "" where it is not known."""

    helo: str
    client_name: str
    client_address: str
    host: str
    protocol: str
    identifier: str
    time: int
    forward_path: str | None = None
    cipher: str = ""


class MethodResult(Struct, frozen=True):
    """One method's result in Authentication-Results (RFC 8601 §2.2); `properties` are (ptype.property, value)."""

    method: str
    result: str
    properties: tuple[tuple[str, str], ...] = ()
    comment: str = ""


def protocol_name(*, extended: bool, tls: bool, authenticated: bool, smtputf8: bool) -> str:
    """Return the "with" protocol type (RFC 3848, RFC 6531 §4.3)."""
    if not extended:
        return "SMTP"
    return ("UTF8SMTP" if smtputf8 else "ESMTP") + ("S" if tls else "") + ("A" if authenticated else "")


def date_time(time: int) -> str:
    """Return `time` (ms) as an RFC 5322 §3.3 date-time in UTC."""
    return _date_time(time // 1_000)


@lru_cache(8)
def _date_time(seconds: int) -> str:
    at = datetime.fromtimestamp(seconds, UTC)
    day, month = _DAYS[at.weekday()], _MONTHS[at.month - 1]
    return f"{day}, {at.day} {month} {at.year:04} {at.hour:02}:{at.minute:02}:{at.second:02} +0000"


def return_path(reverse_path: str) -> str:
    """Return the Return-Path field (RFC 5321 §4.4)."""
    return f"Return-Path: <{_clean(reverse_path)}>\r\n"


def received(hop: Hop) -> str:
    """Return the Received field of `hop` (RFC 5321 §4.4)."""
    address = f"IPv6:{hop.client_address}" if ":" in hop.client_address else hop.client_address
    lines = [
        f"Received: from {_clean(hop.helo)} ({_clean(hop.client_name) or 'unknown'} [{_clean(address)}])",
        f"by {_clean(hop.host)} with {hop.protocol} id {_clean(hop.identifier)}",
    ]
    if hop.cipher:
        lines.append(f"tls {_clean(hop.cipher)}")  # RFC 8314 §4.3
    if hop.forward_path is not None:
        lines.append(f"for <{_clean(hop.forward_path)}>")
    return "\r\n\t".join(lines) + f";\r\n\t{date_time(hop.time)}\r\n"


def original_recipient(original: str, forward_path: str) -> str:
    """Return the Original-Recipient field for ORCPT= as "addr-type;address" (RFC 8098 §2.3); "" where it tells nothing.

    ORCPT= is at most 500 octets, so it is not cut.
    """
    kind, _, address = original.partition(";")
    if not original or address == forward_path:
        return ""
    return f"Original-Recipient: {_UNPRINTABLE.sub('?', kind)}; {_UNPRINTABLE.sub('?', address)}\r\n"


def received_from_network(host: str, identifier: str, forward_path: str, time: int) -> str:
    """Return the Received field of a message that came through the network without SMTP; `time` in ms."""
    lines = f"Received: by {_clean(host)} (p2pmail) id {_clean(identifier)}\r\n\tfor <{_clean(forward_path)}>"
    return f"{lines};\r\n\t{date_time(time)}\r\n"


def authentication_results(authserv_id: str, results: Sequence[MethodResult]) -> str:
    """Return the Authentication-Results field (RFC 8601 §2.2); "none" where no method was applied."""
    parts = [f"Authentication-Results: {_clean(authserv_id)}"]
    parts += [_method(result) for result in results] or ["none"]
    return ";\r\n\t".join(parts) + "\r\n"


def trace_block(reverse_path: str, hop: Hop, results: Sequence[MethodResult]) -> bytes:
    """Return the octets that the recipient's agent puts before the content.

    Our verdicts stand above our Received (RFC 8601 appendix B) and are never the last field: a content whose first line
    is a continuation line would add to them.
    """
    fields = return_path(reverse_path) + authentication_results(hop.host, results) + received(hop)
    return fields.encode()


def _method(result: MethodResult) -> str:
    text = f"{result.method}={result.result}"
    if result.comment:
        comment = _NOT_IN_COMMENT.sub("", _clean(result.comment))
        text += f" ({comment})"
    return text + "".join(f"\r\n\t {name}={_value(value)}" for name, value in result.properties)


def _value(value: str) -> str:
    """Return `value` as a pvalue: as it is where RFC 8601 §2.2 allows that, else quoted."""
    value = _clean(value)
    if _TOKEN.match(value) or _PVALUE.match(value):
        return value
    escaped = re.sub(r'(["\\])', r"\\\1", value)
    return f'"{escaped}"'


def _clean(text: str) -> str:
    """Return `text` on one line: anything that could start or hide another line becomes "?"."""
    if len(text) <= MAX_VALUE and text.isascii() and text.isprintable():
        return text  # nearly always, and what follows takes five times as long
    octets = text.encode("utf-8", "replace")
    if len(octets) > MAX_VALUE:
        text = octets[:MAX_VALUE].decode("utf-8", "ignore")
    return _UNPRINTABLE.sub("?", text)
