"""`p2pmail machine`: the nodes and gateways of the domain, where they are, and how long their certificates hold."""

import sys
from datetime import UTC, datetime
from typing import Annotated, Literal

import typer
from rich.table import Column, Table

from gateway.administration import administer
from gateway.cli.options import DEFAULT_CONFIG, ConfigFile, plain_console
from gateway.site import Site

_COLUMNS = ("role", "name", "endpoint", "certificate until", "node ID")


def register(app: typer.Typer) -> None:
    machines = typer.Typer(help="The nodes and gateways of the domain.", no_args_is_help=True)
    app.add_typer(machines, name="machine")
    console = plain_console()

    @machines.command("list")
    def list_machines(config: ConfigFile = DEFAULT_CONFIG) -> None:
        """List role, name, endpoint and end of the certificate of every machine; certificates are renewed at half-time.

        Runs where the directory is.
        """
        table = Table(*(Column(name, overflow="fold") for name in _COLUMNS), box=None)
        for machine in administer(Site.open(config), "machine-list"):
            until = datetime.fromtimestamp(machine["expires"] / 1_000, UTC).strftime("%Y-%m-%d")
            table.add_row(machine["role"], machine["name"], machine["endpoint"], until, machine["node_id"])
        if not sys.stdout.isatty():
            console.width = 10_000  # a program that reads this wants whole names
        console.print(table)

    @machines.command("set")
    def set_machine(
        name: Annotated[str, typer.Argument(help="The machine's name or node ID, as `machine list` shows it.")],
        endpoint: Annotated[str, typer.Argument(metavar="endpoint=HOST:PORT", help="Where it is reached now.")],
        config: ConfigFile = DEFAULT_CONFIG,
        role: Annotated[
            Literal["node", "gateway"] | None, typer.Option(help="Which, where a node and a gateway share the name.")
        ] = None,
    ) -> None:
        """Say where a machine is reached after its node.listen, node.advertise or relay endpoint was changed."""
        key, equals, value = endpoint.partition("=")
        if (key, equals) != ("endpoint", "="):
            raise typer.BadParameter("give it as in: p2pmail machine set n1 endpoint=n1.example.org:4466")
        moved = administer(Site.open(config), "machine-set", name=name, endpoint=value, role=role)
        console.print(f"{moved['role']} {moved['name']} → {moved['endpoint']}")
