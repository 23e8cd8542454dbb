"""A private Postfix that delivers to a private Dovecot over LMTP: own directory, own ports, children of this process.

Stock settings of both, save where the directory, the ports and the one domain ask for others.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from bench import measure
from bench.measure import Usage

DOMAIN = "bench.test"
PASSWORD = "bench"
HOST = "127.0.0.1"
_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
_STOP_TIMEOUT = 30.0
_START_TIMEOUT = 30.0
_PACKAGES = {
    "postfix": "/usr/sbin/postfix",
    "dovecot-imapd": "/usr/lib/dovecot/imap",
    "dovecot-lmtpd": "/usr/lib/dovecot/lmtp",
}

_MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/mail.log
maillog_file_prefixes = {directory}
myhostname = mx.{domain}
mydestination =
inet_interfaces = {host}
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = {domain}
virtual_mailbox_maps = inline:{{ {users} }}
virtual_transport = lmtp:unix:{directory}/lmtp
alias_maps =
smtpd_tls_security_level = none
"""
_MASTER_CF = """\
{smtp_port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
_DOVECOT_CONF = """\
base_dir = {directory}/dovecot
state_dir = {directory}/dovecot-state
instance_name = bench
log_path = {directory}/dovecot.log
protocols = imap lmtp
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
mail_location = maildir:{directory}/mail/%u
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={directory}/mail/%u allow_all_users=yes
}}
service imap-login {{
  inet_listener imap {{
    address = {host}
    port = {imap_port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service lmtp {{
  unix_listener {directory}/lmtp {{
    mode = 0666
  }}
}}
"""


def missing() -> str:
    """Return why the pair cannot run here, "" where it can."""
    packages = [package for package, path in _PACKAGES.items() if not Path(path).exists()]
    if packages:
        return f"not installed: {', '.join(packages)}"
    return "" if os.geteuid() == 0 else "Postfix starts as root only"


class Pair:
    """Postfix and Dovecot in `directory` (made here), with one fresh user. `start` first, `stop` last."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.address = f"reader@{DOMAIN}"
        self.smtp = HOST, free_port()
        self.imap = HOST, free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Return when both answer. Raises RuntimeError."""
        self._configure()
        self._launch("dovecot", ["/usr/sbin/dovecot", "-F", "-c", str(self._directory / "dovecot.conf")])
        configuration = str(self._directory / "postfix")
        subprocess.run(["/usr/sbin/postfix", "-c", configuration, "check"], check=True, capture_output=True)
        self._launch("postfix", ["/usr/lib/postfix/sbin/master", "-d", "-c", configuration])
        for endpoint in (self.imap, self.smtp):
            self._wait_for(endpoint)

    def stop(self) -> None:
        """End both and whatever they started, by process number."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def usage(self) -> dict[str, Usage]:
        """Return what both have used so far, by program."""
        found: dict[str, Usage] = {}
        for name, process in self._processes.items():
            found |= measure.usage_of_tree(name, process.pid)
        return found

    def last_delivery(self) -> float:
        """Return when (time.time) the newest message in the mailbox was written."""
        mailbox = self._directory / "mail" / self.address
        return max(entry.stat().st_mtime for folder in ("new", "cur") for entry in os.scandir(mailbox / folder))

    def _configure(self) -> None:
        mail_user = pwd.getpwnam("mail")
        values = {
            "directory": self._directory,
            "domain": DOMAIN,
            "host": HOST,
            "smtp_port": self.smtp[1],
            "imap_port": self.imap[1],
            "users": f"{{ {self.address} = ok }}",
            "password": PASSWORD,
            "uid": mail_user.pw_uid,
            "gid": mail_user.pw_gid,
        }
        for name, owner in {"": None, "postfix": None, "queue": None, "data": "postfix", "mail": "mail"}.items():
            path = self._directory / name
            path.mkdir(parents=True)
            path.chmod(0o755)
            if owner:
                shutil.chown(path, owner, owner)
        (self._directory / "postfix" / "main.cf").write_text(_MAIN_CF.format(**values))
        (self._directory / "postfix" / "master.cf").write_text(_MASTER_CF.format(**values))
        (self._directory / "dovecot.conf").write_text(_DOVECOT_CONF.format(**values))

    def _launch(self, name: str, command: list[str]) -> None:
        with (self._directory / f"{name}.out").open("wb") as output:
            self._processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={"PATH": _PATH}
            )

    def _wait_for(self, endpoint: tuple[str, int]) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            try:
                with socket.create_connection(endpoint, timeout=_START_TIMEOUT) as connection:
                    connection.recv(1)
                return
            except OSError:
                ended = [name for name, process in self._processes.items() if process.poll() is not None]
                if ended or time.monotonic() > deadline:
                    raise RuntimeError(f"{ended or endpoint} did not start: {self._output()}") from None
                time.sleep(0.05)

    def _output(self) -> str:
        logs = (self._directory / name for name in ("postfix.out", "dovecot.out", "mail.log", "dovecot.log"))
        return "\n".join(log.read_text(errors="replace")[-2_000:] for log in logs if log.exists())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
