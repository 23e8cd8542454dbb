"""What the private MTAs have in common: a log, and Maildirs of the mail that they store for others."""

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

REFUSED = "not wanted there"  # the Subject of a mail that a storing MTA refuses after the dot


@dataclass(frozen=True)
class Storing:
    """A domain whose mail an MTA stores for these local parts; a Subject of REFUSED is refused after the dot."""

    domain: str
    local_parts: tuple[str, ...]


class Mta:
    """A running instance that takes mail for anywhere from its own machine at `smtp`."""

    LOG: ClassVar[str]

    def __init__(self, directory: Path, endpoint: tuple[str, int]) -> None:
        self._directory = directory
        self.smtp = endpoint

    def stored(self, local_part: str) -> list[bytes]:
        """What is in a mailbox when the queue is empty: as it came over the wire, behind the MTA's own fields."""
        self.wait_until_sent()
        folder = self._directory / "mail" / local_part / "new"
        return [path.read_bytes().replace(b"\n", b"\r\n") for path in folder.glob("*")]

    def log(self) -> str:
        path = self._directory / "log" / self.LOG
        return path.read_text(errors="replace") if path.exists() else ""

    @abstractmethod
    def wait_until_sent(self) -> None:
        """Return when the queue is empty."""
