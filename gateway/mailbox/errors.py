"""What the mail store can refuse, each with its IMAP response code (RFC 5530) where there is one.

MailboxError
├── NoSuchMailbox        NONEXISTENT
├── MailboxExists        ALREADYEXISTS
├── MailboxHasChildren   HASCHILDREN (RFC 9051 §7.1)
├── InvalidMailboxName   CANNOT
├── NoSuchMessage
├── TooLarge             TOOBIG (a message, RFC 4469 §4.2) or LIMIT (names, flags)
└── StoreError           UNAVAILABLE: the store itself, not the request
    ├── StoreFull        OVERQUOTA: no room on the disk; nothing of the call was kept
    ├── StoreDamaged     CORRUPTION: unreadable, or opened with another key
    └── StoreLocked      INUSE: another process has it
"""


class MailboxError(Exception):
    """A call on the mail store that failed; nothing of it was kept."""

    code: str | None = None

    def __init__(self, text: str, code: str | None = None) -> None:
        """`text` is for the log and the client's user; `code` replaces the class's response code."""
        super().__init__(text)
        if code is not None:
            self.code = code


class NoSuchMailbox(MailboxError):
    """No mailbox has this name or number (any more)."""

    code = "NONEXISTENT"


class MailboxExists(MailboxError):
    """The name is taken."""

    code = "ALREADYEXISTS"


class MailboxHasChildren(MailboxError):
    """A mailbox with mailboxes below it is not deleted."""

    code = "HASCHILDREN"


class InvalidMailboxName(MailboxError):
    """The name cannot be, or the operation cannot be done to this mailbox (deleting INBOX)."""

    code = "CANNOT"


class NoSuchMessage(MailboxError):
    """The message was expunged, or never was."""


class TooLarge(MailboxError):
    """A message, name or flag list beyond the limits of params.py."""

    code = "TOOBIG"


class StoreError(MailboxError):
    """The store cannot serve."""

    code = "UNAVAILABLE"


class StoreFull(StoreError):
    """The disk has no room; the call was rolled back."""

    code = "OVERQUOTA"


class StoreDamaged(StoreError):
    """The database or a sealed file cannot be read with this key."""

    code = "CORRUPTION"


class StoreLocked(StoreError):
    """Another process has this store open."""

    code = "INUSE"
