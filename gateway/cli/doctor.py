"""`p2pmail doctor`: whether the world can mail this domain and this machine the world, and what to do where not."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from gateway.cli.options import DEFAULT_CONFIG, ConfigFile, plain, plain_console
from gateway.doctor.examination import examine
from gateway.doctor.findings import Finding, failed
from gateway.site import Site
from p2pcore.clock import system_clock

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def register(app: typer.Typer) -> None:
    @app.command("doctor")
    def doctor(
        config: ConfigFile = DEFAULT_CONFIG,
        outside: Annotated[
            str, typer.Option(metavar="DOMAIN", help="A domain that takes mail, to try port 25 outwards.")
        ] = "gmail.com",
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    ) -> None:
        """Check DNS records, ports, certificates, clock, gateways and nodes; exit code 1 where something fails."""
        findings = asyncio.run(examine(Site.open(config), system_clock, outside))
        if as_json:
            print(json.dumps([asdict(finding) for finding in findings], indent=2))
        else:
            show(findings, plain_console())
        if failed(findings):
            raise typer.Exit(1)


def show(findings: Sequence[Finding], console: Console) -> None:
    """Print findings for a person; what strangers said is text and nothing else."""
    for finding in findings:
        console.print(f"{finding.level:4} ", style=_STYLES[finding.level], end="")
        console.print(f"{finding.check}: {plain(finding.subject)}: {plain(finding.detail)}")
        for line in finding.remedy.splitlines() if finding.level != "ok" else ():
            console.print(f"       {plain(line)}")
