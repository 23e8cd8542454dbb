"""CPU time and peak memory of running processes, read from /proc; Linux only."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_AHEAD = -12  # nice of a session: some 15 times the share of others
_TICK = 1_000 / os.sysconf("SC_CLK_TCK")  # ms


@dataclass(frozen=True, slots=True)
class Usage:
    """`cpu`: ms so far, `peak`: KiB of the largest process (VmHWM), over `processes` processes."""

    cpu: float
    peak: int
    processes: int

    def since(self, earlier: "Usage | None") -> "Usage":
        """Return this with the CPU time counted from `earlier`."""
        return Usage(self.cpu - (earlier.cpu if earlier else 0.0), self.peak, self.processes)


def usage_of(pids: Mapping[str, int]) -> dict[str, Usage]:
    """Return what each named process has used so far. Raises OSError where one has ended."""
    return {name: Usage(sum(_times(pid)[:2]), _peak(pid), 1) for name, pid in pids.items()}


def usage_of_tree(prefix: str, root: int) -> dict[str, Usage]:
    """Return what `root` and its descendants have used, by program; ended children are one entry of their own."""
    found: dict[str, list[tuple[float, int]]] = {}
    ended = 0.0
    for pid in tree(root):
        try:
            user, system, children_user, children_system = _times(pid)
            name = f"{prefix} {(_PROC / str(pid) / 'comm').read_text().strip()}"
            found.setdefault(name, []).append((user + system, _peak(pid)))
        except OSError:
            continue  # it ended meanwhile; its parent's count has it
        ended += children_user + children_system
    usage = {
        name: Usage(sum(cpu for cpu, _ in each), max(peak for _, peak in each), len(each))
        for name, each in found.items()
    }
    return {**usage, f"{prefix} (ended children)": Usage(ended, 0, 0)}


def difference(after: Mapping[str, Usage], before: Mapping[str, Usage]) -> dict[str, Usage]:
    """Return `after` with CPU time counted from `before`."""
    return {name: usage.since(before.get(name)) for name, usage in after.items()}


def put_ahead() -> None:
    """Let this process and its descendants run before other work on the machine, each session equally (sched(7)).

    Needs root and autogroups. Raises OSError.
    """
    _share(_AHEAD)


def fall_back() -> None:
    """Undo `put_ahead` for the sessions that still run."""
    _share(0)


def _share(nice: int) -> None:
    for pid in tree(os.getpid()):
        try:
            (_PROC / str(pid) / "autogroup").write_text(str(nice))
        except (ProcessLookupError, FileNotFoundError):
            if pid == os.getpid():
                raise  # this kernel has none


def private_memory(pids: Iterable[int]) -> int:
    """Return KiB that processes have, what they share counted once (Pss). Raises OSError where one has ended."""
    lines = (line for pid in pids for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the value that `percent` % of `values` do not exceed (nearest rank); NaN of none."""
    ordered = sorted(values)
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, max(0, -(-int(percent * len(ordered)) // 100) - 1))]


def _times(pid: int) -> tuple[float, float, float, float]:
    """Return user and system time, then those of waited-for children, in ms (proc(5))."""
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    user, system, children_user, children_system = (int(field) * _TICK for field in fields[11:15])
    return user, system, children_user, children_system


def _peak(pid: int) -> int:
    for line in (_PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0


def tree(root: int) -> list[int]:
    """Return `root` and its descendants."""
    parents: dict[int, int] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    family = [root]
    for pid in family:
        family += [child for child, parent in parents.items() if parent == pid]
    return family
