"""`p2pmail mailbox`: a user's mail checked, repaired, taken out, brought in, backed up and restored."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gateway import mailbox_jobs
from gateway.cli.options import DEFAULT_CONFIG, ConfigFile, plain_console
from gateway.errors import OperatorError
from gateway.mailbox.portable import Format
from gateway.site import Site

Address = Annotated[str, typer.Argument(help="Her mail address; her account is on this machine.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How the mail lies outside: mbox, maildir or eml.")]


def register(app: typer.Typer) -> None:
    mailbox = typer.Typer(help="The mail of users whose agents are here, as files.", no_args_is_help=True)
    app.add_typer(mailbox, name="mailbox")

    @mailbox.command("check")
    def check(address: Address, config: ConfigFile = DEFAULT_CONFIG) -> None:
        """Read all of a user's mail and say what is wrong with it; exit code 1 where something is."""
        _carry_out(config, "check", address)

    @mailbox.command("repair")
    def repair(address: Address, config: ConfigFile = DEFAULT_CONFIG) -> None:
        """Put right what `check` finds, where that loses nothing, and say what was done; mail readers are sent away."""
        _carry_out(config, "repair", address)

    @mailbox.command("export")
    def export(
        address: Address,
        directory: Annotated[Path, typer.Argument(help="A new directory; the mail in it is not encrypted.")],
        form: FormatOption = "mbox",
        config: ConfigFile = DEFAULT_CONFIG,
    ) -> None:
        """Write all of a user's mail to files, with flags, internal dates and mailboxes."""
        _carry_out(config, "export", address, path=directory, format=form)

    @mailbox.command("import")
    def import_mail(
        address: Address,
        source: Annotated[Path, typer.Argument(help="A directory, or one mbox file.")],
        form: FormatOption = "mbox",
        config: ConfigFile = DEFAULT_CONFIG,
    ) -> None:
        """Add mail from files to a user's mailboxes; what is imported twice is there twice."""
        _carry_out(config, "import", address, path=source, format=form)

    @mailbox.command("backup")
    def backup(
        address: Address,
        directory: Annotated[Path, typer.Argument(help="A new directory for the backup, which is encrypted.")],
        config: ConfigFile = DEFAULT_CONFIG,
    ) -> None:
        """Copy a user's mailbox and outbox as of this moment; her identity or recovery kit opens the copy."""
        _carry_out(config, "backup", address, path=directory)

    @mailbox.command("restore")
    def restore(
        address: Address,
        directory: Annotated[Path, typer.Argument(help="A backup of hers, by `p2pmail mailbox backup`.")],
        config: ConfigFile = DEFAULT_CONFIG,
    ) -> None:
        """Put a backup in place of a user's mailbox and outbox; what was there is kept beside them."""
        _carry_out(config, "restore", address, path=directory)


def _carry_out(config: Path, operation: str, address: str, **more: Any) -> None:
    arguments: dict[str, Any] = {"operation": operation, "address": address, **more}
    if "path" in more:
        arguments["path"] = str(Path(more["path"]).absolute())
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task(operation, total=None)

        def show(report: mailbox_jobs.Report) -> None:
            bar.update(
                task,
                description=report["what"] or operation,
                completed=report["done"],
                total=report["total"] or None,
            )

        ended = mailbox_jobs.carry_out(Site.open(config), show, arguments)
    console = plain_console()
    for line in ended["lines"]:
        console.print(line)
    if ended["error"]:
        failure = OperatorError(ended["error"])
        failure.exit_code = ended["exit_code"]
        raise failure
    if ended["exit_code"]:
        raise typer.Exit(ended["exit_code"])
