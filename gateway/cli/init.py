"""`p2pmail init`: a new domain on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from gateway import config as configuration
from gateway.cli.options import SeedOverrides, plain_console
from gateway.founding import found_domain
from gateway.site import CONFIG_NAME


def register(app: typer.Typer) -> None:
    @app.command("init")
    def init(
        directory: Annotated[Path, typer.Argument(help="Where the configuration and all data will be.")],
        domain: Annotated[str, typer.Option(help="The mail domain to found.")],
        overrides: SeedOverrides = [],  # noqa: B006 -- typer copies it
    ) -> None:
        """Found a domain: configuration file, certificate authority, this machine's identities."""
        raw = configuration.with_overrides({"domain": {"name": domain}}, overrides)
        site = found_domain(directory, configuration.check(raw, "p2pmail init"))
        console = plain_console()
        console.print(f"Founded {site.config.domain.name} in {directory.resolve()}")
        if "agent" in site.config.domain.roles:
            console.print(f"Next: p2pmail user add you@{site.config.domain.name} -c {directory / CONFIG_NAME}")
        console.print(f"Then: p2pmail run -c {directory / CONFIG_NAME}")
