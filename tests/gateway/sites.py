"""Sites for tests, on loopback endpoints of their own."""

import itertools
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from gateway import config as configuration
from gateway.site import CONFIG_NAME, Site

DOMAIN = "example.org"
PASSWORD = "correct horse battery"
ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
_hosts = itertools.count(1)


def endpoints() -> list[str]:
    """Overrides that put every listener on a loopback address that nobody else has."""
    number = next(_hosts)
    host = f"127.{100 + (os.getpid() >> 8) % 100}.{os.getpid() % 256}.{number}"
    return [
        f'node.listen="{host}:4466"',
        f'smtp.listen=["{host}:2525"]',
        f'imap.listen=["{host}:1143"]',
        "imaps.listen=[]",
        f'submission.listen=["{host}:1587"]',
        "submissions.listen=[]",
        f'relay.listen=["{host}:2465"]',
    ]


def config_of(overrides: Sequence[str] = ()) -> configuration.Config:
    raw = configuration.with_overrides({"domain": {"name": DOMAIN}}, [*endpoints(), *overrides])
    return configuration.check(raw, "test")


def copied(founded: Path, directory: Path) -> Site:
    """A copy of the founded site in `directory`, on endpoints of its own."""
    shutil.copytree(founded, directory)
    config_file = directory / CONFIG_NAME
    config_file.write_text(configuration.render(configuration.load(config_file, endpoints())))
    return Site.open(config_file)
