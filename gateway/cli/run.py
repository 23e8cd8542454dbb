"""`p2pmail run`: the program itself."""

import typer

from gateway.cli.options import DEFAULT_CONFIG, ConfigFile, Overrides
from gateway.site import Site


def register(app: typer.Typer) -> None:
    @app.command("run")
    def run(config: ConfigFile = DEFAULT_CONFIG, overrides: Overrides = []) -> None:  # noqa: B006 -- typer copies it
        """Run this machine's roles until SIGINT, SIGTERM or SIGHUP."""
        site = Site.open(config, tuple(overrides))
        from gateway.main import serve  # here, so that the other commands need not wait for it

        serve(site)
