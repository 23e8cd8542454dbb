"""gateway.agents: accounts of one machine do not stand or fall together."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.administration import administer
from gateway.main import running
from gateway.site import Site
from tests.gateway.sites import ALICE, BOB, PASSWORD
from tests.gateway.test_status import asked


def damage_identity(account: Path) -> None:
    (account / "identity").write_bytes(b"nonsense")


def damage_mailbox(account: Path) -> None:
    (account / "mailbox").write_bytes(b"a file in the way")


def damage_outbox(account: Path) -> None:
    (account / "outbox").write_bytes(b"a file in the way")


@pytest.mark.parametrize("damage", [damage_identity, damage_mailbox, damage_outbox])
async def test_a_damaged_account_does_not_stop_the_others(site: Site, damage: Callable[[Path], None]) -> None:
    """It is named in `status`; the others are served, and it can still be removed."""
    for address in (ALICE, BOB):
        await asyncio.to_thread(administer, site, "user-add", address=address, password=PASSWORD)
    damage(site.account_directory(ALICE))
    with site.locked():
        async with running(site):
            report = await asked(site, "status")
            assert [account["address"] for account in report["accounts"]] == [BOB]  # type: ignore[attr-defined]
            told = [warning for warning in report["warnings"] if ALICE in warning]  # type: ignore[attr-defined]
            assert len(told) == 1
            assert "not running" in told[0]
            await asked(site, "user-remove", address=ALICE)
            assert not any(ALICE in warning for warning in (await asked(site, "status"))["warnings"])  # type: ignore[attr-defined]


async def test_a_machine_of_users_speaks_as_one_whose_identity_can_be_read(site: Site) -> None:
    """Where only agents run, the first user's damaged identity does not keep the others from the network."""
    for address in (ALICE, BOB):
        await asyncio.to_thread(administer, site, "user-add", address=address, password=PASSWORD)
    alone = Site.open(site.config_file, ('domain.roles=["agent"]',))
    assert alone.own_identity().name == ALICE
    damage_identity(site.account_directory(ALICE))
    assert alone.own_identity().name == BOB


async def test_sessions_of_a_removed_account_end_with_bye(site: Site) -> None:
    """An open IMAP session, in IDLE too, is told that the account is gone; nobody else's is."""
    for address in (ALICE, BOB):
        await asyncio.to_thread(administer, site, "user-add", address=address, password=PASSWORD)
    (endpoint,) = site.config.imap.listen
    with site.locked():
        async with running(site):
            sessions = []
            for address in (ALICE, ALICE, BOB):
                reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
                writer.write(f'a LOGIN {address} "{PASSWORD}"\r\nb SELECT INBOX\r\n'.encode())
                await reader.readuntil(b"b OK")
                await reader.readline()
                sessions.append((reader, writer))
            sessions[0][1].write(b"c IDLE\r\n")
            await sessions[0][0].readuntil(b"+ ")
            await sessions[0][0].readline()
            await asked(site, "user-remove", address=ALICE)
            for reader, writer in sessions[:2]:
                assert await reader.read() == b"* BYE this account has been removed or closed\r\n"
                writer.close()
            reader, writer = sessions[2]
            writer.write(b"d NOOP\r\n")
            assert (await reader.readline()).startswith(b"d OK")
            writer.close()
