"""Where the passphrase of a machine's keys comes from, and that all its keys are under it."""

import asyncio
import shlex
import sys
from pathlib import Path

import pytest

from gateway.administration import administer
from gateway.errors import ConfigurationError
from gateway.joining import finish_join, request_admission
from gateway.main import running
from gateway.passphrases import obtain
from gateway.site import CONFIG_NAME, Site
from tests.gateway import sites
from tests.gateway.sites import ALICE, BOB, PASSWORD

pytestmark = pytest.mark.usefixtures("weak_passphrases")


def says(text: str, exit_code: int = 0) -> str:
    """A source that is a command which prints `text`."""
    return "command:" + shlex.join([sys.executable, "-c", f"import sys; print({text!r}); sys.exit({exit_code})"])


@pytest.mark.parametrize("source", ["file:phrase", "credential:phrase", "prompt", says("open sesame\nnot this")])
def test_sources(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's, a credential's or a command's first line, or what a person types."""
    (tmp_path / "phrase").write_text("open sesame\r\nwhatever\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: "open sesame")
    assert obtain(source, tmp_path) == "open sesame"


def test_a_new_passphrase_is_typed_twice(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who mistypes it once hears so while her keys still lie open; afterwards it is asked for once."""
    typed = iter(["open sesame", "open sesam", "open sesame", "open sesame", "open sesame"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(typed))
    before = secrets_of(site)
    prompting = ('keys.passphrase="prompt"',)
    with pytest.raises(ConfigurationError, match="not the same"):
        Site.open(site.config_file, prompting).seal_keys()
    assert len(lying_open(site)) == len(before)
    Site.open(site.config_file, prompting).seal_keys()
    assert secrets_of(Site.open(site.config_file, prompting)) == before
    assert next(typed, None) is None


def test_no_second_passphrase_beside_the_first(site: Site) -> None:
    """Where one key is under a passphrase, another one is refused and no further key put under it."""
    protected(site).keys.seal(site.identity_file("node"))
    (site.directory / "phrase").write_text("close sesame\n")
    opened = [path.read_bytes() for path in site.key_files()]
    with pytest.raises(ConfigurationError, match=r"node\.identity.*wrong passphrase"):
        Site.open(site.config_file).seal_keys()
    assert [path.read_bytes() for path in site.key_files()] == opened


def test_the_services_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that the service's user types finds the service's credentials while it runs."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr("gateway.passphrases.SERVICE_CREDENTIALS", tmp_path)
    (tmp_path / "phrase").write_text("open sesame\n")
    assert obtain("credential:phrase", tmp_path / "elsewhere") == "open sesame"
    with pytest.raises(ConfigurationError, match=r"nor is p2pmail\.service running"):
        obtain("credential:other", tmp_path)


@pytest.mark.parametrize(
    "source",
    [
        "file:none",
        "file:",
        "credential:phrase",
        "credential:../x",
        "prompt",
        "keyring",
        "command:",
        "command:/nowhere/at-all",
        "command:'unbalanced",
        says("open sesame", exit_code=1),
        says(""),
    ],
)
def test_a_source_that_gives_none(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named with its key."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(ConfigurationError, match=r"keys\.passphrase"):
        obtain(source, tmp_path)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("file:none", "cannot be read: No such file or directory"),
        ("file:binary", "its first line is no UTF-8 text"),
        ("command:/nowhere/at-all", "command:/nowhere/at-all: cannot be run: No such file or directory"),
        ("command:'unbalanced", "command:'unbalanced: cannot be run: No closing quotation"),
        ("command:a\0b", "cannot be run: embedded null byte"),
        ("command:cat binary", "its first line of output is no UTF-8 text"),
        ("command:sleep 60", "gave no answer within 0.01 seconds"),
    ],
)
def test_what_is_wrong_with_a_source(tmp_path: Path, source: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a sentence, without the numbers and brackets of Python's own."""
    (tmp_path / "binary").write_bytes(b"\xff\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gateway.passphrases._PATIENCE", 0.01 if "sleep" in source else 120)
    with pytest.raises(ConfigurationError) as refused:
        obtain(source, tmp_path)
    assert said in str(refused.value)
    assert "[" not in str(refused.value)


def secrets_of(site: Site) -> list[bytes]:
    """Every private key of a site, as it would lie on disk."""
    identities = [site.identity(role) for role in ("node", "gateway", "directory") if site.identity_file(role).exists()]
    identities += [site.user_identity(address) for address in site.account_addresses()]
    keys = [key for identity in identities for key in (identity.signing_key, *identity.hpke_keys)]
    keys += [site.mailbox_key(address) for address in site.account_addresses()]
    others = [path for path in site.key_files() if path.name.startswith(("dkim", "gateway-queue", "passphrase"))]
    return [*keys, *(site.read_key(path, "test") for path in others)]


def lying_open(site: Site) -> list[bytes]:
    """Those of them that some file of the site holds in clear."""
    files = [path.read_bytes() for path in site.directory.rglob("*") if path.is_file()]
    return [key for key in secrets_of(site) if any(key in content for content in files)]


async def start_once(site: Site) -> None:
    with site.locked():
        async with running(site):
            pass


def protected(site: Site) -> Site:
    """The same site with a passphrase for its keys."""
    (site.directory / "phrase").write_text("open sesame\n")
    text = site.config_file.read_text().replace('passphrase = ""', 'passphrase = "file:phrase"')
    site.config_file.write_text(text)
    return Site.open(site.config_file)


def test_every_key_of_a_machine(site: Site) -> None:
    """From the first start with a passphrase on no key lies open, whatever is added later; `unseal` undoes that."""
    administer(site, "user-add", address=ALICE, password=PASSWORD)
    asyncio.run(start_once(site))
    before = secrets_of(site)
    assert len(lying_open(site)) == len(before) >= 11
    hidden = protected(site)
    asyncio.run(start_once(hidden))
    assert secrets_of(hidden) == before
    assert lying_open(hidden) == []
    administer(hidden, "user-add", address=BOB, password=PASSWORD)
    administer(hidden, "user-rotate", address=ALICE, compromised=False)
    assert lying_open(hidden) == []
    after = secrets_of(hidden)
    assert len(after) > len(before)
    asyncio.run(start_once(hidden))
    assert secrets_of(Site.open(hidden.config_file)) == after
    assert len(hidden.unseal_keys()) == len(hidden.key_files())
    assert len(lying_open(hidden)) == len(after)
    assert secrets_of(Site.open(site.config_file, ('keys.passphrase=""',))) == after


def test_who_joins(site: Site, tmp_path: Path) -> None:
    """A machine that joins with a passphrase has never had a key lying open."""
    (tmp_path / "phrase").write_text("open sesame\n")
    home = tmp_path / "home"
    overrides = [*sites.endpoints(), f'keys.passphrase="file:{tmp_path / "phrase"}"']
    invitation = administer(site, "invite", role="user", name=ALICE)["text"]
    request = request_admission(home, invitation, overrides)
    finish_join(home, administer(site, "sign", request=request)["text"], PASSWORD)
    hers = Site.open(home / CONFIG_NAME)
    assert len(secrets_of(hers)) == 3
    assert lying_open(hers) == []


@pytest.mark.parametrize("octets", [b"", bytes(31), bytes(33)])
def test_what_is_no_mailbox_key(site: Site, octets: bytes) -> None:
    """A mailbox key of another size is named."""
    administer(site, "user-add", address=ALICE, password=PASSWORD)
    (site.account_directory(ALICE) / "mailbox.key").write_bytes(octets)
    with pytest.raises(ConfigurationError, match=r"mailbox\.key: .*not a mailbox key"):
        site.mailbox_key(ALICE)


def test_a_wrong_passphrase_starts_nothing(site: Site) -> None:
    """The file and the key of the configuration are named, and no key is changed."""
    hidden = protected(site)
    hidden.seal_keys()
    before = {path: path.read_bytes() for path in hidden.key_files()}
    (site.directory / "phrase").write_text("another\n")
    wrong = Site.open(site.config_file)
    with pytest.raises(ConfigurationError, match=r"^keys\.passphrase: /.*: key does not open: wrong passphrase"):
        asyncio.run(start_once(wrong))
    with pytest.raises(ConfigurationError, match="wrong passphrase"):
        wrong.unseal_keys()
    with pytest.raises(ConfigurationError, match="is under a passphrase, and none is given"):
        Site.open(site.config_file, ('keys.passphrase=""',)).identity("node")
    assert {path: path.read_bytes() for path in hidden.key_files()} == before
