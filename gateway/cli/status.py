"""`p2pmail status`: what the running process knows and holds."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gateway import control
from gateway.cli.options import DEFAULT_CONFIG, ConfigFile
from gateway.site import Site
from p2pcore import params


def register(app: typer.Typer) -> None:
    @app.command("status")
    def status(
        config: ConfigFile = DEFAULT_CONFIG,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    ) -> None:
        """Ask the running process: roles, contacts, objects and entries held, what repair did, accounts, warnings."""
        site = Site.open(config)
        report = control.ask(site.control_socket, "status", {})
        if as_json:
            print(json.dumps(report, indent=2))
        else:
            show(report, Console(highlight=False, emoji=False, soft_wrap=True))


def show(report: dict[str, Any], console: Console) -> None:
    """Print a status report for a person."""
    table = Table(box=None, show_header=False)
    for name, value in report.items():
        if name in ("accounts", "warnings") or (name == "also" and not value):
            continue
        if name == "availability":
            shown: Any = availability(value)
        elif name == "repair":
            shown = repair(value)
        elif isinstance(value, dict):
            shown = ", ".join(f"{key} {item}" for key, item in value.items())
        else:
            shown = value
        table.add_row(name.replace("_", " "), ", ".join(shown) if isinstance(shown, list) else str(shown))
    console.print(table)
    for account in report["accounts"]:
        counted = f"{account['messages']} messages in {account['mailboxes']} mailboxes"
        console.print(f"{account['address']}: {counted}", markup=False)
    for warning in report["warnings"]:
        console.print(f"[yellow]warning:[/] {escape(warning)}")


def availability(estimate: dict[str, Any]) -> str:
    """Return in words how often nodes are up, and the k that it calls for."""
    seen = f"{estimate['samples']} hourly samples, {estimate['nodes']} nodes followed"
    if estimate["up"] is None:
        return f"not known before {params.UPTIME_SAMPLES} samples of two nodes or more ({seen})"
    return f"p {estimate['up']:.3g}, calls for k {estimate['k']} ({seen})"


def repair(counts: dict[str, Any]) -> str:
    """Return in words what repair found last, and what it has done and cost since the start."""
    last = counts["last"]
    if last is None:
        return "nothing to compare with other nodes so far"
    found = (
        f"{last['compared']:,} items compared, {last['passed_on']:,} passed on, {last['refused']:,} refused,"
        f" {last['ended']:,} ended, {last['silent']} nodes silent"
    )
    return (
        f"{datetime.fromtimestamp(last['time'] / 1_000, UTC):%Y-%m-%d %H:%M:%S} over {last['over']}: {found};"
        f" since the start {counts['rounds']:,} rounds, {counts['passed_on']:,} passed on,"
        f" {counts['refused']:,} refused, {counts['ended']:,} ended, {counts['requests']:,} requests,"
        f" {counts['octets_sent']:,} octets sent,"
        f" {counts['octets_received']:,} received"
    )
