"""The systemd unit: systemd takes it, and it locks the service in."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gateway import config as configuration
from tests.deploy import commands
from tests.deploy.compose import ROOT

DIRECTORY = ROOT / "config" / "systemd"
UNIT = (DIRECTORY / "p2pmail.service").read_text(encoding="utf-8")
OF_A_USER = (DIRECTORY / "user" / "p2pmail.service").read_text(encoding="utf-8")
ANALYZE = shutil.which("systemd-analyze")
SYSUSERS = shutil.which("systemd-sysusers")
STATE = "/var/lib/p2pmail"

needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


def setting(name: str, unit: str = UNIT) -> str:
    """The value of a setting that is there once."""
    (value,) = re.findall(rf"^{name}=(.*)$", unit, re.MULTILINE)
    return str(value)


def analyzed(tmp_path: Path, *arguments: str) -> str:
    """Return what systemd-analyze says about the unit, with a program in it that exists here. Fails where it fails."""
    assert ANALYZE is not None
    file = tmp_path / "p2pmail.service"
    file.write_text(UNIT.replace("/opt/p2pmail/bin/p2pmail", sys.executable), encoding="utf-8")
    ended = subprocess.run([ANALYZE, *arguments, str(file)], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    return ended.stderr


@needs_systemd
def test_verified(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say about it."""
    assert [line for line in analyzed(tmp_path, "verify", "--man=no").splitlines() if "p2pmail" in line] == []


@needs_systemd
def test_exposure(tmp_path: Path) -> None:
    """`systemd-analyze security` rates its exposure at 2.0 of 10 or less."""
    analyzed(tmp_path, "security", "--offline=true", "--no-pager", "--threshold=20")


def test_command() -> None:
    """It runs a command that p2pmail has, on the configuration in its state directory."""
    program, *words = shlex.split(setting("ExecStart"))
    assert program.endswith("/p2pmail")
    commands.check(words)
    assert words[-1] == f"{STATE}/p2pmail.toml"
    assert setting("StateDirectory") == STATE.removeprefix("/var/lib/")


@needs_systemd
def test_of_a_user_verified(tmp_path: Path) -> None:
    """`systemd-analyze --user verify` has nothing to say about the unit for a user's own machine."""
    assert ANALYZE is not None
    file = tmp_path / "p2pmail.service"
    text = OF_A_USER.replace("%h/.local/lib/p2pmail/bin/p2pmail", sys.executable)
    file.write_text(text.replace("%h/p2pmail", str(tmp_path)), encoding="utf-8")
    command = [ANALYZE, "--user", "verify", "--man=no", str(file)]
    runtime = {"XDG_RUNTIME_DIR": str(tmp_path)}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=os.environ | runtime)
    assert [line for line in ended.stderr.splitlines() if "p2pmail" in line] == []


def test_of_a_user() -> None:
    """It runs a command that p2pmail has where the guide puts program and data, and restarts no wrong configuration."""
    program, *words = shlex.split(setting("ExecStart", OF_A_USER))
    commands.check(words)
    guide = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert f"python3 -m venv {program.replace('%h', '~').removesuffix('/bin/p2pmail')}\n" in guide
    assert f"install -d -m 700 {setting('WorkingDirectory', OF_A_USER).replace('%h', '~')}\n" in guide
    assert setting("RestartPreventExitStatus", OF_A_USER) == "2"


def test_credentials() -> None:
    """The configuration that goes with the drop-in names the credentials that the drop-in loads, where they will be."""
    names = re.findall(r"^#\s+LoadCredential=([\w.]+):/etc/", UNIT, re.MULTILINE)
    suggested = "\n".join(re.findall(r"^#   (\[tls\]|(?:certificate|key) = .*)$", UNIT, re.MULTILINE))
    config = configuration.check({"domain": {"name": "example.org"}, **tomllib.loads(suggested)}, "the comment")
    assert [config.tls.certificate, config.tls.key] == [f"/run/credentials/p2pmail.service/{name}" for name in names]


def test_hardened() -> None:
    """No root, no capability but for ports below 1024, a read-only system, and no restart of a wrong configuration."""
    assert setting("AmbientCapabilities") == setting("CapabilityBoundingSet") == "CAP_NET_BIND_SERVICE"
    assert (setting("User"), setting("ProtectSystem"), setting("NoNewPrivileges")) == ("p2pmail", "strict", "yes")
    assert (setting("Restart"), setting("RestartPreventExitStatus")) == ("on-failure", "2")


@pytest.mark.skipif(SYSUSERS is None, reason="systemd-sysusers is not installed")
def test_user(tmp_path: Path) -> None:
    """systemd-sysusers makes the user that the unit names, at home in the state directory."""
    assert SYSUSERS is not None
    (tmp_path / "etc").mkdir()
    line = next(line for line in (DIRECTORY / "p2pmail.sysusers").read_text().splitlines() if line[0] != "#")
    ended = subprocess.run(
        [SYSUSERS, f"--root={tmp_path}", "--inline", line], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    entries = (tmp_path / "etc" / "passwd").read_text().splitlines()
    assert [entry.split(":")[5] for entry in entries if entry.startswith(f"{setting('User')}:")] == [STATE]
