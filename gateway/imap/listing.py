"""Which names LIST and LSUB show, and with which attributes (RFC 3501 §6.3.8–9, RFC 5258, RFC 6154); pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from gateway.imap.mailbox_names import DELIMITER, matches, parents
from gateway.mailbox.model import Mailbox


@dataclass(frozen=True, slots=True)
class Selection:
    """RFC 5258 §3.1: what a name must be; `recursive` also shows the parents of such names."""

    subscribed: bool = False
    special_use: bool = False
    recursive: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the answer. `mailbox` is None for a name that cannot be selected."""

    name: str
    attributes: tuple[str, ...]
    mailbox: Mailbox | None
    child_info: tuple[str, ...] = ()  # RFC 5258 §4: which options its descendants meet


def list_entries(
    mailboxes: Iterable[Mailbox],
    subscriptions: Collection[str],
    patterns: Iterable[str],
    selection: Selection,
    *,
    show_subscribed: bool,
) -> list[Entry]:
    """LIST's answer, INBOX first, then by name."""
    existing = {mailbox.name: mailbox for mailbox in mailboxes}
    names = set(existing)
    if selection.subscribed:
        names |= set(subscriptions)
    names |= {parent for name in names for parent in parents(name)}
    subscribed = frozenset(subscriptions)
    meeting = {name for name in names if _meets(name, existing, subscribed, selection)}
    above = {parent for name in meeting for parent in parents(name)} if selection.recursive else set[str]()
    superior = {parent for name in names for parent in parents(name)}
    patterns = tuple(patterns)
    options = _option_names(selection)
    entries: list[Entry] = []
    for name in sorted(meeting | above, key=_order):
        if not any(matches(pattern, name) for pattern in patterns):
            continue
        attributes = _attributes(name, existing, superior)
        if name in subscribed and (show_subscribed or selection.subscribed):
            attributes.append("\\Subscribed")
        entries.append(Entry(name, tuple(attributes), existing.get(name), options if name in above else ()))
    return entries


def _meets(name: str, existing: Mapping[str, Mailbox], subscribed: Collection[str], selection: Selection) -> bool:
    if selection.subscribed and name not in subscribed:
        return False
    mailbox = existing.get(name)
    return not selection.special_use or (mailbox is not None and mailbox.special_use is not None)


def _option_names(selection: Selection) -> tuple[str, ...]:
    chosen = (("SUBSCRIBED", selection.subscribed), ("SPECIAL-USE", selection.special_use))
    return tuple(name for name, on in chosen if on)


def _attributes(name: str, existing: Mapping[str, Mailbox], superior: Collection[str]) -> list[str]:
    mailbox = existing.get(name)
    attributes: list[str] = []
    if mailbox is None:
        attributes.append("\\Noselect")
        attributes.append("\\NonExistent")  # RFC 5258 §3
    attributes.append("\\HasChildren" if name in superior else "\\HasNoChildren")  # RFC 3348
    if mailbox is not None and mailbox.special_use is not None:
        attributes.append(mailbox.special_use)  # RFC 6154 §2: may be in any LIST response
    return attributes


def lsub_entries(subscriptions: Collection[str], pattern: str) -> list[tuple[str, tuple[str, ...]]]:
    """LSUB's names with their attributes.

    RFC 3501 §6.3.9: with "%" last, a name that is not subscribed itself but has a subscribed one below is shown
    with \\Noselect, which here says only that.
    """
    shown = {name: () for name in subscriptions if matches(pattern, name)}
    implied: dict[str, tuple[str, ...]] = {}
    if pattern.endswith("%"):
        for name in subscriptions:
            for parent in parents(name):
                if parent not in shown and matches(pattern, parent):
                    implied[parent] = ("\\Noselect",)
    return sorted((shown | implied).items(), key=lambda item: _order(item[0]))


def _order(name: str) -> tuple[bool, list[str]]:
    return name != "INBOX", name.split(DELIMITER)
