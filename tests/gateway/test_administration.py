"""What an administrator may ask for, with nothing running: the same code answers over the socket."""

import asyncio
from pathlib import Path

import pytest

from gateway import accounts
from gateway.account_commands import Hooks
from gateway.administration import Administration, administer
from gateway.errors import ConfigurationError, OperatorError
from gateway.founding import open_directory
from gateway.site import Site, SiteBusy
from p2pcore import params
from p2pcore.clock import system_clock
from p2pcore.crypto.certificates import parse_certificate
from p2pcore.crypto.key_files import KeyFiles
from p2pcore.crypto.recovery_kit import open_kit
from p2pcore.directory.errors import AddressTaken, NotListed, ReplicationRefused
from p2pcore.errors import Malformed, NoSuchAddress, Tampered
from tests.gateway import sites
from tests.gateway.sites import ALICE, BOB, PASSWORD


def add(site: Site, address: str = ALICE) -> dict[str, str]:
    added: dict[str, str] = administer(site, "user-add", address=address, password=PASSWORD)
    return added


def listed(site: Site) -> list[str]:
    return [user["address"] for user in administer(site, "user-list")]


def test_user_add(site: Site) -> None:
    """A user is listed, has an account, and a kit that opens with the passphrase told."""
    added = add(site, "Alice@EXAMPLE.org")
    assert added["address"] == ALICE
    assert site.account_addresses() == (ALICE,)
    kit = open_kit(Path(added["kit"]).read_bytes(), added["passphrase"])
    assert kit == KeyFiles().read_identity(site.account_directory(ALICE) / "identity")
    assert administer(site, "user-list") == [{"address": ALICE, "aliases": [], "here": True}]
    with pytest.raises(OperatorError, match="has an account here already"):
        add(site)


@pytest.mark.parametrize(
    ("address", "password", "said"),
    [(ALICE, "short", "too short"), ("alice@example.net", PASSWORD, "is not in example.org")],
)
def test_user_add_refused(site: Site, address: str, password: str, said: str) -> None:
    """What is refused leaves neither a listed user nor keys."""
    with pytest.raises(OperatorError, match=said):
        administer(site, "user-add", address=address, password=password)
    with pytest.raises(Malformed):
        administer(site, "user-add", address="no address", password=PASSWORD)
    assert listed(site) == []
    assert not site.accounts.exists()


def test_user_add_is_taken_up_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the domain's list and the account: the same command completes it with the same keys."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(accounts, "complete", die)
        with pytest.raises(KeyboardInterrupt):
            add(site)
    assert site.account_addresses() == ()
    keys = KeyFiles().read_identity(site.account_directory(ALICE) / "identity")
    add(site)
    assert KeyFiles().read_identity(site.account_directory(ALICE) / "identity").signing_key == keys.signing_key
    assert listed(site) == [ALICE]


def test_user_add_without_agent(site: Site) -> None:
    """Where no agent runs a user is invited instead."""
    without = Site.open(site.config_file, ('domain.roles=["node", "directory"]',))
    with pytest.raises(OperatorError, match="p2pmail invite"):
        add(without)


def test_user_remove(site: Site) -> None:
    """A removed user is listed no more and has no account; her mail stays, and nobody is removed twice."""
    add(site)
    administer(site, "user-remove", address=ALICE)
    assert listed(site) == []
    assert site.account_addresses() == ()
    assert (site.account_directory(ALICE) / "mailbox.key").exists()
    with pytest.raises(NoSuchAddress):
        administer(site, "user-remove", address=ALICE)
    add(site)
    assert listed(site) == [ALICE]


def test_user_remove_is_brought_to_its_end(site: Site) -> None:
    """Killed between the domain's list and the account: the same command ends it."""
    add(site)
    book = open_directory(site)
    book.remove_user(ALICE)
    book.close()
    assert site.account_addresses() == (ALICE,)
    administer(site, "user-remove", address=ALICE)
    assert site.account_addresses() == ()


def test_password_and_kit(site: Site) -> None:
    """Both can be had again for an account here, and for no other."""
    first = add(site)
    administer(site, "user-password", address=ALICE, password="another password")
    again = administer(site, "user-kit", address="alice@example.org")
    assert again["kit"] == first["kit"]
    assert open_kit(Path(again["kit"]).read_bytes(), again["passphrase"]).name == ALICE
    for command in ("user-password", "user-kit"):
        with pytest.raises(OperatorError, match="has no account on this machine"):
            administer(site, command, address=BOB, password=PASSWORD)
    with pytest.raises(OperatorError, match="too short"):
        administer(site, "user-password", address=ALICE, password="x")


def test_recover(site: Site, tmp_path: Path) -> None:
    """A kit makes the account again where it is missing; a wrong one, or one too many, changes nothing."""
    added = add(site)
    kit = Path(added["kit"]).read_bytes()
    given = {"kit": kit.hex(), "passphrase": added["passphrase"], "password": "another password"}
    with pytest.raises(OperatorError, match="has an account here already"):
        administer(site, "recover", **given)
    identity = (site.account_directory(ALICE) / "identity").read_bytes()
    site.accounts.rename(tmp_path / "lost")
    with pytest.raises(Tampered, match="wrong passphrase"):
        administer(site, "recover", **{**given, "passphrase": "wrong"})
    with pytest.raises(OperatorError, match="too short"):
        administer(site, "recover", **{**given, "password": "x"})
    with pytest.raises(Malformed, match="not a recovery kit"):
        administer(site, "recover", **{**given, "kit": b"nonsense".hex()})
    assert site.account_addresses() == ()
    assert administer(site, "recover", **given) == {"address": ALICE, "new": True}
    assert (site.account_directory(ALICE) / "identity").read_bytes() == identity


