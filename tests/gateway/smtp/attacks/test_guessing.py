"""Who guesses addresses or passwords learns little, slowly, and nothing by the side: no code, no text, no timing."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from gateway.smtp import params
from tests.gateway.smtp.attacks.roles import MX, RELAY, ROLES, SUBMISSION, Role
from tests.gateway.smtp.attacks.wire import STRANGER, ShownCertificate, Wire, on_virtual_time
from tests.gateway.smtp.submission_world import People
from tests.support.identities import ManualClock

UNKNOWN = b"550 5.1.1 no such address\r\n"
SLOWER = b"450 4.7.1 too many unknown recipients from your address, later again\r\n"
HOME = ("127.0.0.1", 40_000)


def tell(role: Role, people: People, directory: Path, story: Any, **settings: Any) -> Any:
    return on_virtual_time(lambda: role.make(people, directory, **settings), story)


def a_rcpt(name: object) -> bytes:
    return f"RCPT TO:<{name}@example.org>\r\n".encode()


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_vrfy_and_expn_know_nobody(role: Role, people: People, tmp_path: Path) -> None:
    """Both answer alike whoever is asked for, before and after the greeting and a login (RFC 5321 §7.3)."""

    async def story(world: Any) -> None:
        wire = role.wire(world)
        await wire.send(b"")
        for opening in (b"NOOP\r\n", role.greeting):
            await wire.send(opening)
            said = set()
            for name in (b"alice", b"nobody", b"<alice@example.org>", b'"x"', b"both", b"../x", b"postmaster"):
                said.add(await wire.send(b"VRFY " + name + b"\r\n") + await wire.send(b"EXPN " + name + b"\r\n"))
            assert said == {b"252 2.5.0 send some mail, it will be seen then\r\n502 5.5.1 command not implemented\r\n"}
        wire.vanish()

    tell(role, people, tmp_path, story)


def test_a_session_of_guesses_ends(people: People, tmp_path: Path) -> None:
    """After 20 wrong addresses the session is over, in one transaction or many."""

    async def story(world: Any) -> None:
        for between in (b"", b"RSET\r\nMAIL FROM:<>\r\n"):
            wire = MX.wire(world)
            await wire.send(MX.greeting, b"MAIL FROM:<>\r\n")
            said = b""
            for number in range(40):
                said += await wire.send(a_rcpt(number) + between)
            assert said.count(UNKNOWN) == params.ERRORS + 1
            assert said.endswith(b"421 4.7.0 too many errors\r\n")
            assert wire.closed

    tell(MX, people, tmp_path, story)


def test_guesses_over_many_sessions_are_counted_together(people: People, tmp_path: Path) -> None:
    """Beyond the number for an hour a client hears 450 for whatever it asks, right or wrong; other clients hear 250.

    As time passes it may go on, as fast as the number allows.
    """
    clock = ManualClock()

    async def ask(world: Any, name: object, peer: tuple[str, int] = STRANGER) -> bytes:
        wire = Wire(world.server, peer)
        said = await wire.send(MX.greeting, b"MAIL FROM:<>\r\n", a_rcpt(name), b"QUIT\r\n")
        assert wire.closed
        return said.splitlines(keepends=True)[-2]

    async def story(world: Any) -> None:
        for number in range(30):
            assert await ask(world, f"guess{number}") == UNKNOWN
        assert await ask(world, "guess31") == SLOWER
        assert await ask(world, "alice") == SLOWER
        assert (await ask(world, "alice", ("192.0.2.67", 1))).startswith(b"250 2.1.5")
        assert (await ask(world, "alice", HOME)).startswith(b"250 2.1.5")
        clock.advance(params.HOUR // 30)
        assert (await ask(world, "alice")).startswith(b"250 2.1.5")
        assert await ask(world, "guess32") == UNKNOWN
        assert await ask(world, "alice") == SLOWER
        clock.advance(params.HOUR)
        assert [await ask(world, "guess") for _ in range(31)] == [UNKNOWN] * 30 + [SLOWER]

    tell(MX, people, tmp_path, story, limits={"unknown_recipients": 30}, clock=clock)


def test_right_addresses_cost_nothing(people: People, tmp_path: Path) -> None:
    """A busy MTA that knows its recipients is never slowed down, nor one whose recipients cannot be looked up."""

    async def story(world: Any) -> None:
        wire = MX.wire(world)
        await wire.send(MX.greeting, b"MAIL FROM:<>\r\n")
        for _ in range(50):
            assert (await wire.send(a_rcpt("alice"))).startswith(b"250")
            assert (await wire.send(a_rcpt("unknown"))).startswith(b"451 4.4.3")
        wire.vanish()

    tell(MX, people, tmp_path, story, limits={"unknown_recipients": 2})


def test_a_trusted_relay_is_not_slowed_down(people: People, tmp_path: Path) -> None:
    """The MX in front of us asks for everybody's guesses."""

    async def story(world: Any) -> None:
        wire = MX.wire(world)
        await wire.send(MX.greeting, b"MAIL FROM:<>\r\n")
        assert [await wire.send(a_rcpt(number)) for number in range(5)] == [UNKNOWN] * 5
        wire.vanish()

    tell(MX, people, tmp_path, story, limits={"unknown_recipients": 1}, trusted_relays=("192.0.2.0/24",))


