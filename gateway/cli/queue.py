"""`p2pmail queue` and `p2pmail dkim`: mail on its way out, and the key that signs it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway import control
from gateway.cli.options import DEFAULT_CONFIG, ConfigFile, plain_console
from gateway.doctor.zone import key_record
from gateway.errors import ConfigurationError
from gateway.outbound.params import LISTED, LISTED_RECIPIENTS
from gateway.site import Site
from p2pcore.crypto.dkim_keys import dkim_record

Id = Annotated[str, typer.Argument(metavar="ID", help="As `p2pmail queue list` shows it.")]


def register(app: typer.Typer) -> None:
    queue = typer.Typer(help="Mail on its way out: the gateway's queue and the users' outboxes.", no_args_is_help=True)
    app.add_typer(queue, name="queue")
    console = plain_console()

    @queue.command("list")
    def list_queue(
        config: ConfigFile = DEFAULT_CONFIG,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    ) -> None:
        """List what waits, with the last reply."""
        items = _ask(config, "queue-list")
        if as_json:
            print(json.dumps(items, indent=2))
            return
        for item in items:
            console.print(
                f"{item['id']}  {item['where']}  {_time(item['accepted'])}  <{item['from']}>  {item['size']} octets"
            )
            for recipient in item["recipients"]:
                due = f", next attempt {_time(recipient['next_attempt'])}" if recipient["state"] == "pending" else ""
                reply = _plain(recipient["reply"])
                console.print(f"    {recipient['to']}: {recipient['state']}{due}  {reply}")
        if not items:
            console.print("Nothing waits.")
        elif len(items) >= LISTED or 2 * sum(len(item["recipients"]) for item in items) > LISTED_RECIPIENTS:
            console.print("Of each queue the oldest are listed; `p2pmail status` counts all.")

    @queue.command("show")
    def show(message: Id, config: ConfigFile = DEFAULT_CONFIG) -> None:
        """Show one message's envelope and what happened to each recipient."""
        print(json.dumps(_ask(config, "queue-show", id=message), indent=2))

    @queue.command("retry")
    def retry(
        message: Annotated[str, typer.Argument(metavar="[ID]", help="One message; none: all.")] = "",
        config: ConfigFile = DEFAULT_CONFIG,
    ) -> None:
        """Try now, also what was held."""
        console.print(f"{_ask(config, 'queue-retry', id=message)} to be tried now.")

    @queue.command("hold")
    def hold(message: Id, config: ConfigFile = DEFAULT_CONFIG) -> None:
        """Leave a message of the gateway's queue alone until `queue retry`."""
        _ask(config, "queue-hold", id=message)
        console.print(f"{message} is held.")

    @queue.command("remove")
    def remove(message: Id, config: ConfigFile = DEFAULT_CONFIG) -> None:
        """Take a message out, without any report to its sender."""
        _ask(config, "queue-remove", id=message)
        console.print(f"{message} is removed.")

    @queue.command("release")
    def release(config: ConfigFile = DEFAULT_CONFIG) -> None:
        """Let outboxes send that are held because their mailbox is new or from a backup; see `p2pmail status`."""
        released = _ask(config, "queue-release")
        console.print(f"Sending again: {', '.join(released)}" if released else "No outbox is held.")

    @app.command("dkim")
    def dkim(config: ConfigFile = DEFAULT_CONFIG) -> None:
        """Print the DNS records of this gateway's DKIM keys, RSA and Ed25519 (made now if there are none)."""
        site = Site.open(config)
        if "gateway" not in site.config.domain.roles:
            raise ConfigurationError("domain.roles: no gateway runs here; each has its own keys: type it there")
        for selector, key in site.dkim_keys().items():
            print(key_record(site.config.domain.name, selector, dkim_record(key)))


def _ask(config: Path, command: str, **arguments: str) -> Any:
    return control.ask(Site.open(config).control_socket, command, arguments)


def _plain(text: str) -> str:
    """Return a stranger's words without what a terminal would obey."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S") if milliseconds else ""
