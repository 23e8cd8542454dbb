"""What an administrator may ask for, the same whether a process is running here (over its socket) or not."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gateway import control
from gateway.account_commands import AccountCommands, Hooks
from gateway.control import NotRunning
from gateway.domain_commands import DomainCommands
from gateway.errors import OperatorError
from gateway.founding import open_directory
from gateway.office import Office
from gateway.site import Site
from p2pcore.directory.directory import Directory
from p2pcore.records import ContactInfo, PublishedVersion

_QUEUES = ("queue-list", "queue-show", "queue-retry", "queue-hold", "queue-remove")
_ASKING = ("status", "user-list", "alias-list", "machine-list", *_QUEUES)


async def _nothing(_: PublishedVersion) -> None:
    """Stand for the hook where no process is running: the next start finds the record in the book."""


class Administration:
    """The commands; each is durable when it returns. `directory` is None where this machine is not the directory.

    The caller holds the site's lock.
    """

    def __init__(
        self,
        site: Site,
        directory: Directory | None,
        *,
        hooks: Hooks | None = None,
        record_changed: Callable[[PublishedVersion], Awaitable[object]] = _nothing,
        contacts: Callable[[], Sequence[ContactInfo]] = tuple,
    ) -> None:
        self._site = site
        self._directory = directory
        self._record_changed = record_changed
        self._one_at_a_time = asyncio.Lock()
        office = Office(site, directory)
        self.commands: dict[str, control.Handler] = {
            **AccountCommands(site, office, hooks or Hooks()).commands,
            **DomainCommands(office, contacts).commands,
        }

    async def run(self, command: str, arguments: dict[str, Any]) -> Any:
        """Carry out one command, one at a time. Raises OperatorError and p2pcore failures."""
        async with self._one_at_a_time:
            try:
                result = await self.commands[command](arguments)
                if self._directory is not None and command not in _ASKING:
                    # A user who was just added must be known here before anybody hears of it
                    await self._record_changed(await asyncio.to_thread(self._directory.current_record))
                return result
            except OSError as error:
                raise OperatorError(f"{error.filename or self._site.directory}: {error.strerror or error}") from error


def administer(site: Site, command: str, **arguments: Any) -> Any:
    """Have `command` carried out by the process running on `site`, or right here if there is none.

    Raises OperatorError and p2pcore failures.
    """
    try:
        return control.ask(site.control_socket, command, arguments)
    except NotRunning:
        with site.locked():
            directory = open_directory(site) if site.identity_file("directory").exists() else None
            try:
                return asyncio.run(Administration(site, directory).run(command, arguments))
            finally:
                if directory is not None:
                    directory.close()