def plain(user: bytes, password: bytes, identity: bytes = b"") -> bytes:
    return b"AUTH PLAIN " + base64.b64encode(b"\0".join((identity, user, password))) + b"\r\n"


def test_every_wrong_login_sounds_the_same(people: People, tmp_path: Path) -> None:
    """An unknown user, a wrong password, octets that are no text, another's identity: one reply (RFC 4954 §6)."""

    async def story(world: Any) -> None:
        said = set()
        for user, password, identity in (
            (b"alice", b"wrong", b""),
            (b"nobody", b"secret", b""),
            (b"alice", b"", b""),
            (b"", b"", b""),
            (b"\xff\xfe", b"secret", b""),
            (b"alice", b"secret\xff", b""),
            (b"alice\r\n", b"secret", b""),
            (b"alice", b"secret\r\n", b""),
            (b"alice", b"secret", b"bob@example.org"),
            (b"ALICE ", b"secret", b""),
        ):
            wire = SUBMISSION.wire(world)
            await wire.send(b"EHLO x\r\n")
            said.add(await wire.send(plain(user, password, identity)))
            assert (await wire.send(b"MAIL FROM:<alice@example.org>\r\n")).startswith(b"530 5.7.0 ")
            wire.vanish()
        assert said == {b"535 5.7.8 wrong user name or password\r\n"}

    tell(SUBMISSION, people, tmp_path, story)


def test_each_wrong_login_of_a_session_waits_longer(people: People, tmp_path: Path) -> None:
    """One second, two, four, eight, sixteen; then 421. Pipelined guesses wait like any other.

    The fourth and the fifth wait one second and two before they are looked at, too, as over connections of their own.
    """

    async def story(world: Any) -> None:
        wire = SUBMISSION.wire(world)
        await wire.send(b"EHLO x\r\n")
        began = asyncio.get_running_loop().time()
        wire.feed(plain(b"alice", b"wrong") * 20)
        await wire.end.wait()
        assert asyncio.get_running_loop().time() - began == pytest.approx(1 + 2 + 4 + 8 + 16 + 1 + 2, abs=0.2)
        assert bytes(wire.received).count(b"535 5.7.8 ") == params.LOGIN_FAILURES
        assert bytes(wire.received).endswith(b"421 4.7.0 too many failed logins\r\n")

    tell(SUBMISSION, people, tmp_path, story, limits={"failed_login_delay": params.FAILED_LOGIN_DELAY})


SECURED = {"cipher": ("TLS_AES_256_GCM_SHA384", "TLSv1.3", 256)}
SLOWED = {"limits": {"failed_login_delay": params.FAILED_LOGIN_DELAY}}
RIGHT, WRONG = b"235", b"535"


def by_login(user: bytes, password: bytes) -> bytes:
    return b"\r\n".join((b"AUTH LOGIN", base64.b64encode(user), base64.b64encode(password), b""))


async def answered(world: Any, peer: str, attempt: bytes) -> tuple[bytes, float]:
    """Make an attempt over a connection of its own; return the code that it is answered, and the seconds it took."""
    wire = Wire(world.server, (peer, 1), **SECURED)
    await wire.send(b"EHLO x\r\n")
    began = asyncio.get_running_loop().time()
    wire.feed(attempt + b"QUIT\r\n")
    await wire.end.wait()
    return bytes(wire.received).splitlines()[-2][:3], round(asyncio.get_running_loop().time() - began, 3)


