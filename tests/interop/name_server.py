"""The DNS of the world that these tests make: an authoritative name server in a thread."""

import asyncio
import subprocess
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import dns.resolver
import pytest
from dns.nameserver import Do53Nameserver
from dns.rdtypes.ANY.TXT import TXT

from p2pcore.endpoint import Endpoint
from tests.interop.programs import program
from tests.interop.waiting import TIMEOUT
from tests.support.fake_dns import FakeDns

_WITH_RESOLVER = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'  # for `unshare -m`: nobody else sees the mount


class NameServer:
    """Answers from its start to `stop`."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen, UDP and TCP; port 0 takes a free one. Raises OSError."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="name server")
        self._thread.start()
        self._dns = FakeDns()
        try:
            self._call(self._dns.start(host, port))
        except OSError:
            self._end()
            raise

    @property
    def endpoint(self) -> Endpoint:
        return self._dns.endpoint

    def add(self, zone: str) -> None:
        """Add records, each a line of a zone file."""
        self._loop.call_soon_threadsafe(self._dns.add, zone)

    def text(self, name: bytes, timeout: float = TIMEOUT) -> bytes:
        """Ask for the TXT record at `name`, as dkimpy wants its answer."""
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = [Do53Nameserver(self.endpoint.host, self.endpoint.port)]
        (record,) = resolver.resolve(name.decode(), "TXT", lifetime=timeout)
        assert isinstance(record, TXT)
        return b"".join(record.strings)

    def stop(self) -> None:
        """End it; the port is free on return."""
        self._call(self._dns.stop())
        self._end()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(TIMEOUT)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def resolving(directory: Path, resolver: str) -> list[str]:
    """Return what to put before a command so that it sees `resolver` as the system's; nothing for "". May skip."""
    if not resolver:
        return []
    unshare = program("unshare", "util-linux")
    if subprocess.run([unshare, "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("a name server for one program takes unshare, which may not make a mount namespace here")
    (directory / "resolv.conf").write_text(f"nameserver {resolver}\n")
    (directory / "resolv.conf").chmod(0o644)
    return [unshare, "-m", "sh", "-c", _WITH_RESOLVER, str(directory / "resolv.conf")]
