"""How fast the gateway takes mail over SMTP with everything on but storage, beside aiosmtpd as it is, same load."""

import json
import shlex
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench import load, measure, report
from bench.load import Load
from bench.receivers import OURS, RECIPIENT, STOCK, Receiver

_WARM_UP = 5  # messages per session
_SIZES = [1 << 10, 8 << 10, 1 << 20, 8 << 20]

console = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Run:
    """`rate`: messages a second by the clock; `cpu`: the server's CPU ms per message; `peak`: its VmHWM in KiB."""

    server: str
    size: int
    rate: float
    cpu: float
    peak: int


def main(
    sizes: Annotated[list[int] | None, typer.Option("--size", help="Octets of each body; may be repeated.")] = None,
    octets: Annotated[int, typer.Option(help="Octets of one run, at the most messages.")] = 512 << 20,
    messages: Annotated[int, typer.Option(help="Messages of one run at the most.")] = 4_000,
    sessions: Annotated[int, typer.Option(help="SMTP connections at a time.")] = 20,
    repeat: Annotated[int, typer.Option(help="Runs of everything, the two servers in turn.")] = 3,
    ahead: Annotated[bool, typer.Option(help="Run before other work on this machine; root, Linux autogroups.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write everything to this file.")] = None,
) -> None:
    """Measure messages/s, MB/s and CPU time of the server alone."""
    chosen = sizes or _SIZES
    loads = [Load(max(sessions, min(messages, octets // size)), size, sessions) for size in chosen]
    runs: list[Run] = []
    for number in range(1, repeat + 1):
        for name in (OURS, STOCK):
            console.print(f"{name}: run {number}")
            runs += _measure(name, loads, ahead=ahead)
    command = shlex.join(["python", "-m", "bench.smtp_receive", *sys.argv[1:]])
    output = Console()
    output.print(f"{report.machine()}\n{command}\nload: {load.generator()}", soft_wrap=True)
    _show(output, runs, chosen)
    if json_file is not None:
        values = {"machine": report.machine(), "command": command, "runs": [asdict(run) for run in runs]}
        json_file.write_text(json.dumps(values, indent=2))


def _measure(name: str, loads: Sequence[Load], *, ahead: bool) -> list[Run]:
    receiver = Receiver(name)
    runs = []
    try:
        receiver.start()
        if ahead:
            measure.put_ahead()
        load.send(Load(_WARM_UP * loads[0].sessions, loads[0].size, loads[0].sessions), receiver.endpoint, RECIPIENT)
        for each in loads:
            before = receiver.usage()
            seconds = load.send(each, receiver.endpoint, RECIPIENT)
            used = receiver.usage().since(before)
            runs.append(Run(name, each.size, each.messages / seconds, used.cpu / each.messages, used.peak))
    finally:
        if ahead:
            measure.fall_back()
        receiver.stop()
    return runs


def _show(output: Console, runs: Sequence[Run], sizes: Sequence[int]) -> None:
    """Print medians, and what the ratio of the two servers is in each."""
    table = Table("octets", "server", "messages/s", "MB/s", "CPU ms/message", "peak MiB")
    for size in sizes:
        table.add_section()
        medians = {
            name: _median([run for run in runs if (run.server, run.size) == (name, size)]) for name in (OURS, STOCK)
        }
        for name, run in medians.items():
            cells = f"{run.rate:.0f}", f"{run.rate * size / 1e6:.1f}", f"{run.cpu:.2f}", f"{run.peak / 1024:.0f}"
            table.add_row(f"{size:,}", name, *cells)
        ours, stock = medians[OURS], medians[STOCK]
        ratio = f"{ours.rate / stock.rate:.2f}"
        table.add_row("", "ratio", ratio, ratio, f"{ours.cpu / stock.cpu:.2f}", "")
    output.print(table)


def _median(runs: Sequence[Run]) -> Run:
    first = runs[0]
    rate, cpu = statistics.median(run.rate for run in runs), statistics.median(run.cpu for run in runs)
    return Run(first.server, first.size, rate, cpu, max(run.peak for run in runs))


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
