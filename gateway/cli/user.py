"""`p2pmail user`: the users of the domain."""

import secrets
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from gateway.administration import administer
from gateway.cli.options import DEFAULT_CONFIG, FILE, ConfigFile, PasswordStdin, plain_console, read_line, read_text
from gateway.site import Site


def register(app: typer.Typer) -> None:
    users = typer.Typer(help="The users of the domain.", no_args_is_help=True)
    app.add_typer(users, name="user")
    console = plain_console()

    @users.command("add")
    def add(
        address: Annotated[str, typer.Argument(help="Her mail address in this domain.")],
        config: ConfigFile = DEFAULT_CONFIG,
        password_stdin: PasswordStdin = False,
    ) -> None:
        """Add a user whose agent is on this machine. For a user on another machine: `p2pmail invite`."""
        password = read_line("password") if password_stdin else secrets.token_urlsafe(12)
        added = administer(Site.open(config), "user-add", address=address, password=password)
        console.print(f"Added {added['address']}.")
        if not password_stdin:
            console.print(f"Password: {password}")
        _show_kit(console, added)

    @users.command("list")
    def list_users(config: ConfigFile = DEFAULT_CONFIG) -> None:
        """List the domain's users, their aliases and where their agents are."""
        table = Table(*(Column(name, overflow="fold") for name in ("address", "aliases", "agent")), box=None)
        for user in administer(Site.open(config), "user-list"):
            table.add_row(user["address"], ", ".join(user["aliases"]), "here" if user["here"] else "elsewhere")
        if not sys.stdout.isatty():
            console.width = 10_000  # a program that reads this wants whole addresses
        console.print(table)

    @users.command("remove")
    def remove(
        address: Annotated[str, typer.Argument(help="Her mail address.")], config: ConfigFile = DEFAULT_CONFIG
    ) -> None:
        """Remove a user: her certificate is revoked and mail to her is refused. Her stored mail stays on disk.

        Whoever is added under the same address finds that mail again; move accounts/ADDRESS away to prevent it.
        """
        removed = administer(Site.open(config), "user-remove", address=address)
        console.print(f"Removed {removed['address']}; her certificate is revoked.")

    @users.command("password")
    def password(
        address: Annotated[str, typer.Argument(help="Her mail address.")],
        config: ConfigFile = DEFAULT_CONFIG,
        password_stdin: PasswordStdin = False,
    ) -> None:
        """Give a user a new password for her mail reader."""
        new = read_line("password") if password_stdin else secrets.token_urlsafe(12)
        administer(Site.open(config), "user-password", address=address, password=new)
        console.print("Password changed." if password_stdin else f"Password: {new}")

    @users.command("kit")
    def kit(
        address: Annotated[str, typer.Argument(help="Her mail address.")], config: ConfigFile = DEFAULT_CONFIG
    ) -> None:
        """Write a new recovery kit for a user whose agent is here, under a new passphrase; see `p2pmail recover`."""
        _show_kit(console, administer(Site.open(config), "user-kit", address=address))

    @users.command("rotate")
    def rotate(
        address: Annotated[str, typer.Argument(help="Her mail address.")],
        config: ConfigFile = DEFAULT_CONFIG,
        compromised: Annotated[
            bool, typer.Option("--compromised", help="Her keys are in other hands: revoke them as well.")
        ] = False,
        answer: Annotated[str | None, typer.Option(help="The answer of `p2pmail ca sign`: " + FILE)] = None,
    ) -> None:
        """Give a user whose agent is here new keys. Mail sealed to the old ones is read still; her old kit is void.

        Where the directory is elsewhere this prints a request for `p2pmail ca sign` there; then again with --answer.
        """
        site = Site.open(config)
        if answer is None:
            done = administer(site, "user-rotate", address=address, compromised=compromised)
        else:
            done = administer(site, "user-rotated", address=address, answer=read_text(answer))
        if "request" in done:
            print(done["request"], end="")
            return
        console.print(f"{done['address']} has new keys.")
        if site.config.domain.roles == ("agent",):
            console.print("Restart p2pmail here when it suits: until then this machine speaks under the old ones.")
        _show_kit(console, done)


def _show_kit(console: Console, written: dict[str, str]) -> None:
    console.print(f"Recovery kit: {written['kit']}\nIts passphrase: {written['passphrase']}")
    console.print("Keep both, apart from each other and from this machine.")
