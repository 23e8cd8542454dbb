"""The queue's rows as they are: what is due, and what an administrator sees. Runs on the queue's one thread."""

import json
from collections.abc import Iterator, Set
from typing import Any

from gateway.mail.outgoing import Sending
from gateway.outbound.bodies import Bodies
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

    def units(self, claimed: Set[tuple[int, str]], room: int) -> list[Unit]:
        """Return at most `room` units that are due and not claimed, the longest due first."""
        now = self._clock()
        found: dict[tuple[int, str], None] = {}
        for number, domain, next_attempt in self._pending():
            if next_attempt > now or len(found) >= room:
                break
            if (number, domain) not in claimed:
                found[number, domain] = None
        units = []
        for number, domain in found:
            item = self.item(number)
            assert item is not None, "a recipient's row goes with its item's"
            due = (each for each in item.recipients if each.state == "pending" and each.next_attempt <= now)
            units.append(Unit(item, domain, tuple(each for each in due if each.domain == domain)))
        return units

    def reports(self, claimed: Set[int]) -> list[OwedReport]:
        """Return the reports that are to be made now, except for claimed items."""
        sql = "SELECT id FROM items WHERE report_at <= ? ORDER BY report_at"
        numbers = [number for (number,) in self._database.rows(sql, self._clock()) if number not in claimed]
        return [self._owed(number) for number in numbers]

    def injections_due(self, claimed: Set[int]) -> list[KeptInjection]:
        """Return the finished reports that are to be stored now, except for claimed ones."""
        sql = "SELECT id FROM injections WHERE next_attempt <= ? ORDER BY next_attempt"
        numbers = [number for (number,) in self._database.rows(sql, self._clock()) if number not in claimed]
        return [self.injection(number) for number in numbers]

    def next_due(self, units: Set[tuple[int, str]], reports: Set[int], injections: Set[int]) -> int | None:
        """Return when the first thing that is not claimed is due, None: nothing waits."""
        times = [time for item, domain, time in self._pending(stop_after=units) if (item, domain) not in units][:1]
        reporting = self._database.rows("SELECT id, report_at FROM items WHERE report_at IS NOT NULL")
        times += [time for number, time in reporting if number not in reports]
        injecting = self._database.rows("SELECT id, next_attempt FROM injections WHERE next_attempt IS NOT NULL")
        times += [time for number, time in injecting if number not in injections]
        return min(times, default=None)

    def _pending(self, stop_after: Set[tuple[int, str]] | None = None) -> Iterator[tuple[int, str, int]]:
        """Yield item, domain and time of pending recipients by time; with `stop_after`, up to the first not in it."""
        rows = self._database.each(
            "SELECT item, domain, next_attempt FROM recipients WHERE state = 'pending' ORDER BY next_attempt"
        )
        for row in rows:
            yield row[0], row[1], row[2]
            if stop_after is not None and (row[0], row[1]) not in stop_after:
                return

    def item(self, item_id: int) -> QueueItem | None:
        rows = self._database.rows(f"SELECT {_ITEM} FROM items WHERE id = ?", item_id)  # noqa: S608
        return self._item(rows[0]) if rows else None

    def items(self, limit: int) -> list[QueueItem]:
        """Return the oldest `limit` items."""
        rows = self._database.rows(f"SELECT {_ITEM} FROM items ORDER BY id LIMIT ?", limit)  # noqa: S608
        return [self._item(row) for row in rows]

    def counts(self) -> tuple[dict[str, int], int | None]:
        """Return the number of recipients by state, and when the oldest item was accepted."""
        states = self._database.rows("SELECT state, COUNT(*) FROM recipients GROUP BY state")
        ((oldest,),) = self._database.rows("SELECT MIN(accepted) FROM items")
        return dict(states), oldest

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
