"""`p2pmail invite`, `join`, `ca sign`, `recover`: more machines for one domain, and a lost one back."""

import getpass
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gateway import joining, recovery
from gateway.administration import administer
from gateway.cli.options import (
    DEFAULT_CONFIG,
    FILE,
    ConfigFile,
    PasswordStdin,
    SeedOverrides,
    plain_console,
    read_file,
    read_line,
    read_text,
)
from gateway.errors import ConfigurationError
from gateway.site import CONFIG_NAME, Site


def register(app: typer.Typer) -> None:
    console = plain_console()
    authority = typer.Typer(help="The domain's certificate authority.", no_args_is_help=True)
    app.add_typer(authority, name="ca")

    @app.command("invite")
    def invite(
        role: Annotated[Literal["node", "gateway", "user"], typer.Argument(help="What it may become.")],
        name: Annotated[
            str, typer.Argument(help="The user's address, the gateway's host name, or any name for a node.")
        ],
        config: ConfigFile = DEFAULT_CONFIG,
    ) -> None:
        """Print an invitation for a further machine or user; its code works once, for seven days."""
        print(administer(Site.open(config), "invite", role=role, name=name)["text"], end="")

    @app.command("join")
    def join(
        directory: Annotated[Path, typer.Argument(help="Where this machine's configuration and data will be, or are.")],
        invitation: Annotated[str | None, typer.Option(help="The invitation: " + FILE)] = None,
        answer: Annotated[str | None, typer.Option(help="The answer of `p2pmail ca sign`: " + FILE)] = None,
        password_stdin: PasswordStdin = False,
        overrides: SeedOverrides = [],  # noqa: B006 -- typer copies it
    ) -> None:
        """Join a domain: first with --invitation (prints a request for `ca sign`), then with --answer.

        A user may also join a directory that has an agent of her domain already: it then serves her as well.
        """
        if (invitation is None) == (answer is None):
            raise typer.BadParameter("give either --invitation or --answer")
        if answer is None:
            if password_stdin:
                raise typer.BadParameter("--password-stdin goes with --answer")
            print(_request(directory, read_text(str(invitation)), overrides), end="")
            return
        if overrides:
            raise typer.BadParameter("--set goes with --invitation")
        password = read_line("password") if password_stdin else secrets.token_urlsafe(12)
        joined = _finish(directory, read_text(answer), password)
        console.print(f"Admitted as {joined.role} {joined.name}.")
        if joined.role == "user" and not password_stdin:
            console.print(f"Password for her mail reader: {password}")
        if joined.kit_passphrase:
            console.print(f"Recovery kit: {joined.kit}\nIts passphrase: {joined.kit_passphrase}")
            console.print("Keep both, apart from each other and from this machine.")
        console.print(f"Next, unless it is running: p2pmail run -c {directory / CONFIG_NAME}")

    @authority.command("sign")
    def sign(
        request: Annotated[
            str, typer.Argument(help="The request that `p2pmail join` or `user rotate` printed: " + FILE)
        ],
        config: ConfigFile = DEFAULT_CONFIG,
    ) -> None:
        """Admit a newcomer (its invitation is then used up) or a user's new keys; prints the answer for `--answer`."""
        print(administer(Site.open(config), "sign", request=read_text(request))["text"], end="")

    @app.command("recover")
    def recover(
        kit: Annotated[Path, typer.Argument(help="The recovery kit.")],
        config: ConfigFile = DEFAULT_CONFIG,
        overrides: SeedOverrides = [],  # noqa: B006 -- typer copies it
    ) -> None:
        """Install a user's keys from her kit; asks for its passphrase and a new password, or reads two lines.

        Where she has an account here with newer keys, as after a theft, the kit's only open what was in transit.

        Where the configuration file does not exist, a new site with her agent is made, for which a node to begin with
        is needed: --set 'node.bootstrap=["host:port"]'.
        """
        octets = read_file(str(kit))
        if config.exists() and overrides:
            raise ConfigurationError(f"{config}: exists already; change it there, without --set")
        if sys.stdin.isatty():
            passphrase, password = getpass.getpass("Kit's passphrase: "), getpass.getpass("New password: ")
            if getpass.getpass("New password, once more: ") != password:
                raise ConfigurationError("the two passwords are not the same")
        else:
            passphrase, password = read_line("passphrase"), read_line("password")
        if config.exists():
            given = {"kit": octets.hex(), "passphrase": passphrase, "password": password}
            recovered = administer(Site.open(config), "recover", **given)
            address = recovered["address"]
            if not recovered["new"]:
                console.print(f"The account of {address} here now opens what was sealed to the kit's keys as well.")
                return
        else:
            identity = recovery.opened(octets, passphrase)
            recovery.recover_site(config, identity, password, overrides)
            address = identity.name
        console.print(f"Recovered {address}.\nNext, unless it is running: p2pmail run -c {config}")


def _request(directory: Path, invitation: str, overrides: list[str]) -> str:
    config = directory / CONFIG_NAME
    if not config.exists():
        return joining.request_admission(directory, invitation, overrides)
    if overrides:
        raise ConfigurationError(f"{config}: exists already; change it there, without --set")
    return str(administer(Site.open(config), "join-request", invitation=invitation)["text"])


def _finish(directory: Path, answer: str, password: str) -> joining.Joined:
    config = directory / CONFIG_NAME
    if not config.exists():
        return joining.finish_join(directory, answer, password)
    joined: dict[str, Any] = administer(Site.open(config), "join-answer", answer=answer, password=password)
    return joining.Joined(**joined)
