"""Every command: its help, what it prints, and how it fails."""

import re
import stat
from dataclasses import asdict
from pathlib import Path

import pytest
import typer.main
from rich.console import Console
from typer.testing import CliRunner

from gateway.cli.app import app
from gateway.cli.status import show
from gateway.site import CONFIG_NAME, Site
from p2pcore.node.settings import RepairCounts, RoundCounts
from tests.gateway import sites
from tests.gateway.cli.conftest import Command, unchanged
from tests.gateway.sites import ALICE, BOB, PASSWORD

pytestmark = pytest.mark.usefixtures("weak_passphrases")

LINE = f"{PASSWORD}\n".encode()


def settings() -> list[str]:
    return [part for override in sites.endpoints() for part in ("--set", override)]


def names(command: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The path of every command there is."""
    children = getattr(command, "commands", {})
    return [path, *(found for name, child in children.items() for found in names(child, (*path, name)))]


ALL = names(typer.main.get_command(app))


def test_all_commands_are_there() -> None:
    """The commands that the documents speak of exist."""
    wanted = (
        "init run status plan revoke invite join recover demo, user add, user list, user remove, user password, "
        "user kit, alias set, alias remove, alias list, alias catch-all, domain set, domain postmaster, ca sign"
    )
    first, *others = wanted.split(", ")
    assert {tuple(name.split()) for name in (*first.split(), *others)} <= set(ALL)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help(path: tuple[str, ...]) -> None:
    """Every command explains itself, and each of its arguments and options."""
    result = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    assert result.exit_code == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", result.output)
    usage, _, described = text.partition("Usage:")[2].partition("\n")
    assert " ".join(path) in usage
    assert len(described.strip().splitlines()[0]) > 20
    for line in described.splitlines():
        row = re.match(r"│ [* ]\s+(\S+)(.*)│", line)
        if row and row[1].strip("-").isidentifier():
            assert len(row[2].strip()) > 10, f"{row[1]} is not explained"


def test_init(p2pmail: Command, tmp_path: Path) -> None:
    """A new domain's directory has every key in its configuration, is private, and says what comes next."""
    ended = p2pmail("init", tmp_path / "new", "--domain", "EXAMPLE.org", *settings())
    assert (ended.code, ended.err) == (0, "")
    config_file = tmp_path / "new" / CONFIG_NAME
    assert f"p2pmail run -c {config_file}" in ended.out
    assert Site.open(config_file).config.domain.name == "example.org"
    for path in (tmp_path / "new").rglob("*"):
        if path.name != "ca.pem":  # public
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    with unchanged(tmp_path):
        again = p2pmail("init", tmp_path / "new", "--domain", "example.org")
    assert again.code == 2
    assert "exists already; nothing was changed" in again.err


def test_bad_init_makes_nothing(p2pmail: Command, tmp_path: Path) -> None:
    """A wrong domain or key: exit code 2, and no directory."""
    for more in (("--domain", "a..b"), ("--domain", "example.org", "--set", "x.y=1"), ()):
        ended = p2pmail("init", tmp_path / "new", *more)
        assert (ended.code, ended.out) == (2, "")
    assert list(tmp_path.iterdir()) == []


def test_users(p2pmail: Command, site: Site) -> None:
    """A user comes with a password and a kit, is listed, gets a new password and kit, and goes."""
    c = ("-c", site.config_file)
    added = p2pmail("user", "add", ALICE, *c)
    assert added.code == 0
    assert re.search(r"^Password: \S{16}$", added.out, re.MULTILINE)
    assert re.search(rf"^Recovery kit: {site.directory}/accounts/{ALICE}/recovery\.kit$", added.out, re.MULTILINE)
    assert re.search(r"^Its passphrase: (\w{6}-){5}\w{6}$", added.out, re.MULTILINE)
    quiet = p2pmail("user", "add", BOB, *c, "--password-stdin", stdin=LINE)
    assert quiet.code == 0
    assert "Password" not in quiet.out
    assert [line.split() for line in p2pmail("user", "list", *c).out.splitlines()[1:]] == [
        [ALICE, "here"],
        [BOB, "here"],
    ]
    assert p2pmail("user", "password", ALICE, *c, "--password-stdin", stdin=LINE).out == "Password changed.\n"
    assert "Its passphrase: " in p2pmail("user", "kit", ALICE, *c).out
    assert p2pmail("user", "remove", ALICE, *c).code == 0
    again = p2pmail("user", "remove", ALICE, *c)
    assert (again.code, again.err.count("error: ")) == (1, 1)
    assert ALICE in again.err


@pytest.mark.parametrize(
    ("stdin", "code", "said"),
    [(b"", 1, "too short"), (b"short\n", 1, "too short"), (b"\xff" * 10, 2, "not UTF-8"), (b"x" * 2_000, 2, "longer")],
)
def test_bad_passwords(p2pmail: Command, site: Site, stdin: bytes, code: int, said: str) -> None:
    """Whatever standard input brings, a password that will not do adds nobody."""
    ended = p2pmail("user", "add", ALICE, "-c", site.config_file, "--password-stdin", stdin=stdin)
    assert ended.code == code
    assert said in ended.err
    assert len(p2pmail("user", "list", "-c", site.config_file).out.splitlines()) == 1


def test_long_addresses_are_shown_whole(p2pmail: Command, site: Site) -> None:
    """The list can be read by a program: no address is cut or wrapped, however narrow the terminal."""
    address = f"{'a' * 60}@example.org"
    p2pmail("user", "add", address, "-c", site.config_file, "--password-stdin", stdin=LINE)
    assert address in p2pmail("user", "list", "-c", site.config_file).out.split()


def test_machines(p2pmail: Command, site: Site) -> None:
    """Listed with role, name, endpoint and the end of the certificate; one that has moved is said to be elsewhere."""
    c = ("-c", site.config_file)
    rows = [line.split() for line in p2pmail("machine", "list", *c).out.splitlines()[1:]]
    assert [row[0] for row in rows] == ["directory", "node", "gateway"]
    node = rows[1]
    assert node[2] == str(site.config.node.listen)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", node[3])
    moved = p2pmail("machine", "set", node[1], "endpoint=n1.example.org:4466", "--role", "node", *c)
    assert (moved.code, moved.out) == (0, f"node {node[1]} → n1.example.org:4466\n")
    wrong = p2pmail("machine", "set", node[1], "n1.example.org:4466", *c)
    assert wrong.code == 2
    at = "[2001:db8:a:b::1]:4466"  # in which rich sees an emoji
    moved = p2pmail("machine", "set", node[1], f"endpoint={at}", "--role", "node", *c)
    assert moved.out == f"node {node[1]} → {at}\n"
    assert p2pmail("machine", "set", "nobody", "endpoint=h:1", *c).code == 1


def test_status_with_nothing_running(p2pmail: Command, site: Site) -> None:
    """It says that nothing runs and how to start it; with a bad configuration it says that."""
    ended = p2pmail("status", "-c", site.config_file)
    assert (ended.code, ended.out) == (1, "")
    start = f"p2pmail run -c {site.config_file}"
    assert ended.err == (
        f"error: {site.directory}: no p2pmail process answers here; if it is not just starting, start it: {start}\n"
    )
    missing = p2pmail("status", "-c", site.directory / "other.toml", "--json")
    assert missing.code == 2
    assert "other.toml: does not exist; name it with -c" in missing.err


def test_directory_commands(p2pmail: Command, site: Site) -> None:
    """Aliases, catch-all, postmaster, k and w, revocation."""
    c = ("-c", site.config_file)
    p2pmail("user", "add", ALICE, *c, "--password-stdin", stdin=LINE)
    assert p2pmail("alias", "set", "team@example.org", ALICE, *c).out == f"team@example.org → {ALICE}\n"
    assert "team@example.org" in p2pmail("user", "list", *c).out
    assert p2pmail("alias", "catch-all", ALICE, *c).code == 0
    assert p2pmail("alias", "list", *c).out.splitlines() == [
        f"team@example.org → {ALICE}",
        f"catch-all → {ALICE}",
        f"postmaster, abuse → {ALICE}",
    ]
    assert p2pmail("alias", "remove", "*@example.org", *c).code == 0
    assert "catch-all → nobody\n" in p2pmail("alias", "list", *c).out
    assert p2pmail("alias", "set", "@example.org", ALICE, *c).code == 0
    assert p2pmail("alias", "catch-all", *c).out == "catch-all → nobody\n"
    assert p2pmail("alias", "remove", "team@example.org", *c).code == 0
    assert p2pmail("domain", "postmaster", ALICE, *c).code == 0
    assert p2pmail("domain", "set", "k=1", "w=1", *c).code == 0
    more = p2pmail("domain", "set", "k=3", "w=2", *c)
    assert (more.code, "only 1 nodes are known" in more.err) == (1, True)
    for bad in (["k=3"], ["k=a", "w=1"], ["k=" + "9" * 5_000, "w=1"], ["x=1", "w=1"]):
        assert p2pmail("domain", "set", *bad, *c).code == 2
    assert p2pmail("revoke", ALICE, *c, "--compromised").out == f"{ALICE}: revoked.\n"
    assert p2pmail("revoke", "nobody@example.org", *c).code == 1


def test_joining(p2pmail: Command, site: Site, tmp_path: Path) -> None:
    """invite | join | ca sign | join, for a new machine and then for a second user of it."""
    home = tmp_path / "home"
    for address, more in ((ALICE, settings()), (BOB, [])):
        texts = {name: tmp_path / name for name in ("invitation", "request")}
        texts["invitation"].write_text(p2pmail("invite", "user", address, "-c", site.config_file).out)
        texts["request"].write_text(p2pmail("join", home, "--invitation", texts["invitation"], *more).out)
        answer = p2pmail("ca", "sign", texts["request"], "-c", site.config_file).out
        (tmp_path / "answer").write_text(answer)
        ended = p2pmail("join", home, "--answer", tmp_path / "answer", "--password-stdin", stdin=LINE)
        assert ended.code == 0, ended.err
        assert f"Admitted as user {address}." in ended.out
        assert "Its passphrase: " in ended.out
    assert Site.open(home / CONFIG_NAME).account_addresses() == (ALICE, BOB)
    piped = p2pmail("join", home, "--answer", "-", stdin=answer.encode())
    assert (piped.code, "nobody here waits for this answer" in piped.err) == (1, True)


def test_joining_wrongly(p2pmail: Command, site: Site, tmp_path: Path) -> None:
    """Wrong options and files: exit code 2, and the site is as it was."""
    p2pmail("user", "list", "-c", site.config_file)  # the book takes note of the copied site's own endpoint
    with unchanged(site.directory):
        assert p2pmail("invite", "king", "x", "-c", site.config_file).code == 2
        assert p2pmail("join", site.directory).code == 2
        assert p2pmail("join", site.directory, "--invitation", "-", "--answer", "-").code == 2
        assert p2pmail("join", site.directory, "--answer", "-", "--set", "a.b=1").code == 2
        missing = p2pmail("join", site.directory, "--invitation", tmp_path / "missing")
        assert (missing.code, "missing: cannot be read: No such file" in missing.err) == (2, True)
        set_there = p2pmail("join", site.directory, "--invitation", "-", "--set", "smtp.verify=on")
        assert (set_there.code, "change it there, without --set" in set_there.err) == (2, True)
        nonsense = p2pmail("join", site.directory, "--invitation", "-", stdin=b"hello")
        assert (nonsense.code, nonsense.err.count("error: ")) == (1, 1)
        binary = p2pmail("ca", "sign", "-", "-c", site.config_file, stdin=b"\xff")
        assert (binary.code, "not UTF-8" in binary.err) == (2, True)


def test_recovering(p2pmail: Command, site: Site, tmp_path: Path) -> None:
    """The kit, its passphrase and a new password make the account again, in a new site where there is none."""
    added = p2pmail("user", "add", ALICE, "-c", site.config_file)
    kit, passphrase = (re.findall(rf"{what}: (\S+)", added.out)[0] for what in ("Recovery kit", "Its passphrase"))
    new = tmp_path / "new" / CONFIG_NAME
    given = f"{passphrase}\nanother password\n".encode()
    lacking = p2pmail("recover", kit, "-c", new, stdin=given)
    assert (lacking.code, "node.bootstrap" in lacking.err) == (2, True)
    ended = p2pmail("recover", kit, "-c", new, *settings(), "--set", 'node.bootstrap=["127.0.0.1:1"]', stdin=given)
    assert ended.code == 0, ended.err
    assert ended.out.startswith(f"Recovered {ALICE}.\n")
    again = p2pmail("recover", kit, "-c", new, stdin=given)
    assert (again.code, "has an account here already" in again.err) == (1, True)
    assert p2pmail("recover", kit, "-c", new, stdin=b"wrong\npassword\n").code == 1
    assert p2pmail("recover", tmp_path / "missing", "-c", new).code == 2


def test_errors_are_shown_as_they_are(p2pmail: Command, site: Site) -> None:
    """What looks like markup, or like the name of an emoji, in an error is text."""
    ended = p2pmail("run", "-c", site.config_file, "--set", "[bold].x=1")
    assert (ended.code, "[[bold]]" in ended.err) == (2, True)
    ended = p2pmail("status", "-c", site.directory / ":b:.toml")
    assert (ended.code, ":b:.toml: does not exist" in ended.err) == (2, True)


def test_an_error_is_one_line_of_text(p2pmail: Command, site: Site) -> None:
    """Whatever was typed: a terminal obeys nothing of it, and what is long is cut where it is dullest."""
    ended = p2pmail("run", "-c", site.config_file, "--set", "a\nb\x1b[2J\u202e")
    assert (ended.code, ended.err) == (2, "error: --set a?b?[2J?: not of the form section.key=value\n")
    ended = p2pmail("run", "-c", site.config_file, "--set", "a" * 100_000)
    assert (ended.code, len(ended.err) < 1_100) == (2, True)
    assert ended.err.startswith("error: --set aaa")
    assert ended.err.endswith("aaa: not of the form section.key=value\n")


def test_status_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Everything reported is shown: lists, counts, accounts, warnings."""
    report = {
        "domain": "example.org",
        "roles": ["node"],
        "node": {"objects": 3},
        "repair": asdict(
            RepairCounts(9, 31, 2, 4, 250, 12_345, 6_789, RoundCounts(1_790_000_000_000, "a change", 70, 3, 0, 1, 2))
        ),
        "availability": {"up": 0.9, "k": 5, "nodes": 6, "samples": 30},
        "accounts": [{"address": "a[b]@c", "messages": 2, "mailboxes": 6}],
        "warnings": ["[k] = 1"],
    }
    show(report, Console(highlight=False, soft_wrap=True, width=400))
    shown = capsys.readouterr().out
    assert "p 0.9, calls for k 5 (30 hourly samples, 6 nodes followed)" in shown
    assert (
        "2026-09-21 14:13:20 over a change: 70 items compared, 3 passed on, 0 refused, 1 ended, 2 nodes silent;"
        " since the start 9 rounds, 31 passed on, 2 refused, 4 ended, 250 requests, 12,345 octets sent, 6,789 received"
    ) in shown
    for text in ("example.org", "objects 3", "a[b]@c: 2 messages in 6 mailboxes", "warning: [k] = 1"):
        assert text in shown
