"""Joining a domain: new machines, and one more user of a machine that is there."""

from pathlib import Path

import msgspec
import pytest

from gateway import accounts, joining
from gateway.administration import administer
from gateway.errors import ConfigurationError, OperatorError
from gateway.joining import Joined, finish_join, request_admission
from gateway.recovery import opened, recover_site
from gateway.site import CONFIG_NAME, Site
from p2pcore.crypto.key_files import KeyFiles
from p2pcore.crypto.recovery_kit import open_kit
from p2pcore.crypto.trust import Trust
from p2pcore.directory.errors import InvitationRefused
from p2pcore.directory.text_forms import from_text, to_text
from p2pcore.errors import CertificateRefused, Malformed
from p2pcore.mail.record_file import load_record
from p2pcore.records import Invitation
from tests.gateway import sites
from tests.gateway.sites import ALICE, BOB, PASSWORD


def invite(site: Site, role: str, name: str) -> str:
    return str(administer(site, "invite", role=role, name=name)["text"])


def sign(site: Site, request: str) -> str:
    return str(administer(site, "sign", request=request)["text"])


def joined(site: Site, directory: Path, role: str, name: str) -> tuple[Site, Joined]:
    """A new site in `directory` that has joined the domain of `site`."""
    request = request_admission(directory, invite(site, role, name), sites.endpoints())
    return_ = finish_join(directory, sign(site, request), PASSWORD)
    return Site.open(directory / CONFIG_NAME), return_


@pytest.mark.parametrize(("role", "name"), [("node", "n1"), ("gateway", "mx1.example.org")])
def test_machine(site: Site, tmp_path: Path, role: str, name: str) -> None:
    """A machine that joined has its identity, the contacts to begin with and the domain record."""
    new, result = joined(site, tmp_path / "new", role, name)
    assert result == Joined(role, name)  # type: ignore[arg-type]
    assert new.config.domain.roles == (role,)
    assert new.config.node.bootstrap == (site.config.node.listen,)
    identity = new.own_identity()
    assert (identity.role, identity.authority) == (role, site.own_identity().authority)
    assert load_record(new.cache, Trust(identity.authority, "example.org")) is not None
    assert {path.name for path in new.directory.iterdir()} == {
        *("cache", "lock", "p2pmail.toml", "tls"),
        f"{role}.identity",
    }


def test_a_node_that_the_others_cannot_reach(site: Site, tmp_path: Path) -> None:
    """It listens on loopback, the default, and they do not: it would be counted, and hold nothing for anybody."""
    invitation = from_text(Invitation, invite(site, "node", "n1"))
    public = tuple(msgspec.structs.replace(contact, host="192.0.2.10") for contact in invitation.contacts)
    text = to_text(msgspec.structs.replace(invitation, contacts=public))
    with pytest.raises(ConfigurationError, match=r"node\.listen: .* 127\.0\.0\.1:4466; write .*--set node\.listen="):
        request_admission(tmp_path / "new", text, [])
    assert not (tmp_path / "new").exists()
    request_admission(tmp_path / "new", text, ["node.listen=192.0.2.11:4466"])


def test_a_join_that_waits_for_its_answer(site: Site, tmp_path: Path) -> None:
    """Whoever starts it already hears what is left to do, not of a file that is missing."""
    request_admission(tmp_path / "new", invite(site, "node", "n1"), sites.endpoints())
    with pytest.raises(ConfigurationError, match=rf"not finished; go on with `p2pmail join {tmp_path}/new --answer"):
        Site.open(tmp_path / "new" / CONFIG_NAME)


@pytest.mark.parametrize("name", ["invitation.txt", "joining.toml"])
def test_a_request_whose_files_are_gone_or_damaged(site: Site, tmp_path: Path, name: str) -> None:
    """The answer alone is of no use: the join begins again, with the same keys."""
    invitation, overrides, new = invite(site, "node", "n1"), sites.endpoints(), tmp_path / "new"
    answer = sign(site, request_admission(new, invitation, overrides))
    (new / name).write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match=rf"{name}: "):
        finish_join(new, answer, PASSWORD)
    (new / name).unlink()
    with pytest.raises(ConfigurationError, match=f"new: begin with `p2pmail join {new} --invitation"):
        finish_join(new, answer, PASSWORD)
    request_admission(new, invitation, overrides)
    assert finish_join(new, answer, PASSWORD) == Joined("node", "n1")


