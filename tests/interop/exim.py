"""A private Exim: own directory, address and port, its processes are our children.

It sends where its routes say, in BDAT chunks to whoever offers CHUNKING (RFC 3030); what it takes for others' mailboxes
it stores in Maildirs.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from p2pcore.crypto.tls import make_server_certificate
from tests.interop.mta import REFUSED, Mta, Storing
from tests.interop.name_server import resolving
from tests.interop.programs import program, require_root
from tests.interop.server import HOST, free_ports
from tests.interop.waiting import wait_for

_STOP_TIMEOUT = 30.0
_USER = "Debian-exim"  # compiled in
DEFERRED = "not wanted yet"  # the Subject of a mail that a storing Exim defers after the dot while it defers anything

# below the macros that `running` sets
_CONFIGURATION = """
exim_path = PROGRAM
spool_directory = DIRECTORY/spool
log_file_path = DIRECTORY/log/%slog
pid_file_path = DIRECTORY/spool/pid
log_selector = +dkim_verbose
primary_hostname = mx.sender.example
local_interfaces = LISTEN
disable_ipv6
host_lookup =
keep_environment =
deliver_drop_privilege
dsn_advertise_hosts = *
tls_certificate = DIRECTORY/etc/tls.pem
queue_smtp_domains = TOGETHER
# a report that nobody takes is not kept
ignore_bounce_errors_after = 0s
acl_smtp_mail = accept
acl_smtp_rcpt = recipient
acl_smtp_data = content
domainlist stored = STORED
localpartlist mailboxes = MAILBOXES

begin acl
recipient:
.ifndef VERIFYING
  warn control = dkim_disable_verify
.endif
  accept !domains = +stored
  deny !local_parts = +mailboxes
    message = 5.1.1 no such user here
  defer local_parts = ${if exists{DIRECTORY/deferred}{${readfile{DIRECTORY/deferred}{:}}}}
    message = 4.2.1 her mailbox is busy
  accept
content:
  deny condition = ${if eq{$h_subject:}{REFUSED}}
    message = 5.7.1 not in this house
  defer condition = ${if and{{eq{$h_subject:}{DEFERRED}}{exists{DIRECTORY/deferred}}}}
    message = 4.3.1 not now
  accept

begin routers
.ifdef ROUTES
routed:
  driver = manualroute
  route_list = ROUTES
  transport = smtp
  self = send
.endif
stored:
  driver = accept
  domains = +stored
  local_parts = +mailboxes
  transport = maildir
elsewhere:
  driver = redirect
  data = :blackhole:

begin transports
smtp:
  driver = smtp
  allow_localhost
  # longer ones are ours to refuse
  message_linelength_limit = 1000000
  hosts_avoid_tls = CLEAR
.ifdef SIGNER
  dkim_domain = SIGNER
  dkim_selector = SELECTOR
  dkim_private_key = DIRECTORY/etc/dkim.pem
  dkim_strict = true
.endif
maildir:
  driver = appendfile
  maildir_format
  directory = DIRECTORY/mail/$local_part_data
  return_path_add

# an MTA waits minutes where a test has seconds
begin retry
* * F,1h,1s
"""


@dataclass(frozen=True)
class Signing:
    """An Exim signs what it sends for `domain` with the private key, PEM, that `selector` names in DNS."""

    domain: str
    selector: str
    key: bytes


class Exim(Mta):
    """A running instance."""

    LOG = "mainlog"

    def defer(self, *local_parts: str) -> None:
        """Answer RCPT for these with 4yz from now on; for nobody, where there are none."""
        path = self._directory / "deferred"
        if local_parts:
            path.write_text("\n".join(local_parts))
        else:
            path.unlink()

    def transcript(self) -> str:
        """What all its processes say of what they send and are answered, also within TLS."""
        return (self._directory / "output").read_text(errors="replace")

    def wait_until_sent(self) -> None:
        spool = self._directory / "spool" / "input"
        wait_for(lambda: not any(spool.glob("*")), f"Exim's queue is empty: {self.log()[-2000:]}", 60)


@contextmanager
def running(
    routes: dict[str, tuple[str, int]] | None = None,
    *,
    listen: tuple[str, int] | None = None,
    storing: Storing | None = None,
    tls: bool = True,
    signing: Signing | None = None,
    together: bool = False,
    resolver: str = "",
) -> Iterator[Exim]:
    """Start an Exim; on leaving, end it. `routes`: the endpoint to which it delivers each domain.

    `listen`: where, else on a free port. `tls`: whether it sends over TLS to whoever offers it. `together`: mail waits
    for the next queue run, of which there is one every second, so that messages go one after the other over one
    connection. With `resolver`, an IP address whose port 53 answers, it verifies DKIM signatures. Skips the test where
    it cannot run.
    """
    exim = program("exim4")
    require_root("Exim starts")
    endpoint = listen or (HOST, free_ports(1)[0])
    # not pytest's directory: Exim's own user must be able to reach it
    with tempfile.TemporaryDirectory(prefix="exim-") as name:
        directory = Path(name)
        macros = {
            "PROGRAM": exim,
            "DIRECTORY": name,
            "LISTEN": f"{endpoint[0]}.{endpoint[1]}",
            "STORED": storing.domain if storing else "",
            "MAILBOXES": " : ".join(storing.local_parts) if storing else "",
            "TOGETHER": "*" if together else "",
            "CLEAR": "" if tls else "*",
            "REFUSED": REFUSED,
            "DEFERRED": DEFERRED,
        }
        if routes:
            macros["ROUTES"] = "; ".join(f"{domain} {host}::{port}" for domain, (host, port) in routes.items())
        if signing:
            macros |= {"SIGNER": signing.domain, "SELECTOR": signing.selector}
        if resolver:
            macros["VERIFYING"] = "yes"
        _configure(directory, macros, signing.key if signing else b"")
        with (directory / "output").open("wb") as output:
            process = subprocess.Popen(
                [
                    *resolving(directory, resolver),
                    *(exim, "-C", str(directory / "etc" / "exim.conf"), "-bdf"),
                    *("-qq1s" if together else "-q1s", "-d-all+transport"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            instance = Exim(directory, endpoint)
            wait_for(lambda: process.poll() is not None or "daemon started" in instance.log(), "Exim has started", 30)
            assert process.poll() is None, instance.transcript()
            yield instance
        finally:
            process.terminate()
            process.wait(_STOP_TIMEOUT)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # deliveries and queue runs go on without the daemon


def _configure(directory: Path, macros: dict[str, str], signing_key: bytes) -> None:
    directory.chmod(0o755)
    for name in ("etc", "spool", "log", "mail"):
        (directory / name).mkdir()
        shutil.chown(directory / name, _USER)
    certificate, key = make_server_certificate(["mx.sender.example"])
    for name, secret in (("tls.pem", key + certificate), ("dkim.pem", signing_key)):
        (directory / "etc" / name).write_bytes(secret)
        shutil.chown(directory / "etc" / name, _USER)
    lines = "".join(f"{name} = {value}\n" for name, value in macros.items())
    (directory / "etc" / "exim.conf").write_text(lines + _CONFIGURATION)  # must be root's
