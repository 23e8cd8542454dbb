"""The queue's rows: what each event changes, one transaction each. Runs on the queue's one thread."""

import json
from collections.abc import Callable, Sequence

from gateway.mail.dsn import EXPIRED, Action, wanted
from gateway.mail.outgoing import NewItem
from gateway.outbound import params
from gateway.outbound.database import Database
from gateway.outbound.model import (
    Attempt,
    KeptInjection,
    OwedReport,
    QueuedRecipient,
    QueueItem,
    destination_of,
)
from gateway.outbound.rows import Rows
from gateway.outbound.schedule import Schedule
from p2pcore.clock import Clock
from p2pcore.mail.injection import Injection, SealedContent

_LAST_ITEM = (1 << 63) - 1  # the largest integer of SQLite
_OPEN = "state IN ('pending', 'held')"
_PUT_OFF = (  # when the last of it is due, what makes due (?1) what is later than ?2, and how long it waits at most
    (
        "SELECT max(next_attempt) FROM recipients WHERE state = 'pending'",
        "UPDATE recipients SET next_attempt = ?1 WHERE next_attempt > ?2 AND state = 'pending'",
        0,  # the schedule says that
    ),
    (
        "SELECT max(report_at) FROM items WHERE report_at IS NOT NULL",
        "UPDATE items SET report_at = ?1 WHERE report_at > ?2",
        params.REPORT_RETRY,
    ),
    (
        "SELECT max(next_attempt) FROM injections WHERE next_attempt IS NOT NULL",
        "UPDATE injections SET next_attempt = ?1 WHERE next_attempt > ?2",
        params.RETRY_LAST,
    ),
)


