"""What `p2pmail queue` shows and does: the gateway's queue and the users' outboxes of a running machine."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from gateway.control import Handler
from gateway.errors import OperatorError
from gateway.outbound.model import QueuedRecipient, QueueItem
from gateway.outbox.model import Message, Recipient, UnknownSubmission
from gateway.outbox.outbox import Outbox
from gateway.relaying import Relaying


class Queues:
    """The commands. Items of the gateway's queue are known by number, those of outboxes by submission ID.

    Mail moves from an outbox to the queue, so outboxes are read first: what moves is seen twice, never missed.
    """

    def __init__(self, relaying: Relaying | None, outboxes: Callable[[], Mapping[str, Outbox]]) -> None:
        self._relaying = relaying
        self._outboxes = outboxes
        self.commands: dict[str, Handler] = {
            "queue-list": self._list,
            "queue-show": self._show,
            "queue-retry": self._retry,
            "queue-hold": self._hold,
            "queue-remove": self._remove,
        }

    async def counts(self) -> dict[str, int]:
        """Return how many messages wait in the gateway's queue and in all outboxes, for `status`.

        What waits only for its copy in Sent to be filed is not counted, nor listed or tried.
        """
        statuses = [await outbox.status() for outbox in self._outboxes().values()]
        queued = await self._relaying.queue.count() if self._relaying else 0
        return {"queue": queued, "outboxes": sum(status.waiting for status in statuses)}

    async def _list(self, _: dict[str, Any]) -> list[dict[str, Any]]:
        in_outboxes = []
        for address, outbox in self._outboxes().items():
            in_outboxes += [_message(message, address) for message in await outbox.list() if message.waits]
        queued = [_item(item) for item in await self._relaying.queue.items()] if self._relaying else []
        return queued + in_outboxes

    async def _show(self, arguments: dict[str, Any]) -> dict[str, Any]:
        wanted = str(arguments["id"])
        number = _number(wanted)
        if self._relaying and number is not None and (item := await self._relaying.queue.item(number)):
            return _item(item)
        for address, outbox in self._outboxes().items():
            if message := await outbox.message(wanted):
                return _message(message, address)
        raise OperatorError(f"{wanted}: no such message in the queue or an outbox; see `p2pmail queue list`")

    async def _retry(self, arguments: dict[str, Any]) -> int:
        """Try one message, or all, now; return how many recipients or messages that touches."""
        wanted = str(arguments.get("id") or "")
        number = _number(wanted)
        tried = 0
        if self._relaying and (not wanted or number is not None):
            tried += await self._relaying.outbound.retry(number)
        for outbox in self._outboxes().values():
            try:
                tried += await outbox.retry(wanted or None)
            except UnknownSubmission:
                continue
        if wanted and not tried:
            raise OperatorError(f"{wanted}: no such message waits; see `p2pmail queue list`")
        return tried

    async def _hold(self, arguments: dict[str, Any]) -> int:
        relaying, number = self._in_queue(str(arguments["id"]))
        held = await relaying.queue.hold(number)
        if not held:
            raise OperatorError(f"{number}: no such message waits; see `p2pmail queue list`")
        return held

    async def _remove(self, arguments: dict[str, Any]) -> None:
        wanted = str(arguments["id"])
        if _number(wanted) is not None:
            relaying, number = self._in_queue(wanted)
            if not await relaying.queue.remove(number):
                raise OperatorError(f"{wanted}: no such message in the queue; see `p2pmail queue list`")
            return
        for outbox in self._outboxes().values():
            try:
                await outbox.remove(wanted)
            except UnknownSubmission:
                continue
            return
        raise OperatorError(f"{wanted}: no such message in an outbox; see `p2pmail queue list`")

    def _in_queue(self, wanted: str) -> tuple[Relaying, int]:
        number = _number(wanted)
        if self._relaying is None or number is None:
            raise OperatorError(f"{wanted}: not in the queue of a gateway on this machine")
        return self._relaying, number


def _number(wanted: str) -> int | None:
    """Return `wanted` as the number of a queue item, None where it is none (a submission ID has 32 digits)."""
    return int(wanted) if re.fullmatch("[0-9]{1,18}", wanted) else None


def _item(item: QueueItem) -> dict[str, Any]:
    return {
        "id": str(item.id),
        "where": "queue",
        "from": item.reverse_path,
        "accepted": item.accepted,
        "size": item.sealed.content_size,
        "recipients": [_recipient(each) for each in item.recipients],
    }


def _message(message: Message, address: str) -> dict[str, Any]:
    return {
        "id": message.id,
        "where": f"outbox of {address}",
        "from": message.reverse_path,
        "accepted": message.accepted,
        "size": message.content.size,
        "recipients": [_recipient(each) for each in message.recipients],
    }


def _recipient(each: QueuedRecipient | Recipient) -> dict[str, Any]:
    return {
        "to": each.forward_path,
        "state": each.state,
        "attempts": each.attempts,
        "next_attempt": each.next_attempt,
        "reply": each.reply,
        "remote": each.remote,
    }
