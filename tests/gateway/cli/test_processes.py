"""`p2pmail` as people run it: processes, signals, exit codes, what is printed."""

import re
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.site import CONFIG_NAME, Site
from tests.gateway.cli.conftest import Ended, Process, unchanged
from tests.support.small_disk import fill, small_disk

Start = Callable[..., Process]

DISK = 32 << 20  # octets


def test_life(site: Site, start: Start) -> None:
    """It says when it is up, answers status, keeps a second process out, and ends with 0 when asked to."""
    running = start("run", "-c", site.config_file)
    running.until_up()
    second = start("run", "-c", site.config_file).end()
    assert (second.code, second.out) == (1, "")  # systemd tries again: the first may be ending
    assert f"{site.directory}: another p2pmail process is using it" in second.err
    status = start("status", "-c", site.config_file).end()
    assert status.code == 0
    assert "node, gateway, agent, directory" in status.out
    assert "k = 1" in status.out
    running.send(signal.SIGTERM)
    ended = running.end()
    assert ended.code == 0
    assert "Traceback" not in ended.err
    assert not site.control_socket.exists()


def test_killed_and_started_again(site: Site, start: Start) -> None:
    """After SIGKILL the next start finds nothing in its way; Ctrl-C ends it with 0."""
    running = start("run", "-c", site.config_file)
    running.until_up()
    running.send(signal.SIGKILL)
    assert running.end().code == -signal.SIGKILL
    assert site.control_socket.exists()
    again = start("run", "-c", site.config_file)
    again.until_up()
    again.send(signal.SIGINT)
    assert again.end().code == 0


@pytest.fixture
def hang_up() -> Iterator[Callable[[signal.Handlers], object]]:
    """Choose what SIGHUP does in the processes that are started from here on, whatever it does here."""
    before = signal.getsignal(signal.SIGHUP)
    yield lambda action: signal.signal(signal.SIGHUP, action)
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ended_while_starting(
    site: Site, start: Start, number: signal.Signals, hang_up: Callable[[signal.Handlers], object]
) -> None:
    """A signal as soon as the first part has begun stops what has, without a traceback, with exit code 0."""
    hang_up(signal.SIG_DFL)
    running = start("run", "-c", site.config_file, "--set", "log.level=debug")
    running.until_logged(b"")  # the first line there is
    running.send(number)
    ended = running.end()
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    assert not site.control_socket.exists()


def test_under_nohup(site: Site, start: Start, hang_up: Callable[[signal.Handlers], object]) -> None:
    """Where SIGHUP is ignored at the start, it stays so: the process outlives its terminal."""
    hang_up(signal.SIG_IGN)
    running = start("run", "-c", site.config_file)
    running.until_up()
    ignored = re.search(r"^SigIgn:\s*(\w+)$", Path(f"/proc/{running.pid}/status").read_text(), re.MULTILINE)
    assert ignored is not None
    assert int(ignored[1], 16) & 1 << (signal.SIGHUP - 1)
    running.send(signal.SIGTERM)
    assert running.end().code == 0


@pytest.mark.parametrize("key", ["node.listen", "imap.listen"])
def test_port_in_use(site: Site, start: Start, key: str) -> None:
    """A port that is taken is named with its key; exit code 2, and nothing is made."""
    section = getattr(site.config, key.partition(".")[0])
    endpoint = section.listen if key == "node.listen" else section.listen[0]
    with socket.create_server((endpoint.host, endpoint.port)), unchanged(site.directory):
        ended = start("run", "-c", site.config_file).end()
    assert (ended.code, ended.out) == (2, "")
    assert f"error: {key}: {endpoint} cannot be used: Address already in use" in ended.err
    assert "Traceback" not in ended.err


def refused(start: Start, site: Site, *more: str) -> Ended:
    ended = start("run", "-c", site.config_file, *more).end()
    assert (ended.code, ended.out) == (2, "")
    assert "Traceback" not in ended.err
    assert ended.err.count("error: ") == 1
    return ended


def test_bad_configuration(site: Site, start: Start) -> None:
    """An unknown key is named with the likely one, brackets and all; exit code 2 before anything starts."""
    with unchanged(site.directory):
        assert "did you mean smtp.listen?" in refused(start, site, "--set", "smtp.lisen=[]").err
        assert "unknown section [smpt]" in refused(start, site, "--set", "smpt.listen=[]").err


def test_files_that_cannot_be_used(site: Site, start: Start) -> None:
    """Missing keys and TLS files are named; exit code 2, and nothing stays behind."""
    named = refused(start, site, "--set", "tls.certificate=none.pem", "--set", "tls.key=none.pem")
    assert "none.pem" in named.err
    assert "No such file" in named.err
    site.identity_file("gateway").unlink()
    assert "gateway.identity: role gateway: is missing" in refused(start, site).err
    assert not site.control_socket.exists()


def test_a_full_disk_is_tried_again(site: Site, start: Start, tmp_path: Path) -> None:
    """Without room on the disk the start fails with exit code 1, as systemd tries again; with room it succeeds."""
    with small_disk(tmp_path / "disk", DISK) as disk:
        moved = Path(shutil.copytree(site.directory, disk / "site"))
        filler = fill(disk)
        failed = start("run", "-c", moved / CONFIG_NAME).end()
        assert (failed.code, failed.out) == (1, "")
        assert failed.err.startswith(f"error: {moved}")
        filler.unlink()
        running = start("run", "-c", moved / CONFIG_NAME)
        running.until_up()
        running.send(signal.SIGTERM)
        assert running.end().code == 0
