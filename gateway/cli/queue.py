"""`p2pmail queue` and `p2pmail dkim`: mail on its way out, and the key that signs it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway import control
from gateway.cli.options import DEFAULT_CONFIG, ConfigFile, plain, plain_console
from gateway.doctor.zone import key_record
from gateway.errors import ConfigurationError
from gateway.outbound.params import LISTED, LISTED_RECIPIENTS
from gateway.site import Site
from p2pcore.crypto.dkim_keys import dkim_record

Id = Annotated[str, typer.Argument(metavar="ID", help="As `p2pmail queue list` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def register(app: typer.Typer) -> None:
    queue = typer.Typer(help="Mail on its way out: the gateway's queue and the users' outboxes.", no_args_is_help=True)
    app.add_typer(queue, name="queue")
    console = plain_console()

    @queue.command("list")
    def list_queue(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
        """List what waits, with the last reply."""
        items = _ask(config, "queue-list")
        if as_json:
            print(json.dumps(items, indent=2))
            return
        for item in items:
            console.print(_head(item))
            for recipient in item["recipients"]:
                console.print(plain(f"    {_outcome(recipient)}  {recipient['reply']}"))
        if not items:
            console.print("Nothing waits.")
        elif len(items) >= LISTED or 2 * sum(len(item["recipients"]) for item in items) > LISTED_RECIPIENTS:
            console.print("Of each queue the oldest are listed; `p2pmail status` counts all.")

    @queue.command("show")
    def show(message: Id, config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
        """Show one message's envelope and what happened to each recipient."""
        item = _ask(config, "queue-show", id=message)
        if as_json:
            print(json.dumps(item, indent=2))
            return
        console.print(_head(item))
        for recipient in item["recipients"]:
            tried = f", attempts {recipient['attempts']}" if recipient["attempts"] else ""
            at = f", the last at {recipient['remote']}" if recipient["remote"] else ""
            console.print(plain(f"    {_outcome(recipient)}{tried}{at}  {recipient['reply']}"))

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


def _head(item: dict[str, Any]) -> str:
    return f"{item['id']}  {item['where']}  {_time(item['accepted'])}  <{item['from']}>  {item['size']} octets"


def _outcome(recipient: dict[str, Any]) -> str:
    due = f", next attempt {_time(recipient['next_attempt'])}" if recipient["state"] == "pending" else ""
    return f"{recipient['to']}: {recipient['state']}{due}"


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S") if milliseconds else ""