@pytest.mark.parametrize(
    "spellings",
    [(b"alice", b"ALICE", b"alice@example.org", b"Alice+x@EXAMPLE.org."), (b"nobody", b"nobody+1")],
    ids=["an account", "nobody"],
)
def test_an_account_is_guessed_at_slowly_from_whatever_address(
    spellings: tuple[bytes, ...], people: People, tmp_path: Path
) -> None:
    """Each from an address of its own, by either mechanism, in any spelling, whether or not there is such an account:
    beyond a few guesses each waits twice as long as the one before, up to 15 s, and then the second of any first one.
    """

    async def story(world: Any) -> None:
        guesses = [
            await answered(world, f"192.0.2.{number}", mechanism(spellings[number % len(spellings)], b"wrong"))
            for number, mechanism in enumerate([plain, by_login] * 5)
        ]
        assert guesses == [(WRONG, 1.0 + waited) for waited in (0, 0, 0, 1, 2, 4, 8, 15, 15, 15)]

    tell(SUBMISSION, people, tmp_path, story, **SLOWED)


def test_the_owner_of_a_guessed_account_gets_in(tmp_path: Path) -> None:
    """However many have guessed, she waits 15 s at most with the right password, which ends the waiting.

    Other accounts are waited for by nobody, and a quarter of an hour after the last guess she waits no more either.
    """

    async def story(world: Any) -> None:
        for _ in range(2):
            for number in range(50):
                await answered(world, f"192.0.2.{number}", plain(b"alice", b"wrong"))
            assert await answered(world, "192.0.2.99", plain(b"bob", b"wrong")) == (WRONG, 1.0)
            assert await answered(world, "192.0.2.98", plain(b"alice@example.org", b"secret")) == (RIGHT, 15.0)
            assert await answered(world, "192.0.2.97", by_login(b"alice", b"secret")) == (RIGHT, 0.0)
            for number in range(50):
                await answered(world, f"192.0.2.{number}", plain(b"alice", b"wrong"))
            world.clock.advance(15 * params.MINUTE)
            assert await answered(world, "192.0.2.96", plain(b"alice", b"secret")) == (RIGHT, 0.0)

    tell(SUBMISSION, People(), tmp_path, story, **SLOWED)  # whose clock is moved here, and shown to no other test


def test_guesses_at_once_wait_side_by_side(people: People, tmp_path: Path) -> None:
    """None of them queues behind another: the owner, who comes in the middle, waits no longer than by herself."""

    async def story(world: Any) -> None:
        for number in range(20):
            await answered(world, f"192.0.2.{number}", plain(b"alice", b"wrong"))
        guesses = [answered(world, f"192.0.2.{number}", plain(b"alice", b"wrong")) for number in range(100, 200)]
        owner = answered(world, "192.0.2.99", plain(b"alice", b"secret"))
        heard = await asyncio.gather(*guesses[:50], owner, *guesses[50:])
        assert heard[50] == (RIGHT, 15.0)
        assert {*heard[:50], *heard[51:]} == {(WRONG, 16.0)}

    tell(SUBMISSION, people, tmp_path, story, **SLOWED)


def test_an_address_waits_for_whatever_account(people: People, tmp_path: Path) -> None:
    """One client that tries a name after the other waits as if it had tried one; who is elsewhere does not."""

    async def story(world: Any) -> None:
        for number, waited in enumerate((0, 0, 0, 1, 2, 4)):
            assert await answered(world, "192.0.2.1", plain(b"user%d" % number, b"wrong")) == (WRONG, 1.0 + waited)
        assert await answered(world, "192.0.2.2", plain(b"alice", b"secret")) == (RIGHT, 0.0)

    tell(SUBMISSION, people, tmp_path, story, **SLOWED)


