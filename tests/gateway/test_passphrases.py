"""Mailbox keys at rest: under a passphrase where one is wanted, wherever it comes from."""

from pathlib import Path

import pytest

from gateway.errors import ConfigurationError
from gateway.passphrases import Passphrase, read_mailbox_key, unseal

KEY = bytes(range(32))

pytestmark = pytest.mark.usefixtures("weak_passphrases")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "mailbox.key").write_bytes(KEY)
    (tmp_path / "phrase").write_text("open sesame\r\nwhatever\n")
    return tmp_path / "mailbox.key"


@pytest.mark.parametrize("source", ["file:phrase", "credential:phrase", "prompt"])
def test_sealed_when_first_opened(path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is the same ever after, and not on disk any more; the passphrase is asked for once."""
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return "open sesame"

    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(path.parent))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", ask)
    passphrase = Passphrase(source, path.parent)
    assert read_mailbox_key(path, passphrase) == KEY
    assert KEY not in path.read_bytes()
    assert read_mailbox_key(path, passphrase) == KEY
    assert len(asked) == (source == "prompt")
    assert read_mailbox_key(path, Passphrase("file:phrase", path.parent)) == KEY
    unseal(path, passphrase)
    assert read_mailbox_key(path, Passphrase("", path.parent)) == KEY


def test_without_one_the_key_lies_open(path: Path) -> None:
    """Nothing changes where no passphrase is wanted."""
    assert read_mailbox_key(path, Passphrase("", path.parent)) == KEY
    assert path.read_bytes() == KEY


def test_a_wrong_or_missing_passphrase(path: Path) -> None:
    """The key stays as it is, and one line names the file and the configuration's key."""
    read_mailbox_key(path, Passphrase("file:phrase", path.parent))
    sealed = path.read_bytes()
    (path.parent / "phrase").write_text("another\n")
    with pytest.raises(ConfigurationError, match=r"mailbox\.key.*wrong passphrase"):
        read_mailbox_key(path, Passphrase("file:phrase", path.parent))
    with pytest.raises(ConfigurationError, match=r"keys\.passphrase"):
        read_mailbox_key(path, Passphrase("", path.parent))
    assert path.read_bytes() == sealed


@pytest.mark.parametrize("source", ["file:none", "credential:phrase", "credential:../x", "prompt", "keyring", "file:"])
def test_a_source_that_gives_none(path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, and the key is left as it is."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(ConfigurationError, match=r"keys\.passphrase"):
        read_mailbox_key(path, Passphrase(source, path.parent))
    assert path.read_bytes() == KEY


def test_an_empty_passphrase(path: Path) -> None:
    """It is none."""
    (path.parent / "phrase").write_text("\n")
    with pytest.raises(ConfigurationError, match="empty"):
        read_mailbox_key(path, Passphrase("file:phrase", path.parent))


@pytest.mark.parametrize(
    "octets", [b"", KEY + b"x", b"p2pmail mailbox key 1\n", b"p2pmail mailbox key 1\n" + bytes(60)]
)
def test_what_is_no_key(path: Path, octets: bytes) -> None:
    """Damage is said in words."""
    path.write_bytes(octets)
    with pytest.raises(ConfigurationError, match=r"mailbox\.key"):
        read_mailbox_key(path, Passphrase("file:phrase", path.parent))
