"""What stands in the mailbox where a message could not be had: a plain text that says what is known of it; pure."""

from gateway.mail.trace import date_time
from p2pcore.records import Notification

REPORT = "$P2PMailReport"  # the keyword of such a message
MOST = 500  # characters of what strangers wrote, in a line

_AGAIN = "It is looked for again by itself; when it comes, it takes the place of this text."


def not_found(entry: bytes, notification: Notification, domain: str, now: int, expires: int, why: str) -> bytes:
    """Say that a message's body has not been found in the network for a while. Times in ms; `why`: of the last try."""
    return _report(
        entry,
        domain,
        now,
        "A message for you has not been found yet",
        [
            "Your inbox in the network names a message that none of the machines asked so far has.",
            *_known(notification),
            f"The last time: {_plain(why)}",
            f"{_AGAIN} It is looked for until {date_time(expires)}.",
            "If many of the network's machines are off, wait until they are back.",
        ],
    )


def no_good_copy(entry: bytes, notification: Notification, domain: str, now: int, expires: int, why: str) -> bytes:
    """Say that machines gave a message's body, and none of them a good copy. As `not_found`."""
    return _report(
        entry,
        domain,
        now,
        "A message for you came damaged from every machine that has it",
        [
            "Your inbox in the network names a message of which every copy that was given is not what its sender's"
            " gateway stored. A machine's disk may be failing, or somebody may have altered the copies.",
            *_known(notification),
            f"The last time: {_plain(why)}",
            f"{_AGAIN} A good copy is looked for until {date_time(expires)}.",
            "Tell whoever runs these machines; if the message is urgent, ask its sender to send it again.",
        ],
    )


def not_opened(entry: bytes, domain: str, now: int, expires: int, why: str) -> bytes:
    """Say that an entry of the inbox cannot be opened with the keys that are here."""
    return _report(
        entry,
        domain,
        now,
        "A message for you cannot be opened",
        [
            "Your inbox in the network has an entry that does not open with your keys here, or is of a kind that this"
            " program does not know.",
            f"Reason: {_plain(why)}",
            f"If you have a recovery kit with older keys, `p2pmail recover` adds them. {_AGAIN}",
            f"It is kept in the network until {date_time(expires)}.",
        ],
    )


def refused(entry: bytes, notification: Notification | None, domain: str, now: int, why: str) -> bytes:
    """Say that a message was refused, for good: it is damaged, or its signer may not have sent it."""
    return _report(
        entry,
        domain,
        now,
        "A message for you was refused",
        [
            "Your inbox in the network had a message that is not shown, since it is not what it claims to be or is"
            " damaged.",
            f"Reason: {_plain(why)}",
            *(_known(notification) if notification is not None else []),
            "If you expect a message, ask its sender to send it again.",
        ],
    )


def _known(notification: Notification) -> list[str]:
    sender = _plain(notification.reverse_path) or "nobody (it is itself a report)"
    return [
        f"Received from: {sender}",
        f"Sent to: {_plain(notification.forward_path)}",
        f"Received at: {date_time(max(notification.received, 0))}",
        f"Size: {notification.content_size} octets",
    ]


def _report(entry: bytes, domain: str, now: int, subject: str, paragraphs: list[str]) -> bytes:
    body = "\r\n\r\n".join([*paragraphs, f"Entry: {entry.hex()}"])
    return (
        f"From: Mail agent <mailer-daemon@{domain}>\r\nSubject: {subject}\r\nDate: {date_time(now)}\r\n"
        f"Message-ID: <{entry.hex()[:32]}.{now}.report@{domain}>\r\nAuto-Submitted: auto-generated\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        f"{body}\r\n"
    ).encode("utf-8", "replace")


def _plain(text: str) -> str:
    """Return a stranger's words without line ends or what a terminal would obey."""
    return "".join(each if each.isprintable() else "?" for each in text[:MOST])