@pytest.mark.parametrize(
    ("said", "replies"),
    [
        (b"AUTH PLAIN\r\nMAIL FROM:<alice@example.org>\r\n", [b"334", b"501"]),  # the response, not a command
        (b"AUTH PLAIN\r\n*\r\nMAIL FROM:<alice@example.org>\r\n", [b"334", b"501", b"530"]),
        (b"AUTH PLAIN\r\n\r\n", [b"334", b"501"]),
        (b"AUTH PLAIN\r\nAGFsaWNlAHNlY3JldA==\n", [b"334", b"501"]),  # a bare LF ends no response
        (b"AUTH PLAIN\r\nAGFsaWNlAHNlY3JldA==\r\r\n", [b"334", b"501"]),
        (b"AUTH PLAIN\r\nAGFsaWNlAHNl\0Y3JldA==\r\n", [b"334", b"501"]),
        (b"AUTH PLAIN AGFsaWNl AHNlY3JldA==\r\n", [b"501"]),
        (b"AUTH PLAIN AGFsaWNlAHNlY3JldA==AGFsaWNl\r\n", [b"501"]),
        (b"AUTH PLAIN AGFsaWNlAHNlY3JldA\r\n", [b"501"]),
        (b"AUTH PLAIN AGFsaWNlAHNlY3JldA== X=1\r\n", [b"501"]),
        (b"AUTH PLAIN\tAGFsaWNlAHNlY3JldA==\r\n", [b"504"]),
        (b"AUTH\r\n", [b"504"]),
        (b"AUTH PLAIN,LOGIN =\r\n", [b"504"]),
        (b"AUTH PLA\xc4\xb0N =\r\n", [b"504"]),  # a dotted capital I is none
        (b"AUTH LOGIN\r\n*\r\n", [b"334", b"501"]),
        (b"AUTH LOGIN\r\nYWxpY2U=\r\n*\r\n", [b"334", b"334", b"501"]),
        (b"AUTH LOGIN =\r\n=\r\n", [b"334", b"535"]),
        (b"AUTH LOGIN YWxpY2U=\r\nMAIL FROM:<alice@example.org>\r\n", [b"334", b"501"]),
        (b"AUTH LOGIN YWxpY2U=\r\nc2VjcmV0DQpNQUlM\r\n", [b"334", b"535"]),
        (b"AUTH PLAIN\r\n" + b"A" * 20_000 + b"\r\n", [b"334", b"500"]),
        (b"MAIL FROM:<alice@example.org> AUTH=alice@example.org\r\n", [b"530"]),
        (b"MAIL FROM:<> AUTH=<>\r\n", [b"530"]),
    ],
)
def test_no_login_by_the_side(said: bytes, replies: list[bytes], people: People, tmp_path: Path) -> None:
    """What is no complete response of the mechanism logs nobody in, and each line is read once, as one thing."""

    async def story(world: Any) -> None:
        wire = SUBMISSION.wire(world)
        await wire.send(b"EHLO x\r\n")
        heard = await wire.send(said)
        assert [line[:3] for line in heard.splitlines()] == replies
        assert (await wire.send(b"MAIL FROM:<alice@example.org>\r\n")).startswith(b"530 5.7.0 ")
        wire.vanish()

    tell(SUBMISSION, people, tmp_path, story)


def test_no_password_in_clear_from_elsewhere(people: People, tmp_path: Path) -> None:
    """AUTH is not offered to a client that is neither on this machine nor under TLS, and refused where it tries."""

    async def story(world: Any) -> None:
        wire = Wire(world.server, STRANGER)
        assert b"AUTH" not in await wire.send(b"EHLO x\r\n")
        assert (await wire.send(plain(b"alice", b"secret"))).startswith(b"5")
        assert (await wire.send(b"AUTH LOGIN\r\n")).startswith(b"5")
        assert (await wire.send(b"MAIL FROM:<alice@example.org>\r\n")).startswith(b"530 5.7.0 ")
        wire.vanish()

    tell(SUBMISSION, people, tmp_path, story)


def test_no_certificate_but_a_users(people: People, tmp_path: Path) -> None:
    """A node's certificate, another domain's and another user's address log nobody in at the relay port."""

    async def story(world: Any) -> None:
        for member, response in ((people.node, b"="), (people.stranger, b"="), (people.alice, b"Ym9iQGV4YW1wbGUub3Jn")):
            wire = Wire(world.server, STRANGER, **ShownCertificate.of(member))
            await wire.send(b"EHLO x\r\n")
            assert (await wire.send(b"AUTH EXTERNAL " + response + b"\r\n")).startswith(b"535 5.7.8 ")
            assert (await wire.send(b"MAIL FROM:<alice@example.org> ENVID=one\r\n")).startswith(b"530 5.7.0 ")
            wire.vanish()

    tell(RELAY, people, tmp_path, story)
