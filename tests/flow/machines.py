"""Whole machines inside the test process: they share one event loop in a thread, and tests use their sockets only."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from gateway import config as configuration
from gateway.administration import Administration
from gateway.founding import found_domain, open_directory
from gateway.joining import finish_join, request_admission
from gateway.main import running
from gateway.site import CONFIG_NAME, Site
from p2pcore.crypto.certificates import parse_certificate
from p2pcore.dht.contact import Contact
from p2pcore.endpoint import Endpoint
from tests.flow.zone import Zone

DOMAIN = "flow.test"
HOSTNAME = "mx.flow.test"
PASSWORD = "correct horse battery"
TIMEOUT = 60  # seconds
MAX_MESSAGE_SIZE = 8 << 20  # octets: small enough to be exceeded in a test
_FIRST_HOST = 100  # last octet of the loopback addresses; the harness counts from 1

T = TypeVar("T")
Ask = Callable[..., Any]  # command and its arguments → result


class Machines:
    """Starts and stops machines in the event loop of a thread."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="machines")
        self._thread.start()
        self._running: dict[Path, tuple[asyncio.Task[None], asyncio.Event]] = {}

    def start(self, *sites: Site) -> None:
        """Start the roles of each site; return when everything listens. Raises what the start raised."""
        for site in sites:
            self.call(self._start(site))

    def stop(self, *sites: Site) -> None:
        """Stop each site that runs."""
        for site in sites:
            self.call(self._stop(site.directory))

    def is_running(self, site: Site) -> bool:
        return site.directory in self._running

    def close(self) -> None:
        """Stop what runs, the last started first, and end the thread."""
        for directory in reversed(tuple(self._running)):
            self.call(self._stop(directory))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in the machines' event loop and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(TIMEOUT)

    async def _start(self, site: Site) -> None:
        up, stop = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(_serve(site, up, stop), name=f"machine {site.directory.name}")
        waiting = asyncio.create_task(up.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task.done():
            task.result()
        self._running[site.directory] = (task, stop)

    async def _stop(self, directory: Path) -> None:
        task, stop = self._running.pop(directory, (None, None))
        if task is not None and stop is not None:
            stop.set()
            await task


async def _serve(site: Site, up: asyncio.Event, stop: asyncio.Event) -> None:
    with site.locked():
        async with running(site):
            up.set()
            await stop.wait()


class Hosts:
    """Loopback addresses that nobody else in this process uses."""

    def __init__(self) -> None:
        self._next = _FIRST_HOST

    def take(self) -> str:
        self._next += 1
        return f"127.{1 + (os.getpid() >> 8) % 250}.{os.getpid() % 256}.{self._next}"


@contextmanager
def administration(site: Site) -> Iterator[Ask]:
    """Give the commands of the directory at `site`, which does not run; it is opened once for all of them."""
    with site.locked():
        directory = open_directory(site)
        try:
            office = Administration(site, directory)
            yield lambda command, **arguments: asyncio.run(office.run(command, arguments))
        finally:
            directory.close()


def one_machine(directory: Path, host: str, zone: Zone) -> Site:
    """Found a domain on one machine that has every role and checks its senders in `zone`; it is not started."""
    overrides = [
        *_endpoints(host),
        f'smtp.hostname="{HOSTNAME}"',
        f"smtp.max_message_size={MAX_MESSAGE_SIZE}",
        'smtp.verify="on"',
        f'outbound.resolvers=["{zone.endpoint}"]',
    ]
    return found_domain(directory, _config({"name": DOMAIN}, overrides))


def add_users(ask: Ask, *users: str) -> None:
    """Make users of a one-machine domain."""
    for user in users:
        ask("user-add", address=f"{user}@{DOMAIN}", password=PASSWORD)


class SeveralMachines:
    """A domain of `nodes` (the first is the directory's machine), `gateways`, and `agents` with their addresses."""

    def __init__(self, directory: Path, hosts: Hosts, *, nodes: int, gateways: int, agents: int) -> None:
        """Found the domain and have every machine join; k = `nodes`, w is the majority. None is started."""
        self._directory, self._hosts = directory, hosts
        founder = found_domain(
            directory / "founder", _config({"name": DOMAIN, "roles": ["directory", "node"]}, _endpoints(hosts.take()))
        )
        with administration(founder) as ask:
            self.nodes = [founder, *(self._join(ask, "node", f"node{n}.{DOMAIN}") for n in range(1, nodes))]
            ask("domain-set", k=nodes, w=nodes // 2 + 1)
            addresses = [f"user{n}@{DOMAIN}" for n in range(agents)]
            self.agents = [(self._join(ask, "user", address), address) for address in addresses]
            self.gateways = [self._join(ask, "gateway", f"mx{n}.{DOMAIN}") for n in range(gateways)]

    def _join(self, ask: Ask, role: str, name: str) -> Site:
        directory = self._directory / name
        invitation = ask("invite", role=role, name=name)["text"]
        request = request_admission(directory, invitation, _endpoints(self._hosts.take()))
        finish_join(directory, ask("sign", request=request)["text"], PASSWORD)
        return Site.open(directory / CONFIG_NAME)


def contact_of(site: Site) -> Contact:
    """Return the contact of a site's node."""
    listen = site.config.node.listen
    return Contact(parse_certificate(site.identity("node").certificate).node_id, listen.host, listen.port)


def _config(domain: dict[str, Any], overrides: Sequence[str]) -> configuration.Config:
    return configuration.check(configuration.with_overrides({"domain": domain}, overrides), "tests/flow")


def _endpoints(host: str) -> list[str]:
    """Move every endpoint that a machine could listen on to `host`, whatever it is for; the ports are the defaults.

    The network keeps no message that has come, so that what is left can be seen.
    """
    overrides = ["sync.keep_days=0"]
    for name in configuration.Config.__struct_fields__:
        listen = getattr(getattr(configuration.Config(), name), "listen", None)
        if isinstance(listen, Endpoint):
            overrides.append(f'{name}.listen="{host}:{listen.port}"')
        elif listen is not None:
            ports = ", ".join(f'"{host}:{endpoint.port}"' for endpoint in listen)
            overrides.append(f"{name}.listen=[{ports}]")
    return overrides
