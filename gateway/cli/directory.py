"""`p2pmail alias`, `revoke`, `domain`: what only the domain's directory may change."""

import re
from typing import Annotated

import typer

from gateway.administration import administer
from gateway.cli.options import DEFAULT_CONFIG, ConfigFile, plain_console
from gateway.site import Site

_TARGETS = "The users' addresses."


def register(app: typer.Typer) -> None:
    console = plain_console()
    aliases = typer.Typer(help="Further addresses of users, also of several at once.", no_args_is_help=True)
    app.add_typer(aliases, name="alias")
    domain = typer.Typer(help="Settings of the whole domain.", no_args_is_help=True)
    app.add_typer(domain, name="domain")

    @aliases.command("set")
    def alias_set(
        alias: Annotated[str, typer.Argument(help="The further address.")],
        targets: Annotated[list[str], typer.Argument(help=_TARGETS)],
        config: ConfigFile = DEFAULT_CONFIG,
    ) -> None:
        """Deliver mail for ALIAS to these users; @DOMAIN as ALIAS means every address that nothing else takes."""
        administer(Site.open(config), "alias-set", alias=alias, targets=targets)
        console.print(f"{alias} → {', '.join(targets)}")

    @aliases.command("remove")
    def alias_remove(
        alias: Annotated[str, typer.Argument(help="The further address.")], config: ConfigFile = DEFAULT_CONFIG
    ) -> None:
        """Take an alias away."""
        administer(Site.open(config), "alias-remove", alias=alias)
        console.print(f"{alias} removed.")

    @aliases.command("list")
    def alias_list(config: ConfigFile = DEFAULT_CONFIG) -> None:
        """List the aliases, who takes the rest, and who is postmaster, each with the users it means."""
        listed = administer(Site.open(config), "alias-list")
        for alias, users in listed["aliases"].items():
            console.print(f"{alias} → {', '.join(users)}")
        console.print(f"catch-all → {', '.join(listed['catch_all']) or 'nobody'}")
        console.print(f"postmaster, abuse → {listed['postmaster'] or 'nobody'}")

    @aliases.command("catch-all")
    def catch_all(
        targets: Annotated[list[str] | None, typer.Argument(help=_TARGETS, show_default="nobody")] = None,
        config: ConfigFile = DEFAULT_CONFIG,
    ) -> None:
        """Deliver what is for no other address to these users; none: refuse it."""
        administer(Site.open(config), "catch-all", targets=targets or [])
        console.print(f"catch-all → {', '.join(targets or ['nobody'])}")

    @domain.command("set")
    def domain_set(
        assignments: Annotated[list[str], typer.Argument(metavar="k=N w=N", help="Copies, and the quorum.")],
        config: ConfigFile = DEFAULT_CONFIG,
    ) -> None:
        """Set how many copies of every object there are (k) and how many must be on disk before 250 (w)."""
        values = dict(assignment.partition("=")[::2] for assignment in assignments)
        if set(values) != {"k", "w"} or not all(re.fullmatch("[0-9]{1,4}", value) for value in values.values()):
            raise typer.BadParameter("give both, as in: p2pmail domain set k=3 w=2")
        administer(Site.open(config), "domain-set", k=int(values["k"]), w=int(values["w"]))
        console.print(f"From now on k = {values['k']}, w = {values['w']}.")

    @domain.command("postmaster")
    def postmaster(
        address: Annotated[str, typer.Argument(help="A user's address.")], config: ConfigFile = DEFAULT_CONFIG
    ) -> None:
        """Say which user receives mail for postmaster and abuse."""
        administer(Site.open(config), "postmaster", address=address)
        console.print(f"postmaster → {address}")

    @app.command("revoke")
    def revoke(
        name: Annotated[str, typer.Argument(help="User's address, machine's name, node ID or serial (hex).")],
        config: ConfigFile = DEFAULT_CONFIG,
        compromised: Annotated[bool, typer.Option(help="Its key is in other hands.")] = False,
    ) -> None:
        """Revoke a certificate. It counts no more at every node and sender within minutes."""
        administer(Site.open(config), "revoke", name=name, reason="compromised" if compromised else "retired")
        console.print(f"{name}: revoked.")
