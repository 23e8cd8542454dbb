"""What `p2pmail status` shows, from a machine that really runs."""

import asyncio

import pytest

from gateway import control
from gateway.administration import administer
from gateway.main import running
from gateway.site import Site
from gateway.status import too_few_copies
from p2pcore.client.availability import Availability, Estimate
from p2pcore.directory.text_forms import from_text
from p2pcore.records import Invitation
from tests.gateway.outbox.world import OUTSIDE, submission
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
            assert report["availability"] == {"up": None, "k": None, "nodes": 0, "samples": 0}
            node = report["node"]
            assert isinstance(node, dict)
            assert {"objects", "entries", "octets"} < set(node)
            assert report["repair"].keys() >= {"requests", "octets_sent", "octets_received", "last"}  # type: ignore[attr-defined]
            assert report["accounts"] == [{"address": ALICE, "mailboxes": 6, "messages": 0}]
            assert any("k = 1" in warning for warning in report["warnings"])  # type: ignore[attr-defined]


async def test_a_machine_that_the_nodes_refuse(site: Site) -> None:
    """That is said in place of how many nodes are known: none answers one that is revoked."""
    with site.locked():
        async with running(site) as status:
            assert status._network.names is not None
            status._network.names.refused = True
            warnings = (await asked(site, "status"))["warnings"]
    assert isinstance(warnings, list)
    assert warnings[0].startswith("the nodes refuse this machine")


async def test_mail_that_reaches_no_gateway(site: Site) -> None:
    """A user's mail to other domains waits for a gateway, and there is none."""
    silent = Site.open(site.config_file, ("relay.listen=[]",))
    await asyncio.to_thread(administer, silent, "user-add", address=ALICE, password=PASSWORD)
    with silent.locked():
        async with running(silent) as status:
            outbox = status._outboxes.of(ALICE)
            await outbox.accept(submission(OUTSIDE))
            await outbox.settled()
            report = await asked(silent, "status")
    said = [warning for warning in report["warnings"] if warning.startswith(f"{ALICE}: no gateway can be reached")]  # type: ignore[attr-defined]
    assert len(said) == 1


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


def test_too_few_copies() -> None:
    """Nodes that are down more than k allows for: what was found, and the command that is enough."""
    setting = "`p2pmail domain set k=5 w=3` on the directory's machine"
    found = "a node is up with probability 0.9: k = 5 is called for, k = 3 is set"
    assert too_few_copies(3, 0.9, 5, known=8) == f"{found}: {setting}"
    assert too_few_copies(3, 0.9, 5, known=3) == (
        f"{found}; let 2 more nodes join (`p2pmail invite node NAME`), then {setting}"
    )
    assert "let one more node join" in too_few_copies(3, 0.9, 5, known=4)
    assert too_few_copies(3, 0.3, 28, known=100) == (
        "a node is up with probability 0.3: k = 28 is called for, k = 3 is set; 20 is the largest: "
        "`p2pmail plan --p 0.3` says what it reaches"
    )


async def test_called_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once p is estimated, status shows it and warns where the domain's k is below what it calls for."""
    known = Estimate(up=0.9, k=5, nodes=6, samples=30)
    monkeypatch.setattr(Availability, "estimate", lambda _: known)
    with site.locked():
        async with running(site):
            report = await asked(site, "status")
    assert report["availability"] == {"up": 0.9, "k": 5, "nodes": 6, "samples": 30}
    assert any("k = 5 is called for, k = 1 is set" in warning for warning in report["warnings"])  # type: ignore[attr-defined]


async def test_a_running_directory_is_heard(site: Site) -> None:
    """Its heads come with the replies of the machine's own node, so `status` does not miss it."""
    with site.locked():
        async with running(site) as status:
            names = status._network.names
            assert names is not None
            async with asyncio.timeout(30):
                while not names.last_head:  # noqa: ASYNC110 - heads are in several tasks
                    await asyncio.sleep(0.02)
            report = await asked(site, "status")
            assert not any("not been heard" in warning for warning in report["warnings"])  # type: ignore[attr-defined]
