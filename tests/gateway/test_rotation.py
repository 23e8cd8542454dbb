"""A user's new keys, on the directory's machine and on her own; her old ones as long as they may be needed."""

import asyncio
from pathlib import Path

import pytest

from gateway import rotation
from gateway.accounts import Accounts
from gateway.administration import administer
from gateway.errors import OperatorError
from gateway.joining import finish_join, request_admission
from gateway.main import running
from gateway.site import CONFIG_NAME, Site
from p2pcore import params
from p2pcore.clock import system_clock
from p2pcore.crypto.certificates import parse_certificate
from p2pcore.crypto.key_files import KeyFiles
from p2pcore.crypto.recovery_kit import open_kit
from p2pcore.errors import CertificateRefused
from p2pcore.records import Identity
from tests.gateway import sites
from tests.gateway.sites import ALICE, BOB, PASSWORD
from tests.gateway.test_status import asked


def identity_at(site: Site, address: str = ALICE) -> Identity:
    return KeyFiles().read_identity(site.account_directory(address) / "identity")


def test_here(site: Site) -> None:
    """New keys with a certificate, old HPKE keys behind, a new kit; the old kit is gone."""
    administer(site, "user-add", address=ALICE, password=PASSWORD)
    before = identity_at(site)
    done = administer(site, "user-rotate", address=ALICE, compromised=False)
    after = identity_at(site)
    assert after.hpke_keys[1:] == before.hpke_keys
    assert after.signing_key != before.signing_key
    assert parse_certificate(after.certificate).not_before > parse_certificate(before.certificate).not_before
    assert open_kit(Path(done["kit"]).read_bytes(), done["passphrase"]) == after
    assert not (site.account_directory(ALICE) / "identity.next").exists()
    administer(site, "user-rotate", address=ALICE, compromised=True)
    assert identity_at(site).hpke_keys[1:] == after.hpke_keys
    with pytest.raises(OperatorError, match="no account on this machine"):
        administer(site, "user-rotate", address=BOB, compromised=False)


@pytest.mark.parametrize("step", ["admitted", "install"])
def test_killed_on_the_way(site: Site, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Whatever step the process dies after, the same command ends with keys that the domain lists."""
    administer(site, "user-add", address=ALICE, password=PASSWORD)
    whole = getattr(rotation, step)

    def die(*arguments: object, **more: object) -> None:
        whole(*arguments, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(rotation, step, die)
        with pytest.raises(KeyboardInterrupt):
            administer(site, "user-rotate", address=ALICE, compromised=False)
    administer(site, "user-rotate", address=ALICE, compromised=False)
    identity = identity_at(site)
    assert len(identity.hpke_keys) == (2 if step == "admitted" else 3)
    assert len(set(identity.hpke_keys)) == len(identity.hpke_keys)


def elsewhere(site: Site, directory: Path) -> Site:
    """Alice's own machine."""
    invitation = administer(site, "invite", role="user", name=ALICE)["text"]
    request = request_admission(directory, invitation, sites.endpoints())
    finish_join(directory, administer(site, "sign", request=request)["text"], PASSWORD)
    return Site.open(directory / CONFIG_NAME)


def test_on_her_own_machine(site: Site, tmp_path: Path) -> None:
    """A request signed by the key in use goes to `ca sign`; its answer installs the keys that wait."""
    home = elsewhere(site, tmp_path / "home")
    before = identity_at(home)
    with pytest.raises(OperatorError, match="no new keys wait"):
        administer(home, "user-rotated", address=ALICE, answer=_answer(site, home, tmp_path))
    request = administer(home, "user-rotate", address=ALICE, compromised=False)["request"]
    assert administer(home, "user-rotate", address=ALICE, compromised=False)["request"] == request
    answer = administer(site, "sign", request=request)
    assert (answer["name"], answer["role"]) == (ALICE, "user")
    assert identity_at(home) == before
    done = administer(home, "user-rotated", address=ALICE, answer=answer["text"])
    assert identity_at(home).hpke_keys[1:] == before.hpke_keys
    assert open_kit(Path(done["kit"]).read_bytes(), done["passphrase"]) == identity_at(home)
    with pytest.raises(OperatorError, match="where the directory is"):
        administer(home, "user-rotate", address=ALICE, compromised=True)


def _answer(site: Site, home: Site, tmp_path: Path) -> str:
    """An answer to somebody else's request."""
    invitation = administer(site, "invite", role="user", name=BOB)["text"]
    request = request_admission(tmp_path / "bob", invitation, sites.endpoints())
    return str(administer(site, "sign", request=request)["text"])


def test_an_answer_for_others(site: Site, tmp_path: Path) -> None:
    """What was certified for other keys than those that wait is not installed."""
    home = elsewhere(site, tmp_path / "home")
    administer(home, "user-rotate", address=ALICE, compromised=False)
    before = identity_at(home)
    with pytest.raises(CertificateRefused):
        administer(home, "user-rotated", address=ALICE, answer=_answer(site, home, tmp_path))
    assert identity_at(home) == before


async def test_while_it_runs(site: Site) -> None:
    """The agent begins again under the new keys, and the account stays open."""
    await asyncio.to_thread(administer, site, "user-add", address=ALICE, password=PASSWORD)
    with site.locked():
        async with running(site):
            await asked(site, "user-rotate", address=ALICE, compromised="")
            report = await asked(site, "status")
            assert report["accounts"] == [{"address": ALICE, "mailboxes": 6, "messages": 0}]
            assert not any(ALICE in warning for warning in report["warnings"])  # type: ignore[attr-defined]


async def test_old_keys_go_when_nothing_sealed_to_them_can_live(site: Site) -> None:
    """Kept for the longest life of an entry and of a stale certificate, and then forgotten at the next start."""
    await asyncio.to_thread(administer, site, "user-add", address=ALICE, password=PASSWORD)
    before = identity_at(site)
    await asyncio.to_thread(administer, site, "user-rotate", address=ALICE, compromised=False)
    now = system_clock()
    assert rotation.KEPT > params.MAX_LIFETIME
    for later, kept in ((rotation.KEPT - params.DAY, True), (rotation.KEPT + params.DAY, False)):
        opened = Accounts(site, lambda later=later: now + later)  # type: ignore[misc]
        account = await opened.open(ALICE)
        assert (before.hpke_keys[0] in account.identity.hpke_keys) == kept
        await opened.close_all()
    assert len(identity_at(site).hpke_keys) == 1


def test_after_a_theft(site: Site, tmp_path: Path) -> None:
    """Revoked, invited anew with new keys; the kit then adds its HPKE key to her account, and nothing else."""
    added = administer(site, "user-add", address=ALICE, password=PASSWORD)
    kit = Path(added["kit"]).read_bytes()
    stolen = identity_at(site)
    administer(site, "revoke", name=ALICE, reason="compromised")
    site.accounts.rename(tmp_path / "stolen")
    home = elsewhere(site, tmp_path / "home")
    before = identity_at(home)
    password = (home.account_directory(ALICE) / "password").read_bytes()
    given = {"kit": kit.hex(), "passphrase": added["passphrase"], "password": "not used at all"}
    assert administer(home, "recover", **given) == {"address": ALICE, "new": False}
    after = identity_at(home)
    assert after.hpke_keys == (*before.hpke_keys, *stolen.hpke_keys)
    assert (after.signing_key, after.certificate) == (before.signing_key, before.certificate)
    assert after.signing_key != stolen.signing_key
    with pytest.raises(OperatorError, match="nothing was changed"):
        administer(home, "recover", **given)
    assert (home.account_directory(ALICE) / "password").read_bytes() == password