def test_aliases_and_the_like(site: Site) -> None:
    """What the directory decides is on disk, and what it refuses is said."""
    add(site)
    add(site, BOB)
    administer(site, "alias-set", alias="team@example.org", targets=[ALICE, BOB])
    administer(site, "catch-all", targets=[BOB])
    administer(site, "postmaster", address=BOB)
    assert [user["aliases"] for user in administer(site, "user-list")] == [["team@example.org"]] * 2
    book = open_directory(site)
    assert (book.catch_all(), book.postmaster()) == ((BOB,), BOB)
    book.close()
    with pytest.raises(AddressTaken):
        administer(site, "alias-set", alias=ALICE, targets=[BOB])
    administer(site, "alias-remove", alias="team@example.org")
    assert [user["aliases"] for user in administer(site, "user-list")] == [[], []]
    with pytest.raises(ReplicationRefused):
        administer(site, "domain-set", k=3, w=2)
    administer(site, "domain-set", k=1, w=1)
    administer(site, "revoke", name=ALICE, reason="compromised")


def test_machines(site: Site) -> None:
    """Each is listed with its endpoint and the end of its certificate; one that has moved is listed elsewhere."""
    listed = {each["role"]: each for each in administer(site, "machine-list")}
    assert set(listed) == {"directory", "node", "gateway"}
    assert listed["node"]["endpoint"] == str(site.config.node.listen)
    for role, lifetime in (("directory", 90), ("node", 400), ("gateway", 400)):
        identity = site.identity(role)  # type: ignore[arg-type]
        assert listed[role]["expires"] == parse_certificate(identity.certificate).not_after
        assert abs(listed[role]["expires"] - system_clock() - lifetime * params.DAY) < params.HOUR
    moved = administer(site, "machine-set", name=listed["node"]["node_id"], endpoint="[::1]:4467", role=None)
    assert moved == {"role": "node", "name": listed["node"]["name"], "endpoint": "[::1]:4467"}
    for name, endpoint, failure in (("nobody", "h:1", NotListed), (listed["node"]["name"], "h:0", Malformed)):
        with pytest.raises(failure):
            administer(site, "machine-set", name=name, endpoint=endpoint, role=None)


def test_not_the_directory(site: Site) -> None:
    """Where the directory is not, its commands say where they belong; what is local works."""
    site.identity_file("directory").unlink()
    for command, arguments in (("user-add", {"address": ALICE, "password": PASSWORD}), ("sign", {"request": "x"})):
        with pytest.raises((OperatorError, Malformed)):
            administer(site, command, **arguments)
    with pytest.raises(OperatorError, match="not the domain's directory; do this where `p2pmail init` ran"):
        administer(site, "alias-remove", alias=ALICE)
    assert administer(site, "user-list") == []


def test_invite(site: Site) -> None:
    """An invitation is text to pass on; only roles that machines and users have are invited."""
    assert administer(site, "invite", role="node", name="n1")["text"].startswith("-----BEGIN P2PMAIL INVITATION")
    for role in ("directory", "king"):
        with pytest.raises(OperatorError, match="one of node, gateway, user"):
            administer(site, "invite", role=role, name="n1")


def test_busy_site(site: Site) -> None:
    """While another process starts, nothing is done beside it, with exit code 2."""
    with site.locked(), pytest.raises(SiteBusy, match="try again"):
        administer(site, "user-list")


async def test_disk_failures_name_their_file(site: Site) -> None:
    """What the disk refuses is an error that names the file, not a defect."""
    site.accounts.write_bytes(b"a file in the way")
    directory = await asyncio.to_thread(open_directory, site)
    try:
        with pytest.raises(OperatorError, match="accounts"):
            await Administration(site, directory).run("user-add", {"address": ALICE, "password": PASSWORD})
    finally:
        directory.close()


async def test_running_parts_are_told(site: Site) -> None:
    """Accounts that come, go and change passwords are told to whoever runs them, after they are durable."""
    told: list[tuple[str, str, bool]] = []

    def teller(what: str):  # type: ignore[no-untyped-def]
        async def tell(address: str) -> None:
            told.append((what, address, address in site.account_addresses()))

        return tell

    directory = await asyncio.to_thread(open_directory, site)
    administration = Administration(
        site,
        directory,
        hooks=Hooks(teller("added"), teller("removed"), teller("password")),
    )
    try:
        await administration.run("user-add", {"address": ALICE, "password": PASSWORD})
        await administration.run("user-password", {"address": ALICE, "password": PASSWORD})
        await administration.run("user-remove", {"address": ALICE})
    finally:
        directory.close()
    assert told == [("added", ALICE, True), ("password", ALICE, True), ("removed", ALICE, True)]


def test_configuration_of_another_domain(site: Site, tmp_path: Path) -> None:
    """A directory's book is never used for another domain than its own."""
    other = Site.open(site.config_file, ("domain.name=example.net",))
    with pytest.raises(ConfigurationError):
        administer(other, "user-list")
    assert sites.DOMAIN == "example.org"
