"""The users whose mail this machine keeps."""

import asyncio
import stat
from collections.abc import AsyncIterator

import pytest

from gateway import accounts
from gateway.accounts import Accounts
from gateway.administration import administer
from gateway.errors import AccountClosed, ConfigurationError, OperatorError
from gateway.mailbox.store import MailStore
from gateway.site import Site
from p2pcore.crypto.passwords import ScramVerifier, hash_password
from p2pcore.crypto.recovery_kit import open_kit
from tests.gateway.sites import ALICE, PASSWORD


@pytest.fixture
def alice(site: Site) -> Site:
    """A site with one user, whose password is PASSWORD."""
    administer(site, "user-add", address=ALICE, password=PASSWORD)
    return site


@pytest.fixture
async def opened(alice: Site) -> AsyncIterator[Accounts]:
    opened = Accounts(alice)
    await opened.open(ALICE)
    yield opened
    await opened.close_all()


async def test_login(opened: Accounts) -> None:
    """Her address in any spelling or its local part, with her password, opens her store; nothing else does."""
    (account,) = opened.all
    for name in (ALICE, "alice", "Alice", "ALICE@EXAMPLE.ORG", "alice+lists", "alice@example.org."):
        assert await opened.authenticate(name, PASSWORD) is account.store
    for name, password in ((ALICE, "wrong"), (ALICE, ""), ("bob", PASSWORD), ("", PASSWORD), ("a b@c", PASSWORD)):
        assert await opened.authenticate(name, password) is None


async def test_one_name_for_every_spelling(opened: Accounts) -> None:
    """Failures count, and SCRAM's salt is, for the account that a name means, there or not; no name is itself."""
    for name in (ALICE, "alice", "Alice", "ALICE@EXAMPLE.ORG", "alice+lists", "alice@example.org."):
        assert opened.counted_as(name) == ALICE
    assert opened.counted_as("Nobody") == "nobody@example.org"
    assert opened.counted_as("a b@c") == "a b@c"
    assert opened.verifier("nobody").salt == opened.verifier("Nobody@example.org").salt
    assert opened.verifier("nobody").salt != opened.verifier("somebody").salt


async def test_new_password_at_once(alice: Site, opened: Accounts) -> None:
    """A changed password counts for the next login, and the store stays open."""
    (account,) = opened.all
    accounts.set_password(alice.account_directory(ALICE), "another password")
    await opened.reload_password(ALICE)
    assert await opened.authenticate(ALICE, PASSWORD) is None
    assert await opened.authenticate(ALICE, "another password") is account.store
    assert await account.store.counts() == (6, 0)
    await opened.reload_password("nobody@example.org")


async def test_closed_while_logging_in(opened: Accounts) -> None:
    """Whoever logs in while the account is closed does not get a closed store."""
    login = asyncio.create_task(opened.authenticate(ALICE, PASSWORD))
    await asyncio.sleep(0)  # the password is being checked in a thread
    await opened.close(ALICE)
    with pytest.raises(AccountClosed):
        await login
    await opened.close(ALICE)  # once more does nothing


async def test_an_account_that_is_closed_for_now(alice: Site, opened: Accounts) -> None:
    """Her password is right and said to be so, another is wrong; forgotten, both are; open again, she has her store."""
    verifier = opened.verifier(ALICE)
    await opened.close(ALICE)
    for name in (ALICE, "Alice"):
        with pytest.raises(AccountClosed):
            await opened.authenticate(name, PASSWORD)
    with pytest.raises(AccountClosed):
        await opened.authenticate_sender(ALICE, PASSWORD)
    assert await opened.authenticate(ALICE, "wrong") is None
    assert opened.verifier(ALICE) is verifier
    with pytest.raises(AccountClosed):
        opened.proven(ALICE, verifier)
    accounts.set_password(alice.account_directory(ALICE), "another password")
    await opened.reload_password(ALICE)
    assert await opened.authenticate(ALICE, PASSWORD) is None
    account = await opened.open(ALICE)
    assert await opened.authenticate(ALICE, "another password") is account.store
    await opened.close(ALICE)
    opened.forget(ALICE)
    assert await opened.authenticate(ALICE, "another password") is None


