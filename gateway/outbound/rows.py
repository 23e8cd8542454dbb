"""The queue's rows as they are: what is due, and what an administrator sees. Runs on the queue's one thread."""

import json
from collections.abc import Iterator, Set
from typing import Any, Final

from gateway.mail.outgoing import Sending
from gateway.outbound import params
from gateway.outbound.bodies import Bodies
from gateway.outbound.claims import Claims, Shares
from gateway.outbound.database import Database
from gateway.outbound.model import KeptInjection, OwedReport, QueuedRecipient, QueueItem, Unit
from p2pcore.clock import Clock
from p2pcore.mail.injection import Injection, SealedContent

_RECIPIENT = (
    "number, forward_path, domain, notify, orcpt, state, next_attempt, attempts, last_attempt, status, reply, remote"
)
_ITEM = (
    "id, submission_id, submitter, reverse_path, body, smtputf8, trace, ret, envelope_id, accepted,"
    " session_key, digest, sealed_size, content_size, file"
)
_DESTINATION = "iif(?3 IS NULL OR domain = ?3, domain, '')"  # as `_destination`
PENDING: Final = (
    f"SELECT item, {_DESTINATION}, stranger, next_attempt FROM recipients WHERE state = 'pending' AND stranger <= ?1"  # noqa: S608
    f" AND {_DESTINATION} NOT IN (SELECT value FROM json_each(?2)) ORDER BY next_attempt"
)


