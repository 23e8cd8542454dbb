"""What was measured, as JSON and as a table."""

import json
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.load import Latency
from bench.measure import Usage, percentile

_WORTH_A_ROW = 0.05  # ms of CPU time per message


@dataclass(frozen=True)
class Result:
    """One run through one system. Rates per second; `delivered` is by the mailbox's files, `visible` by IDLE."""

    system: str
    messages: int
    accepted: float
    delivered: float
    visible: float
    latencies: list[Latency]
    usage: dict[str, Usage]
    idle_requests: dict[str, float] = field(default_factory=dict)

    @property
    def cpu(self) -> float:
        """CPU ms per message over all processes."""
        return sum(usage.cpu for usage in self.usage.values()) / self.messages

    def latency(self, which: Callable[[Latency], float], percent: float) -> float:
        """Return a percentile of one latency in ms."""
        return percentile([which(each) for each in self.latencies], percent) * 1_000


def machine() -> str:
    """Return what this ran on."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    software = f"Linux {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} CPUs ({model}), {memory:.0f} GiB, {software}"


def to_json(command: str, generator: str, results: Sequence[Result]) -> str:
    """Return everything that was measured."""
    values = {
        "machine": machine(),
        "command": command,
        "load": generator,
        "runs": [{**asdict(result), "cpu_per_message": result.cpu} for result in results],
    }
    return json.dumps(values, indent=2)


def show(console: Console, results: Sequence[Result]) -> None:
    """Print the medians over the runs of each system, then memory and CPU time by process."""
    systems = list(dict.fromkeys(result.system for result in results))
    runs = {system: [result for result in results if result.system == system] for system in systems}
    _show_rates(console, runs)
    _show_processes(console, runs)
    for system, each in runs.items():
        for endpoint, rate in each[-1].idle_requests.items():
            console.print(
                f"{system}: an idle agent makes {rate:.2f} requests in 30 s to node {endpoint}", soft_wrap=True
            )


def _show_rates(console: Console, runs: dict[str, list[Result]]) -> None:
    rows: list[tuple[str, Callable[[Result], float], str]] = [
        ("accepted/s", lambda run: run.accepted, ".0f"),
        ("delivered/s", lambda run: run.delivered, ".0f"),
        ("visible in IDLE/s", lambda run: run.visible, ".0f"),
        ("CPU ms/message", lambda run: run.cpu, ".2f"),
        ("to 250, p50 ms", lambda run: run.latency(lambda each: each.accepted, 50), ".1f"),
        ("to 250, p99 ms", lambda run: run.latency(lambda each: each.accepted, 99), ".1f"),
        ("to IDLE, p50 ms", lambda run: run.latency(lambda each: each.announced, 50), ".1f"),
        ("to IDLE, p99 ms", lambda run: run.latency(lambda each: each.announced, 99), ".1f"),
    ]
    table = Table("median (least to most)", *runs)
    for title, value, form in rows:
        cells = []
        for each in runs.values():
            values = [value(run) for run in each]
            cell = f"{statistics.median(values):{form}}"
            cells.append(f"{cell} ({min(values):{form}} to {max(values):{form}})" if len(values) > 1 else cell)
        table.add_row(title, *cells)
    console.print(table)


def _show_processes(console: Console, runs: dict[str, list[Result]]) -> None:
    table = Table("last run", "processes", "peak MiB of one", "CPU ms/message")
    for system, each in runs.items():
        run = each[-1]
        table.add_section()
        table.add_row(f"[bold]{system}[/]", "", "", f"{run.cpu:.2f}")
        for name, usage in run.usage.items():
            if usage.cpu / run.messages >= _WORTH_A_ROW:
                peak, cpu = f"{usage.peak / 1024:.0f}", f"{usage.cpu / run.messages:.2f}"
                table.add_row(name, str(usage.processes), peak, cpu)
    console.print(table)
