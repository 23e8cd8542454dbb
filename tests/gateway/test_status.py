"""What `p2pmail status` shows, from a machine that really runs."""

import asyncio

from gateway import control
from gateway.administration import administer
from gateway.main import running
from gateway.site import Site
from p2pcore.directory.text_forms import from_text
from p2pcore.records import Invitation
from tests.gateway.sites import ALICE, BOB, PASSWORD


async def asked(site: Site, command: str, **arguments: str) -> dict[str, object]:
    answer: dict[str, object] = await asyncio.to_thread(control.ask, site.control_socket, command, arguments)
    return answer


async def test_one_machine(site: Site) -> None:
    """Roles, contacts, what the node holds, accounts with their messages; and that k = 1 has no redundancy."""
    await asyncio.to_thread(administer, site, "user-add", address=ALICE, password=PASSWORD)
    with site.locked():
        async with running(site):
            report = await asked(site, "status")
            assert report["domain"] == "example.org"
            assert report["roles"] == ["node", "gateway", "agent", "directory"]
            assert report["contacts"] == 1
            assert report["replication"] == {"k": 1, "w": 1}
            node = report["node"]
            assert isinstance(node, dict)
            assert {"objects", "entries", "octets"} < set(node)
            assert report["accounts"] == [{"address": ALICE, "mailboxes": 6, "messages": 0}]
            assert any("k = 1" in warning for warning in report["warnings"])  # type: ignore[attr-defined]


async def test_accounts_come_and_go(site: Site) -> None:
    """A user added while it runs is served at once; a removed one is no longer counted, and nothing is left open."""
    with site.locked():
        async with running(site):
            await asked(site, "user-add", address=ALICE, password=PASSWORD)
            added = await asyncio.gather(
                asked(site, "status"),
                asked(site, "user-add", address=BOB, password=PASSWORD),
                asked(site, "status"),
                asked(site, "user-remove", address=ALICE),
                asked(site, "status"),
            )
            assert all("accounts" in each for each in added[::2])
            accounts = (await asked(site, "status"))["accounts"]
            assert accounts == [{"address": BOB, "mailboxes": 6, "messages": 0}]
    assert not site.control_socket.exists()


async def test_invitation_names_what_others_reach(site: Site) -> None:
    """A running node invites to its advertised endpoint, not to the one it happens to listen on."""
    public = Site.open(site.config_file, ('node.advertise="node.example.org:4466"',))
    with public.locked():
        async with running(public):
            text = (await asked(site, "invite", role="node", name="n2"))["text"]
    (contact,) = from_text(Invitation, str(text)).contacts
    assert (contact.host, contact.port) == ("node.example.org", 4466)
