"""How fast IMAP is: the same work on p2pmail's server and on a private Dovecot, row by row, and the ratios."""

import json
import shlex
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import measure, report
from bench.imap_crowd import measure_clients, measure_folders, measure_idle
from bench.imap_large import measure_large
from bench.imap_messages import Correspondence
from bench.imap_rows import Sheet, show, to_values
from bench.imap_servers import Dovecot, Ours, Server
from bench.imap_work import measure_work

_SEED = 1
_FEW = 300  # messages that random clients begin with

console = Console(stderr=True)


class Part(Enum):
    """What can be measured by itself."""

    WORK = "work"
    LARGE = "large"
    FOLDERS = "folders"
    IDLE = "idle"
    CLIENTS = "clients"


@dataclass(frozen=True)
class Plan:
    """Sizes of the work."""

    messages: int
    size: int
    large: int
    large_size: int
    idle: int
    clients: int
    seconds: float

    def measure(self, part: Part, server: Server, sheet: Sheet) -> None:
        """Do one part's work on a fresh server."""
        source = Correspondence(_SEED, self.size)
        match part:
            case Part.WORK:
                measure_work(server, list(source.messages(self.messages)), sheet)
            case Part.LARGE:
                measure_large(server, self.large, self.large_size, sheet)
            case Part.FOLDERS:
                measure_folders(server, list(source.messages(_FEW)), sheet)
            case Part.IDLE:
                measure_idle(server, self.idle, sheet)
            case Part.CLIENTS:
                measure_clients(server, list(source.messages(_FEW)), self.clients, self.seconds, sheet)


def main(
    only: Annotated[list[Part] | None, typer.Option(help="Measure only this part; may be given again.")] = None,
    messages: Annotated[int, typer.Option(help="Messages of the mailbox that is worked on.")] = 2_000,
    size: Annotated[int, typer.Option(help="Octets of a message, on average.")] = 7_500,
    large: Annotated[int, typer.Option(help="Messages of the large mailbox.")] = 100_000,
    large_size: Annotated[int, typer.Option(help="Octets of a message there, on average.")] = 3_000,
    idle: Annotated[int, typer.Option(help="Connections in IDLE.")] = 500,
    clients: Annotated[int, typer.Option(help="Random clients.")] = 20,
    seconds: Annotated[float, typer.Option(help="How long they go on.")] = 30.0,
    repeat: Annotated[int, typer.Option(help="Runs of everything but the large mailbox, on fresh directories.")] = 3,
    dovecot: Annotated[bool, typer.Option(help="Also measure Dovecot, where installed.")] = True,
    ours: Annotated[bool, typer.Option(help="Measure p2pmail.")] = True,
    ahead: Annotated[bool, typer.Option(help="Run before other work on this machine; root, Linux autogroups.")] = False,
    directory: Annotated[Path | None, typer.Option(help="Where temporary data goes.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write everything to this file.")] = None,
) -> None:
    """Measure every part on both servers, the runs of each part alternating."""
    makers: list[Callable[[Path], Server]] = [Ours] if ours else []
    reason = Dovecot.missing()
    if dovecot and reason:
        console.print(f"Dovecot is left out: {reason}")
    elif dovecot:
        makers.append(Dovecot)
    plan = Plan(messages, size, large, large_size, idle, clients, seconds)
    sheets: dict[str, Sheet] = {}
    for part in only or list(Part):
        for _ in range(1 if part in (Part.LARGE, Part.IDLE) else repeat):
            for make in makers:
                name, sheet = _run(plan, part, make, directory, ahead=ahead)
                sheets.setdefault(name, Sheet()).add(sheet)
    command = shlex.join(["python", "-m", "bench.imap", *sys.argv[1:]])
    output = Console()
    output.print(f"{report.machine()}\n{command}", soft_wrap=True)
    show(output, sheets)
    if json_file is not None:
        values = {"machine": report.machine(), "command": command, **to_values(sheets)}
        json_file.write_text(json.dumps(values, indent=2))


def _run(
    plan: Plan, part: Part, make: Callable[[Path], Server], directory: Path | None, *, ahead: bool
) -> tuple[str, Sheet]:
    sheet = Sheet()
    with tempfile.TemporaryDirectory(prefix="p2pmail-bench-", dir=directory) as name:
        place = Path(name)
        place.chmod(0o711)  # Dovecot works under another user
        server = make(place / "server")
        console.print(f"{server.name}: {part.value}")
        server.start()
        try:
            if ahead:
                measure.put_ahead()
            plan.measure(part, server, sheet)
        finally:
            if ahead:
                measure.fall_back()
            server.stop()
    return server.name, sheet


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
