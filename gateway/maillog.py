"""The mail log: one line per event with who, to whom, what size and how long; never content, never a key.

Its event names and fields are an interface: people search for them and programs count them.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

import structlog

from p2pcore.endpoint import Endpoint

MAX_TEXT: Final = 1_000
"""Characters of a field that a sender can make as long as he likes; the rest is cut off."""


class Log(Protocol):
    """What of structlog's bound logger is used here."""

    def info(self, event: str, **fields: Any) -> Any: ...

    def warning(self, event: str, **fields: Any) -> Any: ...

    def error(self, event: str, **fields: Any) -> Any: ...


class MailLog:
    """One method per event. `id` is the transaction's identifier, "" before there is one; `size` is in octets."""

    def __init__(self, log: Log | None = None) -> None:
        self._log: Log = structlog.get_logger("mail") if log is None else log

    def received(
        self,
        *,
        id: str,
        client: str,
        tls: str,
        reverse_path: str,
        recipients: int,
        forward_paths: Iterable[str],
        message_id: bytes,
        size: int,
        ms: int,
        nodes: int,
        k: int,
    ) -> None:
        """A message is stored on `nodes` of `k` nodes. `tls` is the version, "" in clear; `message_id` as it came."""
        self._log.info(
            "received",
            id=id,
            client=client,
            tls=tls,
            reverse_path=reverse_path,
            recipients=recipients,
            forward_paths=" ".join(forward_paths)[:MAX_TEXT],
            message_id=message_id[:MAX_TEXT].decode(errors="replace"),
            size=size,
            ms=ms,
            nodes=nodes,
            k=k,
        )

    def submitted(
        self, *, id: str, client: str, user: str, reverse_path: str, recipients: int, size: int, ms: int, new: bool
    ) -> None:
        """A message of `user` is durably in her outbox or in the queue; not `new`: it was there before."""
        self._log.info(
            "submitted",
            id=id,
            client=client,
            user=user,
            reverse_path=reverse_path,
            recipients=recipients,
            size=size,
            ms=ms,
            new=new,
        )

    def refused(
        self,
        *,
        reply: str,
        client: str,
        id: str = "",
        reverse_path: str = "",
        recipients: int = 0,
        size: int = 0,
        ms: int = 0,
        detail: str = "",
        **more: str,
    ) -> None:
        """A command or message got `reply`: "rejected" for a 5yz, "deferred" for a 4yz."""
        self._log.info(
            "rejected" if reply.startswith("5") else "deferred",
            id=id,
            client=client,
            reverse_path=reverse_path,
            recipients=recipients,
            size=size,
            ms=ms,
            reply=reply,
            detail=detail,
            **more,
        )

    def unreported(self, *, id: str, reverse_path: str, reason: str) -> None:
        """The sender of a stored message asked for a report and gets none."""
        self._log.info("unreported", id=id, reverse_path=reverse_path, reason=reason)

    def unfinished(self, *, client: str, reason: str, id: str = "", reverse_path: str = "", size: int = 0) -> None:
        """A connection ended inside a transaction; nothing is stored."""
        self._log.info("unfinished", id=id, client=client, reverse_path=reverse_path, size=size, reason=reason)

    def failed(self, where: str, error: BaseException, **fields: str) -> None:
        """Something happened that should not; the client was told only that it is temporary."""
        self._log.error("failed", where=where, error=repr(error), exc_info=error, **fields)

    def started(self, role: str, listeners: Sequence[Endpoint]) -> None:
        """`role` listens on these endpoints."""
        self._log.info("started", role=role, listen=[str(endpoint) for endpoint in listeners])

    def stopped(self, role: str, cut_off: int) -> None:
        """`role` has stopped; `cut_off` sessions were ended inside a transaction."""
        self._log.info("stopped", role=role, cut_off=cut_off)
