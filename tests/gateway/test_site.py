"""One machine's data directory."""

import os
import stat
from pathlib import Path

import pytest

from gateway.config import Config
from gateway.errors import ConfigurationError, OperatorError
from gateway.site import Site, SiteBusy, check_access, make_private, write_private
from p2pcore.names import canonical_address


def at(directory: Path) -> Site:
    return Site(directory / "p2pmail.toml", Config())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    "address",
    ["alice@example.org", '"../../x"@example.org', '".."@example.org', "a/b@example.org", "ü@example.org", "%2e@b.c"],
)
def test_account_directories_stay_inside(tmp_path: Path, address: str) -> None:
    """No address escapes accounts/, and the directory's name gives the address back."""
    site = at(tmp_path)
    canonical = canonical_address(address)
    directory = site.account_directory(canonical)
    assert directory.parent == site.accounts
    assert os.path.normpath(directory) == str(directory)
    write_private(directory / "password", b"x")
    assert site.account_addresses() == (canonical,)


def test_only_complete_accounts_count(tmp_path: Path) -> None:
    """An account without its password file, which is written last, is none."""
    site = at(tmp_path)
    assert site.account_addresses() == ()
    write_private(site.account_directory("alice@example.org") / "identity", b"x")
    assert site.account_addresses() == ()


def test_lock_keeps_a_second_holder_out(tmp_path: Path) -> None:
    """Only one holder at a time; the lock is free again when it lets go."""
    site = at(tmp_path)
    with site.locked(), pytest.raises(SiteBusy, match="another p2pmail process"), at(tmp_path).locked():
        pass
    with site.locked():
        assert mode(tmp_path / "lock") == 0o600


def test_lock_of_a_missing_directory(tmp_path: Path) -> None:
    """A directory that is not there is named, with exit code 2."""
    with pytest.raises(ConfigurationError, match=r"gone/lock: cannot be opened"), at(tmp_path / "gone").locked():
        pass


def test_private_files_and_directories(tmp_path: Path) -> None:
    """Whatever is made for a secret is its owner's alone, parents included, whatever the umask."""
    previous = os.umask(0)
    try:
        write_private(tmp_path / "a" / "b" / "secret", b"old")
        write_private(tmp_path / "a" / "b" / "secret", b"new")
    finally:
        os.umask(previous)
    assert [mode(tmp_path / name) for name in ("a", "a/b", "a/b/secret")] == [0o700, 0o700, 0o600]
    assert (tmp_path / "a" / "b" / "secret").read_bytes() == b"new"
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["secret"]


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file in the way is named in the error."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OperatorError, match="file/secret: cannot be written"):
        write_private(tmp_path / "file" / "secret", b"x")
    make_private(tmp_path)  # is there already


def test_identities_that_cannot_be_used(site: Site) -> None:
    """A missing or damaged identity is named with what it is needed for, a missing one with what makes it."""
    path = site.identity_file("node")
    path.write_bytes(b"damaged")
    with pytest.raises(ConfigurationError, match=r"role node: .*node\.identity"):
        site.identity("node")
    path.unlink()
    with pytest.raises(ConfigurationError, match=r"node\.identity: role node: is missing; .*p2pmail join"):
        site.identity("node")


def test_a_damaged_dkim_key_is_named(site: Site) -> None:
    """Before anything is signed or told with it."""
    site.dkim_keys()
    (site.directory / "dkim.pem").write_bytes(b"garbage")
    with pytest.raises(ConfigurationError, match=r"site/dkim\.pem: DKIM key"):
        site.dkim_keys()


def test_own_identity(site: Site) -> None:
    """A machine speaks as its first role; one with an agent alone as its first user, and says when it has none."""
    assert site.own_identity().role == "node"
    agent = Site.open(site.config_file, ('domain.roles=["agent"]',))
    with pytest.raises(ConfigurationError, match="no user has an account here"):
        agent.own_identity()


def test_directories_that_may_not_be_used_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is not there yet is no fault."""
    used, missing = tmp_path / "tmp", tmp_path / "accounts"
    used.mkdir()
    check_access(used, missing)
    monkeypatch.setattr(os, "access", lambda path, mode: path != used)
    with pytest.raises(PermissionError, match="tmp") as caught:
        check_access(used, missing)
    assert caught.value.filename == str(used)