class Ledger:
    """Every method that changes something is durable on return and raises QueueUnusable with nothing changed."""

    def __init__(
        self, database: Database, rows: Rows, clock: Clock, schedule: Schedule, jitter: Callable[[], float]
    ) -> None:
        self._database = database
        self._rows = rows
        self._clock = clock
        self._schedule = schedule
        self._jitter = jitter

    def accept(self, item: NewItem, file: str, sealed: SealedContent) -> bool:
        """Add `item` with its body in `file`. False: this submission was known, and nothing was added."""
        now = self._clock()
        with self._database.transaction():
            if self._rows.knows(item.submitter, item.submission_id):
                return False
            sql = "INSERT INTO submissions (submitter, submission_id) VALUES (?, ?)"
            self._database.run(sql, item.submitter, item.submission_id)
            ((number,),) = self._database.rows(
                "INSERT INTO items (submitter, submission_id, reverse_path, body, smtputf8, trace, ret, envelope_id,"
                " accepted, file, session_key, digest, sealed_size, content_size)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
                item.submitter,
                item.submission_id,
                item.reverse_path,
                item.body,
                int(item.smtputf8),
                item.trace,
                item.ret,
                item.envelope_id,
                now,
                file,
                sealed.session_key,
                sealed.digest,
                sealed.sealed_size,
                sealed.content_size,
            )
            for index, each in enumerate(item.recipients):
                self._database.run(
                    "INSERT INTO recipients (item, number, forward_path, domain, notify, orcpt, state, next_attempt,"
                    " stranger) VALUES (?, ?, ?, ?, ?, ?, 'pending', ?, ?)",
                    number,
                    index,
                    each.forward_path,
                    destination_of(each.forward_path),
                    each.notify,
                    each.orcpt,
                    now,
                    int(not item.reverse_path),
                )
            self._database.run("DELETE FROM sendings WHERE at <= ?", now - params.SENDINGS_KEPT)
            sql = "INSERT INTO sendings (at, submitter, recipients) VALUES (?, ?, ?)"
            self._database.run(sql, now, item.submitter, len(item.recipients))
        return True

    def record(self, item_id: int, attempts: Sequence[Attempt]) -> list[str]:
        """Write down how tries ended; return the bodies that nothing needs any more."""
        now, jitter = self._clock(), self._jitter()  # one for all: who was put off together is tried together
        with self._database.transaction():
            item = self._rows.item(item_id)
            if item is None:
                return []  # removed by hand meanwhile
            by_number = {each.number: each for each in item.recipients}
            for attempt in attempts:
                recipient = by_number.get(attempt.number)
                if recipient is not None and recipient.state in ("pending", "held"):
                    self._record(item, recipient, attempt, now, jitter)
            return self._settle(item_id, now)

    def _record(self, item: QueueItem, recipient: QueuedRecipient, attempt: Attempt, now: int, jitter: float) -> None:
        state, status, next_attempt = recipient.state, attempt.status, recipient.next_attempt
        action: Action | None = None
        warned = False
        if attempt.outcome == "deferred":
            again = self._schedule.next_attempt(item.accepted, now, recipient.attempts + 1, jitter)
            if again is None:
                state, action, status = "failed", "failed", EXPIRED
            else:
                next_attempt = again
                warned = self._schedule.is_delayed(item.accepted, now)
                action = "delayed" if warned and not self._warned(item.id, recipient.number) else None
        elif attempt.outcome == "failed":
            state, action = "failed", "failed"
        else:
            state = "delivered"
            action = attempt.success
        self._database.run(
            "UPDATE recipients SET state = ?, next_attempt = ?, attempts = attempts + 1, last_attempt = ?, status = ?,"
            " reply = ?, remote = ?, warned = MAX(warned, ?) WHERE item = ? AND number = ?",
            state,
            next_attempt,
            now,
            status,
            attempt.reply[: params.MAX_REPLY],
            attempt.remote,
            int(warned),
            item.id,
            recipient.number,
        )
        # A report goes to the reverse-path, and nothing is ever reported about a report (RFC 5321 §6.1)
        if action is not None and item.reverse_path and wanted(action, recipient.notify):
            sql = "INSERT OR REPLACE INTO reports (item, number, action) VALUES (?, ?, ?)"
            self._database.run(sql, item.id, recipient.number, action)
            self._database.run("UPDATE items SET report_at = ? WHERE id = ?", now, item.id)

    def _warned(self, item: int, number: int) -> bool:
        sql = "SELECT warned FROM recipients WHERE item = ? AND number = ?"
        return bool(self._database.rows(sql, item, number)[0][0])

    def keep_injection(self, item_id: int, injection: Injection, covers: dict[int, tuple[int, ...]]) -> KeptInjection:
        """Keep the finished statements of mail into our own domain: its body is the item's."""
        with self._database.transaction():
            number = self._insert_injection(item_id, injection, None, covers, None)
            return self._rows.injection(number)

    def keep_report(self, owed: OwedReport, injection: Injection) -> bool:
        """Keep a finished report instead of what was owed; it is due at once. False: the item was removed by hand."""
        assert isinstance(injection.body, bytes)
        with self._database.transaction():
            if self._rows.item(owed.item.id) is None:
                return False
            self._insert_injection(owed.item.id, injection, injection.body, {}, self._clock())
            self._forget_owed(owed)
            return True

    def drop_report(self, owed: OwedReport) -> list[str]:
        """Let go of a report that nobody can get."""
        with self._database.transaction():
            self._forget_owed(owed)
            return self._settle(owed.item.id, self._clock())

    def postpone_report(self, item_id: int, at: int) -> None:
        with self._database.transaction():
            self._database.run("UPDATE items SET report_at = ? WHERE id = ? AND report_at IS NOT NULL", at, item_id)

    def injected(self, kept: KeptInjection) -> list[str]:
        """Forget a report that is stored (or given up); return the bodies that nothing needs any more."""
        with self._database.transaction():
            self._database.run("DELETE FROM injections WHERE id = ?", kept.id)
            return self._settle(kept.item_id, self._clock())

    def postpone_injection(self, kept: KeptInjection, at: int) -> None:
        with self._database.transaction():
            sql = "UPDATE injections SET next_attempt = ?, attempts = attempts + 1 WHERE id = ?"
            self._database.run(sql, at, kept.id)

    def _insert_injection(
        self, item: int, injection: Injection, body: bytes | None, covers: dict[int, tuple[int, ...]], at: int | None
    ) -> int:
        ((number,),) = self._database.rows(
            "INSERT INTO injections (item, statements, body, covers, begun, next_attempt)"
            " VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
            item,
            injection.encode(),
            body,
            json.dumps(covers),
            self._clock(),
            at,
        )
        return int(number)

    def _forget_owed(self, owed: OwedReport) -> None:
        for recipient, action in owed.actions:
            sql = "DELETE FROM reports WHERE item = ? AND number = ? AND action = ?"
            self._database.run(sql, owed.item.id, recipient.number, action)
        left = self._database.rows("SELECT 1 FROM reports WHERE item = ? LIMIT 1", owed.item.id)
        if not left:
            self._database.run("UPDATE items SET report_at = NULL WHERE id = ?", owed.item.id)

    def _settle(self, item_id: int, now: int) -> list[str]:
        """End what has come to its end; return the bodies freed. Inside a transaction."""
        rows = self._database.rows(f"SELECT number FROM recipients WHERE item = ? AND {_OPEN}", item_id)  # noqa: S608
        still_open = {number for (number,) in rows}
        for kept in self._rows.network_injections(item_id):
            if not still_open & kept.covers.keys():
                self._database.run("DELETE FROM injections WHERE id = ?", kept.id)
        for table in ("reports", "injections"):
            if self._database.rows(f"SELECT 1 FROM {table} WHERE item = ? LIMIT 1", item_id):  # noqa: S608
                return []
        return [] if still_open else self._finish(item_id, now)

    def _finish(self, item_id: int, now: int) -> list[str]:
        rows = self._database.rows("SELECT submitter, submission_id, file FROM items WHERE id = ?", item_id)
        for submitter, submission_id, _ in rows:
            sql = "UPDATE submissions SET finished = ? WHERE submitter = ? AND submission_id = ?"
            self._database.run(sql, now, submitter, submission_id)
        self._database.run("DELETE FROM items WHERE id = ?", item_id)
        self._database.run("DELETE FROM submissions WHERE finished < ?", now - params.SUBMISSION_KEPT)
        return [file for _, _, file in rows]

    # What an administrator does

    def retry(self, item_id: int) -> int:
        """Make an item's recipients due at once, held ones too; return how many."""
        with self._database.transaction():
            sql = f"UPDATE recipients SET state = 'pending', next_attempt = ? WHERE item = ? AND {_OPEN}"  # noqa: S608
            return self._database.run(sql, self._clock(), item_id)

    def retry_some(self, after: tuple[int, int]) -> tuple[int, tuple[int, int] | None]:
        """Make RETRY_AT_ONCE recipients due at once, of those behind item and number `after` that are not held.

        Return how many, and the last of them where there may be more.
        """
        waiting = "(item, number) > (?, ?) AND +state = 'pending'"  # +: by primary key, which nothing here changes
        last = self._database.rows(
            f"SELECT item, number FROM recipients WHERE {waiting} ORDER BY item, number LIMIT 1 OFFSET ?",  # noqa: S608
            *after,
            params.RETRY_AT_ONCE - 1,
        )
        until = last[0] if last else (_LAST_ITEM, 0)
        with self._database.transaction():
            sql = f"UPDATE recipients SET next_attempt = ? WHERE {waiting} AND (item, number) <= (?, ?)"  # noqa: S608
            return self._database.run(sql, self._clock(), *after, *until), until if last else None

    def catch_up(self) -> None:
        """Make due what is put off longer than ever is done: the clock was set back meanwhile."""
        now = self._clock()
        late = []
        for latest, change, longest in _PUT_OFF:
            until = now + (longest or self._schedule.longest)
            if (self._database.rows(latest)[0][0] or 0) > until:
                late.append((change, until))
        if late:
            with self._database.transaction():
                for change, until in late:
                    self._database.run(change, now, until)

    def hasten(self, domain: str, pause: int) -> None:
        """Make due what our own network put off: recipients of `domain`, `pause` after their last try, and reports."""
        now = self._clock()
        with self._database.transaction():
            self._database.run(
                "UPDATE recipients SET next_attempt = min(next_attempt, max(?1, last_attempt + ?2))"
                " WHERE state = 'pending' AND domain = ?3",
                now,
                pause,
                domain,
            )
            self._database.run("UPDATE items SET report_at = ?1 WHERE report_at > ?1", now)
            self._database.run("UPDATE injections SET next_attempt = ?1 WHERE next_attempt > ?1", now)

    def hold(self, item_id: int) -> int:
        """Keep recipients back until `retry`; return how many are, also those that were before."""
        with self._database.transaction():
            sql = f"UPDATE recipients SET state = 'held' WHERE item = ? AND {_OPEN}"  # noqa: S608
            return self._database.run(sql, item_id)

    def remove(self, item_id: int) -> list[str]:
        """Forget an item without a report; return the bodies freed, [] where there is no such item."""
        with self._database.transaction():
            return self._finish(item_id, self._clock())
