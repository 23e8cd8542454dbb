"""Founding a domain: all of it, or begun again; never over another one's keys."""

import os
import stat
from pathlib import Path

import pytest

from gateway import founding
from gateway.config_rules import advertised, relay_endpoint
from gateway.errors import ConfigurationError
from gateway.founding import found_domain, make_tls_certificate, open_directory
from gateway.site import CONFIG_NAME, Site
from p2pcore import params
from p2pcore.clock import system_clock
from p2pcore.records import DomainRecord, decode
from tests.gateway.sites import config_of

pytestmark = pytest.mark.usefixtures("weak_passphrases")


def test_complete(site: Site) -> None:
    """Every role has its identity, the directory lists node and gateway, and the first user can be added."""
    for role in ("directory", "node", "gateway"):
        assert site.identity(role).certificate
    book = open_directory(site)
    assert sorted(machine.role for machine in book.machines()) == ["gateway", "node"]
    assert [(each.k, each.w) for each in book.replication()] == [(1, 1)]
    book.close()
    assert all(path.is_file() for path in site.tls_files())
    assert not (site.directory / "founding.toml").exists()


def test_a_lost_address_list_is_not_begun_anew(site: Site) -> None:
    """Empty it would say that the domain has nobody: it is named, and what to do."""
    (site.directory / "directory.db").unlink()
    with pytest.raises(ConfigurationError, match=r"directory\.db: is missing, .*backup"):
        open_directory(site)
    assert not (site.directory / "directory.db").exists()


def test_secrets_are_private(tmp_path: Path) -> None:
    """In a directory of its own, nobody else can even look."""
    previous = os.umask(0o022)
    try:
        site = found_domain(tmp_path / "new" / "site", config_of())
    finally:
        os.umask(previous)
    for path in (site.directory, site.authority, site.tls):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    for path in (site.passphrase, site.authority / "ca.key", site.identity_file("node"), site.tls_files()[1]):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_existing_site_is_refused(site: Site) -> None:
    """A second founding in the same directory changes nothing."""
    before = {path: path.read_bytes() for path in site.directory.rglob("*") if path.is_file()}
    with pytest.raises(ConfigurationError, match=r"p2pmail\.toml: exists already; nothing was changed"):
        found_domain(site.directory, config_of())
    assert before == {path: path.read_bytes() for path in site.directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("left", ["authority", "directory.db", "node.identity", "accounts"])
def test_keys_without_their_configuration_are_not_touched(site: Site, left: str) -> None:
    """Where the configuration was renamed or lost, nothing overwrites what it belonged to."""
    site.accounts.mkdir()
    site.config_file.rename(site.directory / "other.toml")
    for path in sorted(site.directory.iterdir()):
        if path.name not in (left, "other.toml", "tls", "lock"):
            path.rename(path.parent.parent / path.name)
    with pytest.raises(ConfigurationError, match=f"{left}: exists already"):
        found_domain(site.directory, config_of())


@pytest.mark.parametrize("step", ["_make_authority", "_admit_own_roles", "make_tls_certificate"])
def test_interrupted_founding_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Whatever step the process dies after, the next founding makes a complete site."""
    whole = getattr(founding, step)

    def die(*arguments: object) -> None:
        whole(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(founding, step, die)
        with pytest.raises(KeyboardInterrupt):
            found_domain(tmp_path, config_of())
    with pytest.raises(ConfigurationError, match=r"was interrupted; begin again with `p2pmail init"):
        Site.open(tmp_path / CONFIG_NAME)
    site = found_domain(tmp_path, config_of())
    book = open_directory(site)
    assert len(book.machines()) == 2
    book.close()


def test_what_a_founder_cannot_be(tmp_path: Path) -> None:
    """Refused before anything is made."""
    with pytest.raises(ConfigurationError, match=r"domain.roles: .* the directory must be one of them"):
        found_domain(tmp_path / "site", config_of(['domain.roles=["node"]']))
    assert not (tmp_path / "site").exists()


def test_copies_for_nodes_to_come(tmp_path: Path) -> None:
    """k and w of the configuration hold from the first record on, also before there are as many nodes."""
    site = found_domain(tmp_path / "site", config_of(["replication.k=3", "replication.quorum=2"]))
    book = open_directory(site)
    record = decode(DomainRecord, book.current_record().content)
    book.close()
    assert (record.replication[-1].k, record.replication[-1].w) == (3, 2)


def test_directory_that_cannot_be(tmp_path: Path) -> None:
    """A file in the way is named."""
    (tmp_path / "file").write_bytes(b"")
    for place in ("file", "file/below"):
        with pytest.raises(ConfigurationError, match="file"):
            found_domain(tmp_path / place, config_of())


def test_authority_that_does_not_open(site: Site) -> None:
    """Missing or damaged parts of the directory are named, with exit code 2."""
    site.passphrase.write_text("wrong")
    with pytest.raises(ConfigurationError, match="wrong passphrase"):
        open_directory(site)
    site.passphrase.write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="authority/passphrase: is no passphrase"):
        open_directory(site)
    site.passphrase.unlink()
    with pytest.raises(ConfigurationError, match="authority/passphrase: cannot be read"):
        open_directory(site)


@pytest.mark.parametrize("name", ["directory.db", "authority/ca.key", "authority/ca.pem"])
def test_a_damaged_part_of_the_directory_is_named_once(site: Site, name: str) -> None:
    """It, and no other file."""
    damaged = site.directory / name
    damaged.write_bytes(b"garbage" * 1_000)
    with pytest.raises(ConfigurationError) as refused:
        open_directory(site)
    assert str(refused.value).startswith(f"{damaged}: ")
    assert str(refused.value).count(f"{site.directory}") == 1
    damaged.unlink()
    damaged.mkdir()
    with pytest.raises(ConfigurationError, match=rf"^{damaged}: [^\[]*Is a directory$"):
        open_directory(site)


@pytest.mark.parametrize(
    ("role", "override"),
    [("node", 'node.advertise="node.example.org:4466"'), ("gateway", 'relay.advertise="mx.example.org:465"')],
)
def test_moved_machines_are_listed_where_they_are(site: Site, role: str, override: str) -> None:
    """After a change of its endpoint in the configuration others are sent to the new one; no change, no version."""
    for overrides in ((), (override,)):
        changed = Site.open(site.config_file, overrides)
        book = open_directory(changed)
        (machine,) = [machine for machine in book.machines() if machine.role == role]
        expected = advertised(changed.config) if role == "node" else relay_endpoint(changed.config)
        assert machine.endpoint == expected
        version = book.current_record()
        book.close()
        book = open_directory(changed)
        assert book.current_record() == version
        book.close()


def test_a_directory_that_was_off_for_long_renews_itself_first(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its expired certificate could not even ask nodes to take the next one."""
    later = system_clock() + params.DIRECTORY_LIFETIME + params.DAY
    monkeypatch.setattr(founding, "system_clock", lambda: later)
    for _ in range(2):
        book = open_directory(site)
        certificate = book.signer.certificate
        book.close()
        assert certificate.epoch == 2
        assert certificate.not_before < later < certificate.not_after


def test_tls_certificate_is_kept(site: Site) -> None:
    """It is made once, and again only if it or its key is missing."""
    certificate, key = site.tls_files()
    before = certificate.read_bytes()
    make_tls_certificate(site)
    assert certificate.read_bytes() == before
    key.unlink()
    make_tls_certificate(site)
    assert certificate.read_bytes() != before
