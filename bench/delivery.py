"""How fast mail gets from an SMTP client into IMAP IDLE: p2pmail beside a private Postfix and Dovecot, same load."""

import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Protocol

import typer
from rich.console import Console

from bench import load, measure, ours, postfix, report
from bench.idle import IdleReader
from bench.load import Load
from bench.measure import Usage
from bench.report import Result
from tests.harness.machines import PASSWORD

_WARM_UP = 5  # messages per session
_SETTLE = 10.0  # seconds until a restarted agent is idle
_PERIOD = 30.0  # seconds that idle requests are counted for
_PATIENCE = 60.0  # seconds without any message
_PAIR_PROBES = 20  # each waits 500 ms for Dovecot's announcement

console = Console(stderr=True)


class System(Protocol):
    """What is measured."""

    address: str
    smtp: tuple[str, int]
    imap: tuple[str, int]

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def usage(self) -> dict[str, Usage]: ...


@dataclass(frozen=True)
class Plan:
    """What is done with each system; `idle`: seconds to count requests for, 0: not at all; `ahead` of other work."""

    load: Load
    probes: int
    idle: float
    ahead: bool

    def ours(self, name: str, system: ours.Ours) -> Result:
        """Measure one of our set-ups; its directory is its owner's to remove."""
        try:
            result = self._run(name, system, PASSWORD, self.probes, None)
            if self.idle:
                console.print(f"{name}: counting requests for {self.idle:.0f} s")
                pause = partial(time.sleep, self.idle)
                requests = system.count_requests(pause, settle=partial(time.sleep, _SETTLE))
                rates = {endpoint: count * _PERIOD / self.idle for endpoint, count in requests.items()}
                result = replace(result, idle_requests=rates)
        finally:
            system.stop()
        return result

    def pair(self, system: postfix.Pair) -> Result:
        """Measure Postfix and Dovecot."""
        try:
            probes = min(self.probes, _PAIR_PROBES)
            return self._run("Postfix + Dovecot", system, postfix.PASSWORD, probes, system.last_delivery)
        finally:
            system.stop()

    def _run(
        self, name: str, system: System, password: str, probes: int, last_delivery: Callable[[], float] | None
    ) -> Result:
        """`last_delivery`: when the mailbox got its newest message, where that is known beside the announcement."""
        console.print(f"{name}: starting")
        system.start()
        if self.ahead:
            measure.put_ahead()
        reader = IdleReader(system.imap, system.address, password)
        try:
            warm_up = replace(self.load, messages=_WARM_UP * self.load.sessions)
            load.send(warm_up, system.smtp, system.address)
            reader.wait_for(warm_up.messages, _PATIENCE)
            console.print(f"{name}: {self.load.messages} messages of {self.load.size} octets")
            used, begin, wall = system.usage(), time.monotonic(), time.time()
            expected = reader.count + self.load.messages
            accepted = load.send(self.load, system.smtp, system.address)
            visible = reader.wait_for(expected, _PATIENCE) - begin
            used = measure.difference(system.usage(), used)
            delivered = last_delivery() - wall if last_delivery else visible
            console.print(f"{name}: {probes} messages one at a time")
            latencies = load.probe(probes, self.load.size, system.smtp, system.address, reader)
        finally:
            reader.close()
            if self.ahead:
                measure.fall_back()
        count = self.load.messages
        return Result(name, count, count / accepted, count / delivered, count / visible, latencies, used)


def main(
    messages: Annotated[int, typer.Option(help="Messages of one run.")] = 3_000,
    size: Annotated[int, typer.Option(help="Octets of each body.")] = 8_192,
    sessions: Annotated[int, typer.Option(help="SMTP connections at a time.")] = 20,
    probes: Annotated[int, typer.Option(help="Messages sent one at a time for latency.")] = 100,
    repeat: Annotated[int, typer.Option(help="Runs of everything, each on fresh directories.")] = 2,
    one_machine: Annotated[bool, typer.Option(help="Also measure k = 1, everything in one process.")] = False,
    three_nodes: Annotated[bool, typer.Option(help="Measure k = 3 on three nodes.")] = True,
    pair: Annotated[bool, typer.Option(help="Also measure Postfix and Dovecot, where installed.")] = True,
    idle: Annotated[float, typer.Option(help="Seconds over which an idle agent's requests are counted.")] = 60.0,
    ahead: Annotated[bool, typer.Option(help="Run before other work on this machine; root, Linux autogroups.")] = False,
    directory: Annotated[Path | None, typer.Option(help="Where temporary data goes.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write everything to this file.")] = None,
) -> None:
    """Measure accepted/s, delivered/s, latency, memory and CPU time."""
    reason = postfix.missing()
    if pair and reason:
        console.print(f"Postfix and Dovecot are left out: {reason}")
    wanted = Load(messages, size, sessions)
    results: list[Result] = []
    for number in range(1, repeat + 1):
        plan = Plan(wanted, probes, idle if number == repeat else 0, ahead)
        with tempfile.TemporaryDirectory(prefix="p2pmail-bench-", dir=directory) as name:
            place = Path(name)
            place.chmod(0o711)  # Postfix and Dovecot work under other users
            if three_nodes:
                results.append(plan.ours("p2pmail, k = 3", ours.three_nodes(place / "three")))
            if one_machine:
                results.append(plan.ours("p2pmail, one machine", ours.one_machine(place / "one")))
            if pair and not reason:
                results.append(plan.pair(postfix.Pair(place / "pair")))
    command = shlex.join(["python", "-m", "bench.delivery", *sys.argv[1:]])
    output = Console()
    output.print(f"{report.machine()}\n{command}\nload: {load.generator()}", soft_wrap=True)
    report.show(output, results)
    if json_file is not None:
        json_file.write_text(report.to_json(command, load.generator(), results))


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