async def test_an_account_that_does_not_open_is_closed(alice: Site) -> None:
    """Its owner is not asked for another password."""
    (alice.account_directory(ALICE) / "mailbox.key").write_bytes(bytes(32))
    directory = alice.account_directory(ALICE) / "mailbox"
    await (await MailStore.open(directory, b"k" * 32)).close()
    opened = Accounts(alice)
    with pytest.raises(ConfigurationError):
        await opened.open(ALICE)
    with pytest.raises(AccountClosed):
        await opened.authenticate(ALICE, PASSWORD)


@pytest.mark.parametrize("name", ["identity", "password", "mailbox.key"])
async def test_missing_file_is_named(alice: Site, name: str) -> None:
    """An account without one of its files is refused by that file's name."""
    (alice.account_directory(ALICE) / name).unlink()
    with pytest.raises(ConfigurationError, match=f"{ALICE}/{name}"):
        await Accounts(alice).open(ALICE)


async def test_wrong_mailbox_key(alice: Site) -> None:
    """A mailbox whose key does not fit is named, and is as it was."""
    directory = alice.account_directory(ALICE)
    key = (directory / "mailbox.key").read_bytes()
    await (await MailStore.open(directory / "mailbox", key)).close()
    for wrong in (bytes(32), b"short"):
        (directory / "mailbox.key").write_bytes(wrong)
        with pytest.raises(ConfigurationError, match=f"mailbox: the mail of {ALICE}|mailbox.key: 5 octets"):
            await Accounts(alice).open(ALICE)
    (directory / "mailbox.key").write_bytes(key)
    opened = Accounts(alice)
    await opened.open(ALICE)
    await opened.close_all()


def test_everything_is_private(alice: Site) -> None:
    """Nothing of an account, nor the list of accounts, can be read by others."""
    for path in (alice.accounts, *alice.accounts.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_keys_are_made_once(site: Site) -> None:
    """An interrupted addition's keys are taken up again."""
    first = accounts.prepare_keys(site, ALICE)
    assert accounts.prepare_keys(site, ALICE) == first
    assert site.account_addresses() == ()


def test_short_password_changes_nothing(alice: Site) -> None:
    """A password that is too short leaves the old one."""
    directory = alice.account_directory(ALICE)
    before = (directory / "password").read_bytes()
    with pytest.raises(OperatorError, match="at least 8 characters"):
        accounts.set_password(directory, "1234567")
    assert (directory / "password").read_bytes() == before


def test_retired_account_keeps_its_mail(alice: Site) -> None:
    """Who was removed has no account any more; her keys and mail stay."""
    accounts.retire(alice.account_directory(ALICE))
    accounts.retire(alice.account_directory("nobody@example.org"))
    assert alice.account_addresses() == ()
    assert (alice.account_directory(ALICE) / "mailbox.key").exists()


def test_kit_opens_with_its_passphrase_only(alice: Site) -> None:
    """Each kit has a passphrase of its own, and holds her identity."""
    identity = alice.user_identity(ALICE)
    first, second = accounts.write_kit(alice, identity), accounts.write_kit(alice, identity)
    assert first.passphrase != second.passphrase
    assert open_kit(second.path.read_bytes(), second.passphrase) == identity


async def test_scram_verifier(alice: Site, opened: Accounts) -> None:
    """A verifier is kept with the password and changes with it; a name that is unknown gets one that fits nothing."""
    (account,) = opened.all
    verifier = opened.verifier("alice")
    assert opened.scram
    assert ScramVerifier.of(PASSWORD, verifier.salt) == verifier
    assert opened.proven("alice", verifier) is account.store
    nobody = opened.verifier("nobody")
    assert nobody.salt == opened.verifier("nobody").salt != verifier.salt
    assert opened.proven("nobody", nobody) is None
    accounts.set_password(alice.account_directory(ALICE), "another password")
    await opened.reload_password(ALICE)
    assert opened.proven("alice", verifier) is None


async def test_password_without_a_verifier(alice: Site) -> None:
    """An account whose password was set when no verifier was kept logs in as ever, and SCRAM is not offered."""
    path = alice.account_directory(ALICE) / "password"
    path.write_text(hash_password(PASSWORD))
    opened = Accounts(alice)
    account = await opened.open(ALICE)
    assert not opened.scram
    assert await opened.authenticate(ALICE, PASSWORD) is account.store
    assert opened.proven(ALICE, opened.verifier(ALICE)) is None
    await opened.close_all()
    path.write_text(hash_password(PASSWORD) + "\nnonsense\n")
    with pytest.raises(ConfigurationError, match="password"):
        await opened.open(ALICE)