class Rows:
    """Reads only. Every method raises QueueUnusable."""

    def __init__(self, database: Database, bodies: Bodies, clock: Clock) -> None:
        self._database = database
        self._bodies = bodies
        self._clock = clock

    def files(self) -> set[str]:
        """Return the names of all bodies in use."""
        return {name for (name,) in self._database.rows("SELECT file FROM items")}

    def sendings(self, since: int) -> list[Sending]:
        """Return what was accepted after `since`, oldest first."""
        found = self._database.rows("SELECT at, submitter, recipients FROM sendings WHERE at > ? ORDER BY at", since)
        return [Sending(*row) for row in found]

    def knows(self, submitter: str, submission_id: str) -> bool:
        sql = "SELECT 1 FROM submissions WHERE submitter = ? AND submission_id = ?"
        return bool(self._database.rows(sql, submitter, submission_id))

    def units(self, claims: Claims, shares: Shares, room: int, apart: str | None) -> list[Unit]:
        """Return at most `room` units that are due, not claimed and within the shares, the longest due first."""
        now = self._clock()
        found: dict[tuple[int, str], None] = {}
        while len(found) < room and self._search(claims, shares, found, now, room, apart):
            continue
        items: dict[int, QueueItem] = {}  # one item may be due in a thousand domains
        units = []
        for number, domain in found:
            item = items.get(number) or self.item(number)
            assert item is not None, "a recipient's row goes with its item's"
            items[number] = item
            due = (each for each in item.recipients if each.state == "pending" and each.next_attempt <= now)
            units.append(Unit(item, domain, tuple(each for each in due if _destination(each.domain, apart) == domain)))
        return units

    def _search(
        self,
        claims: Claims,
        shares: Shares,
        found: dict[tuple[int, str], None],
        now: int,
        room: int,
        apart: str | None,
    ) -> bool:
        """Add to `found` until a share is full; return whether there may be more for the others."""
        for number, domain, stranger, next_attempt in self._pending(shares, apart):
            if next_attempt > now or len(found) >= room:
                return False
            if (number, domain) not in claims.units and (number, domain) not in found:
                found[number, domain] = None
                if shares.take(domain, stranger=bool(stranger)):
                    return True
        return False

    def reports(self, claimed: Set[int]) -> list[OwedReport]:
        """Return reports that are to be made now, except for claimed items; with those REPORTS_UNDER_WAY at most."""
        sql = "SELECT id FROM items WHERE report_at <= ? ORDER BY report_at LIMIT ?"
        return [self._owed(number) for number in self._next(sql, claimed)]

    def injections_due(self, claimed: Set[int]) -> list[KeptInjection]:
        """Return finished reports that are to be stored now, except for claimed ones; REPORTS_UNDER_WAY with those."""
        sql = "SELECT id FROM injections WHERE next_attempt <= ? ORDER BY next_attempt LIMIT ?"
        return [self.injection(number) for number in self._next(sql, claimed)]

    def _next(self, sql: str, claimed: Set[int]) -> list[int]:
        most = max(0, params.REPORTS_UNDER_WAY - len(claimed))
        found = self._database.rows(sql, self._clock(), most + len(claimed))
        return [number for (number,) in found if number not in claimed][:most]

    def next_due(self, claims: Claims, shares: Shares, apart: str | None) -> int | None:
        """Return when the first thing is due that is not claimed and within its share, None: nothing waits."""
        pending = self._pending(shares, apart)
        times = [time for item, domain, _, time in pending if (item, domain) not in claims.units][:1]
        for sql, claimed in (
            ("SELECT id, report_at FROM items WHERE report_at NOTNULL ORDER BY report_at LIMIT ?", claims.reports),
            (
                "SELECT id, next_attempt FROM injections WHERE next_attempt NOTNULL ORDER BY next_attempt LIMIT ?",
                claims.injections,
            ),
        ):
            if len(claimed) < params.REPORTS_UNDER_WAY:
                times += [at for number, at in self._database.rows(sql, len(claimed) + 1) if number not in claimed][:1]
        return min(times, default=None)

    def _pending(self, shares: Shares, apart: str | None) -> Iterator[tuple[int, str, int, int]]:
        """Yield item, destination, stranger and time of pending recipients whose share is not full, by time."""
        return self._database.each(PENDING, int(shares.strangers_left > 0), json.dumps(sorted(shares.full)), apart)

    def item(self, item_id: int) -> QueueItem | None:
        rows = self._database.rows(f"SELECT {_ITEM} FROM items WHERE id = ?", item_id)  # noqa: S608
        return self._item(rows[0]) if rows else None

    def items(self, limit: int) -> list[QueueItem]:
        """Return the oldest items, at most `limit` and with LISTED_RECIPIENTS recipients (but the first) in all."""
        found: list[QueueItem] = []
        left = params.LISTED_RECIPIENTS
        for row in self._database.rows(f"SELECT {_ITEM} FROM items ORDER BY id LIMIT ?", limit):  # noqa: S608
            item = self._item(row)
            left -= len(item.recipients)
            if found and left < 0:
                break
            found.append(item)
        return found

    def count(self) -> int:
        """Return the number of items."""
        ((count,),) = self._database.rows("SELECT COUNT(*) FROM items")
        return int(count)

    def network_injections(self, item_id: int) -> list[KeptInjection]:
        """Return the kept statements of mail into our own domain, the oldest first."""
        return [kept for kept in self._injections("item", item_id) if kept.covers]

    def injection(self, injection_id: int) -> KeptInjection:
        """Return the kept statements with this number, which exist."""
        return self._injections("id", injection_id)[0]

    def _item(self, row: tuple[Any, ...]) -> QueueItem:
        item_id, *before, session_key, digest, sealed_size, content_size, file = row
        submission_id, submitter, reverse_path, body, smtputf8, trace, ret, envelope_id, accepted = before
        sql = f"SELECT {_RECIPIENT} FROM recipients WHERE item = ? ORDER BY number"  # noqa: S608
        return QueueItem(
            id=item_id,
            submission_id=submission_id,
            submitter=submitter,
            reverse_path=reverse_path,
            body=body,
            smtputf8=bool(smtputf8),
            trace=trace,
            ret=ret,
            envelope_id=envelope_id,
            accepted=accepted,
            sealed=SealedContent(session_key, digest, sealed_size, content_size, self._bodies.path(file)),
            recipients=tuple(QueuedRecipient(*each) for each in self._database.rows(sql, item_id)),
        )

    def _owed(self, item_id: int) -> OwedReport:
        item = self.item(item_id)
        assert item is not None
        by_number = {each.number: each for each in item.recipients}
        rows = self._database.rows("SELECT number, action FROM reports WHERE item = ? ORDER BY number", item_id)
        return OwedReport(item, tuple((by_number[number], action) for number, action in rows))

    def _injections(self, column: str, value: int) -> list[KeptInjection]:
        rows = self._database.rows(
            "SELECT j.id, j.item, j.statements, j.body, j.covers, j.begun, j.attempts, i.file"  # noqa: S608
            f" FROM injections j JOIN items i ON i.id = j.item WHERE j.{column} = ? ORDER BY j.id",
            value,
        )
        return [
            KeptInjection(
                id=number,
                item_id=item,
                injection=Injection.restore(statements, self._bodies.path(file) if body is None else body),
                covers={int(each): tuple(entries) for each, entries in json.loads(covers).items()},
                begun=begun,
                attempts=attempts,
            )
            for number, item, statements, body, covers, begun, attempts, file in rows
        ]


def _destination(domain: str, apart: str | None) -> str:
    """Return where a recipient's mail goes: to her domain, or "", the smarthost, unless her domain is `apart`."""
    return domain if apart in (None, domain) else ""
