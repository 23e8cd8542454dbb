"""`p2pmail dns`: the records that the domain needs, as lines of a zone file."""

import asyncio
from typing import Annotated, Literal

import typer

from gateway.cli.options import DEFAULT_CONFIG, ConfigFile
from gateway.doctor import zone
from gateway.doctor.facts import domain_record, zone_of
from gateway.doctor.reach import Reach
from gateway.resolver import Resolver
from gateway.site import Site


def register(app: typer.Typer) -> None:
    @app.command("dns")
    def dns(
        config: ConfigFile = DEFAULT_CONFIG,
        mta_sts: Annotated[
            Literal["testing", "enforce", "none"],
            typer.Option(help="Mode of the MTA-STS policy; enforce needs certificates of a public authority."),
        ] = "testing",
    ) -> None:
        """Print the zone: MX, addresses, SPF, DKIM, DMARC, MTA-STS and its policy file, SRV and autoconfig."""
        site = Site.open(config)
        resolver = Resolver(site.config.outbound.resolvers)
        found = asyncio.run(zone_of(site, domain_record(site), resolver, Reach(resolver), mta_sts))
        print(zone.text(found), end="")
