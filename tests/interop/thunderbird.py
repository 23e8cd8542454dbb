"""A real Thunderbird without a window, with a generated profile, driven over Marionette."""

import base64
import os
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.interop.marionette import Marionette
from tests.interop.server import Server, User
from tests.interop.waiting import wait_for

PLAIN, STARTTLS, TLS = 0, 2, 3  # nsMsgSocketType

FOLDERS = ["Inbox", "Sent", "Drafts", "Trash", "Junk", "Archive"]  # what a new account has
_SCRIPT_TIMEOUT = 30.0  # seconds
_STOP_TIMEOUT = 20.0
_SCRIPTS = ("reader.js", "writer.js", "settler.js")  # in one scope
_PREFERENCES: dict[str, object] = {
    "marionette.port": 0,  # any; told in the profile
    "app.donation.eoy.version.viewed": 999,
    "app.update.enabled": False,
    "browser.cache.disk.enable": False,
    "datareporting.policy.dataSubmissionPolicyBypassNotification": True,
    "extensions.autoDisableScopes": 0,
    "mail.biff.show_alert": False,
    "mail.biff.play_sound": False,
    "mail.provider.suppress_dialog_on_startup": True,
    "mail.shell.checkDefaultClient": False,
    "mail.spotlight.firstRunDone": True,
    "mail.winsearch.firstRunDone": True,
    "mailnews.confirm.moveFoldersToTrash": False,  # nobody is there to click
    "mailnews.smtp.loglevel": "All",  # to `output`
    "devtools.console.stdout.chrome": True,
    "mailnews.start_page.enabled": False,
    "network.manage-offline-status": False,  # a machine with loopback only is not offline for us
    "services.settings.server": "data:,",
    # nothing is fetched unless asked for or told by IDLE
    "mail.server.default.check_new_mail": False,
    "mail.server.default.login_at_startup": False,
    "mail.server.default.use_idle": True,
    "mailnews.auto_config.guess.enabled": False,
}


class Thunderbird:
    """A running Thunderbird; `call` runs a function of reader.js or writer.js."""

    def __init__(self, marionette: Marionette, server: Server) -> None:
        self._marionette = marionette
        self._server = server
        marionette.run("\n".join(Path(__file__).with_name(name).read_text() for name in _SCRIPTS))

    def call(self, function: str, *arguments: object) -> Any:
        """Return what a function of reader.js returns. Raises ScriptFailed."""
        return self._marionette.run(f"return reader.{function}(...args);", *arguments)

    def add_account(self, user: User, security: int = PLAIN) -> "Account":
        """Set up an account, log in and open its inbox."""
        host, port = self._server.imaps if security == TLS else self._server.imap
        if security != PLAIN:
            self._accept_certificate(host, port)
        self.call("addAccount", user.address, user.password, host, port, security, FOLDERS)
        return Account(self, user)

    def add_sender(self, user: User, security: int = PLAIN) -> None:
        """Set up sending for an account; its password is in the login store."""
        host, port = self._server.submissions if security == TLS else self._server.submission
        if security != PLAIN:
            self._accept_certificate(host, port)
        self.call("addSender", user.address, user.password, host, port, security)

    def _accept_certificate(self, host: str, port: int) -> None:
        der = ssl.PEM_cert_to_DER_cert(self._server.certificate.read_text())
        self.call("acceptCertificate", host, port, base64.b64encode(der).decode())


class Account:
    """One account in Thunderbird: every method of reader.js and writer.js but for the user."""

    def __init__(self, thunderbird: Thunderbird, user: User) -> None:
        self._thunderbird = thunderbird
        self.user = user

    def __call__(self, function: str, *arguments: object) -> Any:
        return self._thunderbird.call(function, self.user.address, *arguments)


@contextmanager
def running(program: str, directory: Path, server: Server) -> Iterator[Thunderbird]:
    """Start Thunderbird with the profile in `directory`, at first a new one; on leaving, end it."""
    profile, home = directory / "profile", directory / "home"
    profile.mkdir(exist_ok=True)
    home.mkdir(exist_ok=True)
    lines = (f'user_pref("{name}", {_literal(value)});\n' for name, value in _PREFERENCES.items())
    (profile / "user.js").write_text("".join(lines))
    command = [program, "--headless", "--marionette", "--remote-allow-system-access", "--no-remote"]
    environment = {
        **os.environ,
        "HOME": str(home),
        "MOZ_LOG": "sync,timestamp,IMAP:4",  # every line on the wire, for whom a failing test leaves wondering
        "MOZ_LOG_FILE": str(directory / "log"),
    }
    with ExitStack() as stack:
        output = stack.enter_context((directory / "output").open("wb"))
        (profile / "MarionetteActivePort").unlink(missing_ok=True)  # an earlier run's
        process = subprocess.Popen(
            [*command, "--profile", str(profile)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
        )
        stack.callback(_end, process)
        told = profile / "MarionetteActivePort"

        def port() -> int:
            assert process.poll() is None, (directory / "output").read_text(errors="replace")[-2000:]
            return int(told.read_text() or 0) if told.exists() else 0

        marionette = stack.enter_context(Marionette(wait_for(port, "Thunderbird's Marionette port"), _SCRIPT_TIMEOUT))
        yield Thunderbird(marionette, server)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else f'"{value}"'
