"""What a check found, and how it is told; pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

Level = Literal["ok", "warn", "fail"]

LEAVE_ONE: Final = "leave one of them"  # what to do where a second record spoils the first


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: `check` names the kind, `subject` the thing; `remedy` is the line to add or what to do."""

    check: str
    subject: str
    level: Level
    detail: str
    remedy: str = ""


def ok(check: str, subject: str, detail: str) -> Finding:
    return Finding(check, subject, "ok", detail)


def warn(check: str, subject: str, detail: str, remedy: str) -> Finding:
    return Finding(check, subject, "warn", detail, remedy)


def fail(check: str, subject: str, detail: str, remedy: str) -> Finding:
    return Finding(check, subject, "fail", detail, remedy)


def failed(findings: Sequence[Finding]) -> bool:
    """Return whether something is wrong, and not only worth a look."""
    return any(finding.level == "fail" for finding in findings)
