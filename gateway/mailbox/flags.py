"""Flags: one spelling each, compared without case, changed with a new modseq only where something differs."""

from collections.abc import Sequence
from typing import Final

from gateway.mailbox.database import Transaction
from gateway.mailbox.errors import TooLarge
from gateway.mailbox.model import SYSTEM_FLAGS, FlagMode, MessageRow, StoreResult
from gateway.mailbox.params import MAX_KEYWORD, MAX_KEYWORDS
from gateway.mailbox.rows import reflag, selected

_SPELLING: Final = {flag.casefold(): flag for flag in SYSTEM_FLAGS}


def canonical(flags: frozenset[str]) -> frozenset[str]:
    """System flags in RFC 9051 §2.3.2 spelling, keywords as they are, \\Recent (the session's) dropped.

    Of keywords that differ only in case one is kept. Raises TooLarge (LIMIT) above the limits of params.py and
    ValueError for what cannot be a flag at all: the IMAP parser lets none through.
    """
    found: dict[str, str] = {}
    for flag in sorted(flags):
        folded = flag.casefold()
        if folded == "\\recent":
            continue
        if not flag or any(character <= " " or character > "~" for character in flag):
            raise ValueError(f"not a flag: {flag!r}")
        if len(flag) > MAX_KEYWORD:
            raise TooLarge(f"a keyword has at most {MAX_KEYWORD} octets", "LIMIT")
        found.setdefault(folded, _SPELLING.get(folded, flag))
    if len(found) > MAX_KEYWORDS:
        raise TooLarge(f"a message has at most {MAX_KEYWORDS} flags", "LIMIT")
    return frozenset(found.values())


def combined(old: frozenset[str], mode: FlagMode, flags: frozenset[str]) -> frozenset[str]:
    """The flags after STORE; one that was there keeps its spelling. Raises TooLarge (LIMIT)."""
    given = {flag.casefold() for flag in flags}
    had = {flag.casefold() for flag in old}
    if mode == "remove":
        return frozenset(flag for flag in old if flag.casefold() not in given)
    new = frozenset(flag for flag in flags if flag.casefold() not in had)
    kept = old if mode == "add" else frozenset(flag for flag in old if flag.casefold() in given)
    if len(kept) + len(new) > MAX_KEYWORDS:
        raise TooLarge(f"a message has at most {MAX_KEYWORDS} flags", "LIMIT")
    return kept | new


def store_flags(
    transaction: Transaction,
    mailbox_id: int,
    uids: Sequence[int],
    mode: FlagMode,
    flags: frozenset[str],
    unchanged_since: int | None,
) -> StoreResult:
    """See MailStore.store_flags."""
    flags = canonical(flags)
    covered: list[MessageRow] = []
    modified: list[int] = []
    changes: list[tuple[MessageRow, frozenset[str]]] = []
    for row in selected(transaction.database, mailbox_id, uids):
        if unchanged_since is not None and row.modseq > unchanged_since:  # RFC 7162 §3.1.3
            modified.append(row.uid)
            continue
        new = combined(row.flags, mode, flags)
        if new == row.flags:
            covered.append(row)
        else:
            changes.append((row, new))
    covered += reflag(transaction, mailbox_id, changes)
    return StoreResult(tuple(sorted(covered, key=lambda row: row.uid)), tuple(modified))
