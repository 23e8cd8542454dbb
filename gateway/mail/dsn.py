"""Delivery status notifications: multipart/report with message/delivery-status (RFC 3462, RFC 3464); pure.

`build` returns a whole message with CRLF line ends. Whatever strangers chose (addresses, replies, host names) is put on
one line, cut, and written in US-ASCII in the machine-readable part, so no report holds a field that we did not mean;
the boundary occurs nowhere in what is returned. Addresses that are not ASCII get the "utf-8" address type's 7-bit form
(RFC 6533 §3), and what is returned of an internationalised message the types of §4.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Literal

from gateway.mail.trace import date_time

Action = Literal["failed", "delayed", "relayed", "delivered", "expanded"]

EXPIRED: Final = "5.4.7"  # RFC 3463 §3.5: delivery time expired; the diagnostic is of the last attempt
MAX_RETURNED: Final = 256 * 1024  # octets of content that are returned whole; of a larger one its header section
MAX_HEADER: Final = 64 * 1024  # octets of a header section that are returned
MAX_DIAGNOSTIC: Final = 900  # octets of a reply that are shown: one line holds 998 (RFC 5322 §2.1.1)

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}\Z")  # RFC 3463 §2
_UTF8_ESCAPED = re.compile(r"(\\x\{[0-9A-Fa-f]{1,6}\})|[^!-*,-<>-\[\]-~]")  # RFC 6533 §3: a form's escape, or no QCHAR
_NOTIFY: Final[dict[Action, str]] = {"failed": "FAILURE", "delayed": "DELAY"}  # all others: SUCCESS

_SUBJECTS: Final[dict[Action, str]] = {
    "failed": "Mail could not be delivered",
    "delayed": "Mail is delayed, delivery is still being tried",
    "relayed": "Mail was handed on",
    "delivered": "Mail was delivered",
    "expanded": "Mail was handed to the members of a list",
}
_SENTENCES: Final[dict[Action, str]] = {
    "failed": "Your message could not be delivered to the recipients below. It will not be tried again.",
    "delayed": (
        "Your message has not been delivered to the recipients below yet.\r\n"
        "Delivery goes on being tried; you need not send it again."
    ),
    "relayed": (
        "Your message was handed on for the recipients below, and no confirmation of delivery will follow:\r\n"
        "their mail system sends none, or the nodes of our network keep it until it is fetched."
    ),
    "delivered": "Your message was delivered to the recipients below.",
    "expanded": "Your message was handed to the members of the lists below.",
}
_ORDER: Final[tuple[Action, ...]] = ("failed", "delayed", "relayed", "delivered", "expanded")


@dataclass(frozen=True, slots=True)
class RecipientStatus:
    """What became of one recipient (RFC 3464 §2.3).

    `recipient` is the forward-path, `status` an RFC 3463 code, `diagnostic` the remote's reply as it came, or our own
    reason where `remote`, the host that gave it, is "". `original`: ORCPT as "rfc822;address", or "". Times in ms,
    0 = none; `retry_until` is when trying ends ("delayed" only).
    """

    recipient: str
    action: Action
    status: str
    diagnostic: str = ""
    remote: str = ""
    original: str = ""
    last_attempt: int = 0
    retry_until: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """One report to the reverse-path of one message.

    `reporting_mta` is our host name, `sender` its From address (mailer-daemon@domain), `to` the reverse-path,
    `message_id` with angle brackets; `time` is now and `arrival` when the message was taken, in ms. `content` is the
    message reported on; of it the header section is returned, the whole if `full` (RET=FULL), it failed for somebody
    and has at most MAX_RETURNED octets. `envelope_id` is the sender's ENVID, decoded.
    """

    reporting_mta: str
    sender: str
    to: str
    message_id: str
    time: int
    arrival: int
    recipients: tuple[RecipientStatus, ...]
    content: bytes
    full: bool = False
    envelope_id: str = ""


def wanted(action: Action, notify: str) -> bool:
    """Return whether NOTIFY= asks for a report of `action`; "" (no NOTIFY=) means failures and delays."""
    asked = {word.strip().upper() for word in (notify or "FAILURE,DELAY").split(",")}  # RFC 3461 §4.1
    return "NEVER" not in asked and _NOTIFY.get(action, "SUCCESS") in asked


def header_section(content: bytes) -> bytes:
    """Return the header fields of `content` with their last CRLF, whole lines up to MAX_HEADER octets."""
    if content.startswith(b"\r\n"):
        return b""
    end = content.find(b"\r\n\r\n", 0, MAX_HEADER)
    if end >= 0:
        return content[: end + 2]
    if len(content) <= MAX_HEADER:
        return content if content.endswith(b"\r\n") else content + b"\r\n"
    cut = content.rfind(b"\r\n", 0, MAX_HEADER)
    return content[: cut + 2] if cut >= 0 else b""


def build(report: Report) -> bytes:
    """Return the report as a message; its envelope has the null reverse-path (RFC 5321 §6.1).

    Raises ValueError where it names no recipient.
    """
    if not report.recipients:
        raise ValueError("a report names at least one recipient")
    explanation = _explanation(report).encode()
    status = _delivery_status(report).encode("ascii")
    returned_type, returned = _returned(report)
    described = "Header of your message" if returned_type.endswith("-headers") else "Your message"
    boundary = _boundary(report.message_id, (explanation, status, returned))
    parts = [
        _part("text/plain; charset=utf-8", explanation, "Notification"),
        _part("message/delivery-status", status, "Delivery report"),
        _part(returned_type, returned, described),
    ]
    delimiter = f"--{boundary}".encode()
    body = b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts)
    return _header(report, boundary).encode() + b"\r\n" + body + delimiter + b"--\r\n"


def _header(report: Report, boundary: str) -> str:
    return (
        f"Date: {date_time(report.time)}\r\n"
        f"From: Mail Delivery System <{_line(report.sender)}>\r\n"
        f"To: <{_line(report.to)}>\r\n"
        f"Subject: {_SUBJECTS[_gravest(report)]}\r\n"
        f"Message-ID: {_line(report.message_id)}\r\n"
        "Auto-Submitted: auto-replied\r\n"  # RFC 3834 §3.1.7: nothing answers it
        "MIME-Version: 1.0\r\n"
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"\r\n'
    )


def _part(content_type: str, content: bytes, description: str) -> bytes:
    encoding = "7bit" if content.isascii() else "8bit"
    fields = (
        f"Content-Type: {content_type}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n"
        f"Content-Description: {description}\r\n\r\n"
    )
    return fields.encode() + content


def _explanation(report: Report) -> str:
    lines = [f"This is the mail system at {_line(report.reporting_mta)}.", ""]
    for action in _ORDER:
        concerned = [each for each in report.recipients if each.action == action]
        if not concerned:
            continue
        lines += [_SENTENCES[action], ""]
        for each in concerned:
            lines.append(f"  <{_line(each.recipient)}>")
            if each.diagnostic:
                by = f"{_line(each.remote)} said: " if each.remote else ""
                lines.append(f"    {by}{_line(each.diagnostic)}")
            if each.status == EXPIRED:
                lines.append("    the time for trying is over")
            if action == "delayed" and each.retry_until:
                lines.append(f"    trying ends on {date_time(each.retry_until)}")
        lines.append("")
    return "\r\n".join(lines)


def _delivery_status(report: Report) -> str:
    fields = []
    if report.envelope_id:
        fields.append(f"Original-Envelope-Id: {_ascii(report.envelope_id)}")  # RFC 3464 §2.2.1
    fields.append(f"Reporting-MTA: dns; {_ascii(report.reporting_mta)}")  # §2.2.2
    fields.append(f"Arrival-Date: {date_time(report.arrival)}")  # §2.2.5
    return "\r\n\r\n".join(["\r\n".join(fields), *map(_recipient_fields, report.recipients)]) + "\r\n"


def _recipient_fields(each: RecipientStatus) -> str:
    fields = []
    if each.original:
        kind, _, address = each.original.partition(";")
        fields.append(f"Original-Recipient: {_typed_address(address, _ascii(kind))}")  # RFC 3464 §2.3.1
    fields.append(f"Final-Recipient: {_typed_address(each.recipient)}")  # §2.3.2
    fields.append(f"Action: {each.action}")  # §2.3.3
    fields.append(f"Status: {each.status if _STATUS.match(each.status) else _unspecified(each.action)}")  # §2.3.4
    if each.remote:
        fields.append(f"Remote-MTA: dns; {_ascii(each.remote)}")  # §2.3.5
    if each.diagnostic:
        kind = "smtp" if each.remote else "x-p2pmail"
        fields.append(f"Diagnostic-Code: {kind}; {_ascii(each.diagnostic)}")  # §2.3.6
    if each.last_attempt:
        fields.append(f"Last-Attempt-Date: {date_time(each.last_attempt)}")  # §2.3.7
    if each.action == "delayed" and each.retry_until:
        fields.append(f"Will-Retry-Until: {date_time(each.retry_until)}")  # §2.3.9
    return "\r\n".join(fields)


def _returned(report: Report) -> tuple[str, bytes]:
    """Return type and octets of the third part (RFC 3461 §6.2: only a failure returns the content)."""
    failed = any(each.action == "failed" for each in report.recipients)
    header = header_section(report.content)
    internationalised = not header.isascii() and _is_utf8(header)  # RFC 6533 §4: what holds UTF-8 is named for it
    if report.full and failed and len(report.content) <= MAX_RETURNED:
        return "message/global" if internationalised else "message/rfc822", report.content
    return "message/global-headers" if internationalised else "text/rfc822-headers", header


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def _boundary(message_id: str, parts: tuple[bytes, ...]) -> str:
    for attempt in range(1_000):
        boundary = "=_" + hashlib.sha256(f"{attempt} {message_id}".encode("utf-8", "replace")).hexdigest()[:40]
        if not any(boundary.encode() in part for part in parts):
            return boundary
    raise ValueError("no boundary that the content does not hold")


def _gravest(report: Report) -> Action:
    return min((each.action for each in report.recipients), key=_ORDER.index)


def _unspecified(action: Action) -> str:
    return {"failed": "5.0.0", "delayed": "4.0.0"}.get(action, "2.0.0")


def _typed_address(address: str, kind: str = "rfc822") -> str:
    if address.isascii() and kind != "utf-8":
        return f"{kind or 'rfc822'}; {_ascii(address)}"
    return f"utf-8; {_ascii(utf8_address(address))}"


def utf8_address(address: str) -> str:
    """Return `address` in the 7-bit form of the "utf-8" address type (RFC 6533 §3, utf-8-addr-xtext).

    What has that form already stays as it is.
    """
    return _UTF8_ESCAPED.sub(lambda match: match[1] or f"\\x{{{ord(match[0]):X}}}", address)


def _line(text: str) -> str:
    """Return `text` on one line of at most MAX_DIAGNOSTIC octets."""
    return _UNPRINTABLE.sub(" ", text).encode()[:MAX_DIAGNOSTIC].decode("utf-8", "ignore").strip()


def _ascii(text: str) -> str:
    return _line(text).encode("ascii", "replace").decode("ascii")
