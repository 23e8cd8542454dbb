"""MTA-STS policies on disk, one small file per domain, so that a restart forgets no policy (RFC 8461 §5.1).

| on disk | means | after a crash |
|---|---|---|
| a file with its whole content | this policy was fetched then and holds for its max_age | it goes on holding |
| a temporary file beside it | a policy was being written | nothing reads it; the next prune removes it |

A file that cannot be read is as good as none: the policy is fetched again.
"""

import hashlib
from pathlib import Path
from typing import Final

import msgspec

from gateway.outbound.sts_policy import Policy
from p2pcore.crypto.files import replace_file

MAX_POLICIES: Final = 10_000  # files kept; beyond that the oldest go
_MAX_FILE: Final = 128 * 1024  # octets: a policy file's bound, with room for JSON


class CachedPolicy(msgspec.Struct, frozen=True):
    """A policy with its ID in DNS (RFC 8461 §3.1); `fetched` in ms."""

    domain: str
    id: str
    policy: Policy
    fetched: int

    def holds(self, now: int) -> bool:
        """Return whether it is younger than its max_age."""
        return now < self.fetched + self.policy.max_age * 1_000


class PolicyCache:
    """A directory of policies; all calls may block on the disk."""

    def __init__(self, directory: Path, most: int = MAX_POLICIES) -> None:
        self._directory = directory
        self._most = most

    def read(self, domain: str) -> CachedPolicy | None:
        """Return what is kept of `domain`, None where nothing is, or nothing that can be read."""
        kept = _read(self._path(domain))
        return kept if kept is not None and kept.domain == domain else None

    def due(self, before: int, now: int) -> tuple[str, ...]:
        """Return the domains whose policy holds and was fetched earlier than `before`, the oldest first."""
        if not self._directory.is_dir():
            return ()
        found = filter(None, map(_read, list(self._directory.iterdir())))
        due = [each for each in found if each.fetched < before and each.holds(now)]
        return tuple(each.domain for each in sorted(due, key=lambda each: each.fetched))

    def write(self, kept: CachedPolicy) -> None:
        """Keep a policy instead of the domain's last; durable on return. Raises OSError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._prune()
        replace_file(self._path(kept.domain), msgspec.json.encode(kept))

    def _prune(self) -> None:
        files = list(self._directory.iterdir())
        if len(files) < self._most:
            return
        oldest = sorted(files, key=_written)
        for path in oldest[: len(files) - self._most + 1]:
            path.unlink(missing_ok=True)

    def _path(self, domain: str) -> Path:
        return self._directory / hashlib.sha256(domain.encode()).hexdigest()


def _read(path: Path) -> CachedPolicy | None:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_MAX_FILE), type=CachedPolicy)
    except (OSError, msgspec.MsgspecError):
        return None


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0  # gone meanwhile, so it costs nothing
