"""Who waits for news of which inbox (long poll): woken by an append, never by a timer."""

import asyncio
from collections.abc import Iterable


class Watchers:
    """Used from the event loop only."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, set[asyncio.Event]] = {}

    def watch(self, inbox_key: bytes) -> asyncio.Event:
        """Return an event that is set at the next news of this inbox; give it back with `leave`."""
        event = asyncio.Event()
        self._waiting.setdefault(inbox_key, set()).add(event)
        return event

    def leave(self, inbox_key: bytes, event: asyncio.Event) -> None:
        """Stop watching."""
        events = self._waiting.get(inbox_key, set())
        events.discard(event)
        if not events:
            self._waiting.pop(inbox_key, None)

    def count(self, inbox_key: bytes) -> int:
        """Return how many watch this inbox."""
        return len(self._waiting.get(inbox_key, ()))

    def watched(self, inbox_key: bytes) -> bool:
        """Return whether anyone watches this inbox."""
        return inbox_key in self._waiting

    def wake(self, inbox_keys: Iterable[bytes]) -> None:
        """Tell everyone who watches one of these inboxes."""
        for inbox_key in inbox_keys:
            for event in self._waiting.get(inbox_key, ()):
                event.set()

    def wake_all(self) -> None:
        """Tell everyone, since the node stops."""
        self.wake(list(self._waiting))
