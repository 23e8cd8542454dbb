"""A private Postfix: own directory, address and port, its processes are our children.

It sends where its transport map says, else by MX as a name server of its own says; what it takes for others' mailboxes
it stores in Maildirs.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from p2pcore.crypto.tls import make_server_certificate
from tests.interop.mta import REFUSED, Mta, Storing
from tests.interop.name_server import resolving
from tests.interop.programs import program, require_root
from tests.interop.server import HOST, free_ports
from tests.interop.waiting import wait_for

_MASTER = "/usr/lib/postfix/sbin/master"
_STOP_TIMEOUT = 30.0

_MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/log/mail.log
maillog_file_prefixes = {directory}/log
myhostname = mx.sender.example
mydestination =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.1/32
transport_maps = {transports}
smtp_tls_security_level = may
smtpd_peername_lookup = no
smtpd_client_connection_rate_limit = 0
# an MTA waits minutes where a test has seconds
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
{settings}
"""
_MASTER_CF = """\
{host}:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
virtual unix - n n - - virtual
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


_STORING = """\
smtpd_tls_security_level = may
smtpd_tls_chain_files = {directory}/etc/tls.pem
smtpd_tls_received_header = yes
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {directory}/mail
virtual_mailbox_maps = inline:{{ {mailboxes} }}
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
header_checks = regexp:{directory}/etc/refused
"""
_MAILBOX_OWNER = "nobody"


class Postfix(Mta):
    """A running instance."""

    LOG = "mail.log"

    def queued(self) -> int:
        """How many messages it still has to deliver."""
        queues = (self._directory / "queue" / name for name in ("maildrop", "incoming", "active", "deferred"))
        return sum(len(files) for queue in queues for _, _, files in os.walk(queue))

    def wait_until_sent(self) -> None:
        wait_for(lambda: not self.queued(), f"Postfix's queue is empty: {self.log()[-2000:]}", 60)


@contextmanager
def running(
    transports: dict[str, tuple[str, int]] | None = None,
    *,
    listen: tuple[str, int] | None = None,
    storing: Storing | None = None,
    resolver: str = "",
    mx_port: int = 25,
) -> Iterator[Postfix]:
    """Start a Postfix; on leaving, end it. `transports`: the endpoint to which it delivers each domain.

    `listen`: where, else on a free port. With `resolver`, an IP address whose port 53 answers, it looks up the MX of
    other domains there and dials `mx_port`. Skips the test where it cannot run.
    """
    postfix = program("postfix", "postfix")
    require_root("Postfix starts")
    endpoint = listen or (HOST, free_ports(1)[0])
    # not pytest's directory: Postfix's own user must be able to reach it
    with tempfile.TemporaryDirectory(prefix="postfix-") as name:
        directory = Path(name)
        settings = _settings(directory, storing) if storing else "smtpd_tls_security_level = none\n"
        _configure(directory, endpoint, transports or {}, f"smtp_tcp_port = {mx_port}\n{settings}")
        environment = {"PATH": "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"}
        configuration = str(directory / "etc")
        subprocess.run([postfix, "-c", configuration, "check"], check=True, capture_output=True, env=environment)
        with (directory / "output").open("wb") as output:
            process = subprocess.Popen(
                [*resolving(directory, resolver), _MASTER, "-d", "-c", configuration],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
            )
        try:
            instance = Postfix(directory, endpoint)
            wait_for(
                lambda: process.poll() is not None or "daemon started" in instance.log(), "Postfix has started", 30
            )
            assert process.poll() is None, instance.log() + (directory / "output").read_text()
            yield instance
        finally:
            process.terminate()
            process.wait(_STOP_TIMEOUT)


def _configure(
    directory: Path, endpoint: tuple[str, int], transports: dict[str, tuple[str, int]], settings: str
) -> None:
    directory.chmod(0o755)
    for name in ("etc", "queue", "data", "log", "mail"):
        (directory / name).mkdir(exist_ok=True)
    shutil.chown(directory / "data", "postfix", "postfix")
    shutil.chown(directory / "mail", _MAILBOX_OWNER)
    routes = ", ".join(f"{{ {domain} = smtp:[{host}]:{number} }}" for domain, (host, number) in transports.items())
    host, port = endpoint
    transports_map = f"inline:{{ {routes} }}" if routes else ""
    values = {"directory": directory, "transports": transports_map, "settings": settings}
    (directory / "etc" / "main.cf").write_text(_MAIN_CF.format(**values))
    (directory / "etc" / "master.cf").write_text(_MASTER_CF.format(host=host, port=port))


def _settings(directory: Path, storing: Storing) -> str:
    (directory / "etc").mkdir()
    certificate, key = make_server_certificate([f"mx.{storing.domain}"])
    (directory / "etc" / "tls.pem").write_bytes(key + certificate)
    (directory / "etc" / "refused").write_text(f"/^Subject: {REFUSED}/ REJECT not in this house\n")
    owner = pwd.getpwnam(_MAILBOX_OWNER)
    values = {"directory": directory, "domain": storing.domain, "uid": owner.pw_uid, "gid": owner.pw_gid}
    mailboxes = ", ".join(f"{{ {each}@{storing.domain} = {each}/ }}" for each in storing.local_parts)
    return _STORING.format(mailboxes=mailboxes, **values)
