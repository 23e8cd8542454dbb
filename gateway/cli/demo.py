"""`p2pmail demo`: a complete one-machine network to try, as `make run` starts it."""

import asyncio
import secrets
import shutil
import smtplib
import sys
from email.message import EmailMessage
from email.utils import format_datetime, localtime, make_msgid
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from gateway import config as configuration
from gateway.administration import administer
from gateway.endpoints import check_endpoints
from gateway.founding import found_domain
from gateway.site import CONFIG_NAME, Site, write_private

DOMAIN = "p2pmail.test"  # RFC 2606 §2: never a real domain
USERS = ("alice", "bob")
_PATIENCE = 90  # seconds; an answer to the dot takes 60 at most

_WELCOME = """\
Welcome, {user}.

This message came in through the gateway's SMTP port, was sealed for you on arrival, was stored
in the peer-to-peer network, and your agent fetched, checked, opened and filed it here.

Send another one from a terminal:

    python3 -c 'import smtplib; smtplib.SMTP("{host}", {port}).sendmail("me@example.org",
        ["{user}@{domain}"], "Subject: hello\\r\\n\\r\\nIt works.\\r\\n")'
"""


def register(app: typer.Typer) -> None:
    @app.command("demo")
    def demo(
        directory: Annotated[Path, typer.Argument(help="Where its data is, or will be.")],
    ) -> None:
        """Run a complete one-machine network on loopback; the first time, found it with two users and a welcome."""
        from gateway.main import serve  # here, so that the other commands need not wait for it

        config_file = directory / CONFIG_NAME
        if not config_file.exists():
            config = configuration.check({"domain": {"name": DOMAIN}}, "p2pmail demo")
            check_endpoints(config)
            found_domain(directory, config)
        site = Site.open(config_file)
        passwords = _add_missing_users(site)
        serve(site, lambda: _greet(site, passwords))


def _add_missing_users(site: Site) -> dict[str, str]:
    """Make the two users, each with a welcome message waiting to be sent; return the new passwords."""
    passwords = {}
    for user in USERS:
        address = f"{user}@{site.config.domain.name}"
        if address not in site.account_addresses() and not _removed(site, address):
            write_private(_waiting(site, user), _welcome(site, user))
            passwords[address] = secrets.token_urlsafe(12)
            administer(site, "user-add", address=address, password=passwords[address])
    return passwords


def _removed(site: Site, address: str) -> bool:
    """Whether this user was made before and removed since: removing a user holds across runs."""
    return (site.account_directory(address) / "mailbox.key").exists()


def _waiting(site: Site, user: str) -> Path:
    return site.directory / "welcome" / f"{user}.eml"


def _welcome(site: Site, user: str) -> bytes:
    endpoint, domain = site.config.smtp.listen[0], site.config.domain.name
    message = EmailMessage()
    message["From"] = "p2pmail <welcome@p2pmail.example>"
    message["To"] = f"{user}@{domain}"
    message["Subject"] = "Welcome to p2pmail"
    message["Date"] = format_datetime(localtime())
    message["Message-ID"] = make_msgid(domain="p2pmail.example")
    message.set_content(_WELCOME.format(user=user, domain=domain, host=endpoint.host, port=endpoint.port))
    return message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


async def _greet(site: Site, passwords: dict[str, str]) -> None:
    """Say how to connect, then send the welcome messages that wait."""
    _explain(site, passwords)
    for user in USERS:
        waiting = _waiting(site, user)
        if waiting.exists():
            try:
                await asyncio.to_thread(_send, site, user, waiting)
            except (OSError, smtplib.SMTPException) as error:
                print(f"The welcome message for {user} waits for the next start: {error}", flush=True)


def _send(site: Site, user: str, waiting: Path) -> None:
    """Hand one welcome message to our own SMTP port; the same octets again are shown once (docs/flow.md §8)."""
    endpoint = site.config.smtp.listen[0]
    with smtplib.SMTP(endpoint.host, endpoint.port, local_hostname="localhost", timeout=_PATIENCE) as smtp:
        smtp.sendmail("welcome@p2pmail.example", [f"{user}@{site.config.domain.name}"], waiting.read_bytes())
    waiting.unlink()


def _explain(site: Site, passwords: dict[str, str]) -> None:
    console = Console(highlight=False, emoji=False, soft_wrap=True)
    config, config_file = site.config, escape(str(site.config_file))
    program = "p2pmail" if shutil.which("p2pmail") else escape(sys.argv[0])  # not in PATH where `make run` installed it
    smtp, domain = config.smtp.listen[0], config.domain.name
    console.print("\n[bold]Read it in Thunderbird[/] (New account → Configure manually):")
    for imap in config.imap.listen[:1]:
        console.print(f"  incoming: IMAP, {imap.host}, port {imap.port}, no TLS (loopback), normal password")
    if config.imaps.listen:
        tls = config.imaps.listen[0]
        console.print(f"  or with TLS: {tls.host}, port {tls.port} (accept the self-signed certificate once)")
    for submission in config.submission.listen[:1]:
        console.print(f"  outgoing: SMTP, {submission.host}, port {submission.port}, no TLS, same password")
    for address in (f"{user}@{domain}" for user in USERS):
        secret = passwords.get(address)
        shown = f"password {secret}" if secret else f"new password: {program} user password {address} -c {config_file}"
        console.print(f"  user {address}, {shown}")
    console.print("\n[bold]Send to it[/] as another mail server would:")
    to = f"{USERS[0]}@{domain}"
    console.print(f"  swaks --server {smtp.host}:{smtp.port} --from me@example.org --to {to}")
    console.print(
        f"""  python3 -c 'import smtplib; smtplib.SMTP("{smtp.host}", {smtp.port}).sendmail("me@example.org", """
        f"""["{to}"], "Subject: hello\\r\\n\\r\\nIt works.\\r\\n")'"""
    )
    console.print(f"\nStatus: {program} status -c {config_file}.  Ctrl-C stops; the next run finds all as it was.\n")
