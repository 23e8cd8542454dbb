"""gateway/imap/failed_logins.py: who guesses passwords waits, over whatever connections and addresses."""

import pytest

from gateway.imap import params
from gateway.imap.failed_logins import FailedLogins
from tests.gateway.imap.client import Client
from tests.gateway.imap.conftest import SiteMaker

FAR = "192.0.2.7"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def failures(clock: Clock) -> FailedLogins:
    return FailedLogins(1.0, clock, lambda user: user.removesuffix("@example.org"))


def fail(failures: FailedLogins, peer: str, user: str, times: int = params.LOGIN_FAILURES) -> None:
    for _ in range(times):
        failures.failed(peer, user)


def test_a_few_failures_cost_nothing(failures: FailedLogins) -> None:
    """Somebody who mistypes her password does not wait for the next attempt."""
    fail(failures, FAR, "alice", params.LOGIN_FAILURES - 1)
    assert failures.wait(FAR, "alice") == 0


def test_waiting_doubles_up_to_a_bound(failures: FailedLogins) -> None:
    """Each further failure doubles the wait, and nobody waits longer than LOGIN_WAIT."""
    waits = []
    for _ in range(params.LOGIN_FAILURES + 40):
        failures.failed(FAR, "alice")
        waits.append(failures.wait(FAR, "alice"))
    assert waits[: params.LOGIN_FAILURES + 3] == [0.0] * (params.LOGIN_FAILURES - 1) + [1.0, 2.0, 4.0, 8.0]
    assert waits[-1] == params.LOGIN_WAIT


def test_an_address_waits_for_whatever_account(failures: FailedLogins) -> None:
    """One address that tries many names waits as if it had tried one."""
    for number in range(params.LOGIN_FAILURES):
        failures.failed(FAR, f"user{number}")
    assert failures.wait(FAR, "alice") == 1.0
    assert failures.wait("192.0.2.8", "alice") == 0


def test_an_account_waits_from_whatever_address(failures: FailedLogins) -> None:
    """One account that is tried from many addresses is looked at slowly, in any spelling of its name's case."""
    for number in range(params.LOGIN_FAILURES):
        failures.failed(f"192.0.2.{number}", "Alice")
    assert failures.wait(FAR, "aLICE") == 1.0
    assert failures.wait(FAR, "bob") == 0


def test_all_spellings_of_a_name_are_one_account(failures: FailedLogins) -> None:
    """A local part and the whole address are the same account, whichever is guessed at and whichever logs in."""
    for number, user in enumerate(["alice", "alice@example.org", "Alice"]):
        failures.failed(f"192.0.2.{number}", user)
    assert failures.wait(FAR, "alice") == failures.wait(FAR, "alice@example.org") == 1.0
    failures.succeeded(FAR, "alice@example.org")
    assert failures.wait(FAR, "alice") == 0


def test_hosts_of_ipv6_have_a_network(failures: FailedLogins) -> None:
    """An IPv6 host cannot take another of its addresses, and an IPv4 one is the same however it is written."""
    fail(failures, "2001:db8::1", "a")
    assert failures.wait("2001:db8::2", "b") == 1.0
    assert failures.wait("2001:db8:0:1::1", "b") == 0
    fail(failures, "::ffff:192.0.2.9", "c")
    assert failures.wait("192.0.2.9", "d") == 1.0


def test_loopback_counts_by_account_only(failures: FailedLogins) -> None:
    """A mail reader with a wrong password slows no other user of the same machine."""
    fail(failures, "127.0.0.1", "alice")
    assert failures.wait("127.0.0.1", "bob") == 0
    assert failures.wait("::1", "alice") == 1.0


def test_success_and_time_forgive(failures: FailedLogins, clock: Clock) -> None:
    """Who logs in is believed again; after LOGIN_MEMORY nothing is held against anybody."""
    fail(failures, FAR, "alice")
    failures.succeeded(FAR, "alice")
    assert failures.wait(FAR, "alice") == 0
    fail(failures, FAR, "alice")
    clock.now = params.LOGIN_MEMORY
    assert failures.wait(FAR, "alice") == 0


def test_memory_is_bounded(failures: FailedLogins) -> None:
    """However many names are tried, no more than LOGINS_REMEMBERED are kept, the newest."""
    for number in range(params.LOGINS_REMEMBERED + 10):
        failures.failed("127.0.0.1", str(number))
    assert len(failures._failures) == params.LOGINS_REMEMBERED
    fail(failures, "127.0.0.1", "late")
    assert failures.wait("127.0.0.1", "late") == 1.0


async def test_a_new_connection_starts_nothing_anew(start_site: SiteMaker) -> None:
    """An account that was guessed at over other connections is waited for by the next one, whatever its password."""
    site = await start_site()
    for number in range(params.LOGIN_FAILURES):
        guesser = await Client.connect(site.port)
        _, tagged = await guesser.command(f"LOGIN {('alice', 'alice@example.org')[number % 2]} wrong{number}")
        assert tagged.startswith(b"NO [AUTHENTICATIONFAILED]")
        guesser.close()
    assert site.server.failed_logins._failures["account", "alice@example.org"][0] == params.LOGIN_FAILURES
    client = await Client.connect(site.port)
    await client.ok("LOGIN alice secret")
    client.close()
    assert site.server.failed_logins.wait("127.0.0.1", "alice") == 0