def test_user(site: Site, tmp_path: Path) -> None:
    """A user's machine has her account and a kit; the directory lists her as elsewhere."""
    new, result = joined(site, tmp_path / "new", "user", ALICE)
    assert new.account_addresses() == (ALICE,)
    assert open_kit(Path(result.kit).read_bytes(), result.kit_passphrase) == new.own_identity()
    assert administer(site, "user-list") == [{"address": ALICE, "aliases": [], "here": False}]


def test_each_step_may_be_repeated(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed anywhere in either step, the same commands end in a complete site with the same keys."""
    invitation, overrides = invite(site, "user", ALICE), sites.endpoints()
    first = request_admission(tmp_path / "new", invitation, overrides)
    assert request_admission(tmp_path / "new", invitation, overrides) == first
    answer = sign(site, first)
    assert sign(site, first) == answer

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    for module, step in ((accounts, "set_password"), (joining, "save_record"), (joining, "write_private")):
        with monkeypatch.context() as patched:
            patched.setattr(module, step, die)
            with pytest.raises(KeyboardInterrupt):
                finish_join(tmp_path / "new", answer, PASSWORD)
        assert not (tmp_path / "new" / CONFIG_NAME).exists()
    finish_join(tmp_path / "new", answer, PASSWORD)
    assert Site.open(tmp_path / "new" / CONFIG_NAME).account_addresses() == (ALICE,)


def test_second_user_of_one_machine(site: Site, tmp_path: Path) -> None:
    """A user may join a site whose agent serves another user of the domain; several may wait at once."""
    home, _ = joined(site, tmp_path / "home", "user", ALICE)
    carol = "carol@example.org"
    requests = {
        name: administer(home, "join-request", invitation=invite(site, "user", name))["text"] for name in (BOB, carol)
    }
    assert home.account_addresses() == (ALICE,)
    for name in (carol, BOB):
        answer = sign(site, requests[name])
        result = administer(home, "join-answer", answer=answer, password=PASSWORD)
        assert (result["role"], result["name"]) == ("user", name)
        assert open_kit(Path(result["kit"]).read_bytes(), result["kit_passphrase"]).name == name
        with pytest.raises(OperatorError, match="nobody here waits for this answer"):
            administer(home, "join-answer", answer=answer, password=PASSWORD)
    assert home.account_addresses() == (ALICE, BOB, carol)
    assert not list(home.accounts.rglob("invitation.txt"))


def test_who_may_not_join_an_existing_site(site: Site, tmp_path: Path) -> None:
    """Machines, users of another domain or authority, and users who are there are refused, and nothing is made."""
    home, _ = joined(site, tmp_path / "home", "user", ALICE)
    other = invite(site, "user", BOB)
    forged = to_text(msgspec.structs.replace(from_text(Invitation, other), authority=b"another"))
    elsewhere = to_text(
        msgspec.structs.replace(from_text(Invitation, other), domain="example.net", name="b@example.net")
    )
    there = to_text(msgspec.structs.replace(from_text(Invitation, other), name=ALICE))
    for text, said in (
        (invite(site, "node", "n1"), "only users can join a site"),
        (forged, "another authority"),
        (elsewhere, "for example.net"),
        (there, "has an account here already"),
    ):
        with pytest.raises(OperatorError, match=said):
            administer(home, "join-request", invitation=text)
    assert [path.name for path in home.accounts.iterdir()] == [ALICE]
    without = Site.open(site.config_file, ('domain.roles=["node", "directory"]',))
    with pytest.raises(ConfigurationError, match="no agent runs here"):
        administer(without, "join-request", invitation=other)


@pytest.mark.parametrize("name", ["..", "../../x@example.org", "Bob@example.org", "bob@example.net", "x"])
def test_names_that_no_invitation_has(site: Site, tmp_path: Path, name: str) -> None:
    """An invitation for what is no canonical address of its domain makes nothing, wherever its name points."""
    invitation = from_text(Invitation, invite(site, "user", BOB))
    with pytest.raises(Malformed):
        request_admission(tmp_path / "new", to_text(msgspec.structs.replace(invitation, name=name)), [])
    assert not (tmp_path / "new").exists()


def test_wrong_texts(site: Site, tmp_path: Path) -> None:
    """A text of another kind, of somebody else, or without its first step says so and leaves the site unmade."""
    with pytest.raises(Malformed, match="invitation"):
        request_admission(tmp_path / "new", "hello", [])
    request = request_admission(tmp_path / "new", invite(site, "node", "n1"), sites.endpoints())
    with pytest.raises(Malformed, match="join answer"):
        finish_join(tmp_path / "new", request, PASSWORD)
    other = sign(site, request_admission(tmp_path / "n2", invite(site, "node", "n2"), sites.endpoints()))
    with pytest.raises(CertificateRefused, match="another key"):
        finish_join(tmp_path / "new", other, PASSWORD)
    with pytest.raises(ConfigurationError, match="begin with `p2pmail join"):
        finish_join(tmp_path / "unknown", other, PASSWORD)
    assert not (tmp_path / "new" / CONFIG_NAME).exists()
    with pytest.raises(OperatorError, match=r"domain\.roles are the invitation's"):
        request_admission(tmp_path / "n3", invite(site, "node", "n3"), ['domain.roles=["gateway"]'])


def test_short_password(site: Site, tmp_path: Path) -> None:
    """It is refused before the account is made; the same answer then takes a better one."""
    answer = sign(site, request_admission(tmp_path / "new", invite(site, "user", ALICE), sites.endpoints()))
    with pytest.raises(OperatorError, match="too short"):
        finish_join(tmp_path / "new", answer, "short")
    finish_join(tmp_path / "new", answer, PASSWORD)
    with pytest.raises(ConfigurationError, match="begin with"):
        finish_join(tmp_path / "new", answer, PASSWORD)
    with pytest.raises(ConfigurationError, match="exists already"):
        request_admission(tmp_path / "new", invite(site, "node", "n1"), [])


def test_second_invitation_in_one_directory(site: Site, tmp_path: Path) -> None:
    """A new invitation for another name gets keys of its own; the first one's request stays good for nothing here."""
    first = request_admission(tmp_path / "new", invite(site, "gateway", "mx1.example.org"), sites.endpoints())
    second = request_admission(tmp_path / "new", invite(site, "gateway", "mx2.example.org"), sites.endpoints())
    with pytest.raises(CertificateRefused):
        finish_join(tmp_path / "new", sign(site, first), PASSWORD)
    assert finish_join(tmp_path / "new", sign(site, second), PASSWORD).name == "mx2.example.org"
    assert KeyFiles().read_identity(tmp_path / "new" / "gateway.identity").name == "mx2.example.org"


def test_code_works_once(site: Site, tmp_path: Path) -> None:
    """Two machines with one invitation: the second is refused."""
    invitation = invite(site, "node", "n1")
    sign(site, request_admission(tmp_path / "a", invitation, sites.endpoints()))
    with pytest.raises(InvitationRefused):
        sign(site, request_admission(tmp_path / "b", invitation, sites.endpoints()))


def test_recovered_site(site: Site, tmp_path: Path) -> None:
    """After a lost machine the kit alone makes a new site with her agent, given a node to begin with."""
    home, result = joined(site, tmp_path / "home", "user", ALICE)
    identity = opened(Path(result.kit).read_bytes(), result.kit_passphrase)
    config_file = tmp_path / "again" / "mail.toml"
    with pytest.raises(ConfigurationError, match=r"node\.bootstrap"):
        recover_site(config_file, identity, PASSWORD, sites.endpoints())
    assert not config_file.parent.exists()
    recover_site(config_file, identity, PASSWORD, [*sites.endpoints(), f'node.bootstrap=["{site.config.node.listen}"]'])
    again = Site.open(config_file)
    assert again.account_addresses() == (ALICE,)
    assert again.own_identity() == home.own_identity()
    assert again.config.domain.roles == ("agent",)
