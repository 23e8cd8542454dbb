"""gateway/login_delays.py: who guesses passwords waits, over whatever connections and addresses."""

import pytest

from gateway.login_delays import FREE_FAILURES, LONGEST_WAIT, MEMORY, REMEMBERED, LoginDelays

FAR = "192.0.2.7"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def delays(clock: Clock) -> LoginDelays:
    return LoginDelays(1.0, clock, lambda user: user.removesuffix("@example.org"))


def fail(delays: LoginDelays, peer: str, user: str, times: int = FREE_FAILURES) -> None:
    for _ in range(times):
        delays.failed(peer, user)


def test_a_few_failures_cost_nothing(delays: LoginDelays) -> None:
    """Somebody who mistypes her password does not wait for the next attempt."""
    fail(delays, FAR, "alice", FREE_FAILURES - 1)
    assert delays.wait(FAR, "alice") == 0


def test_waiting_doubles_up_to_a_bound(delays: LoginDelays) -> None:
    """Each further failure doubles the wait, and nobody waits longer than LONGEST_WAIT."""
    waits = []
    for _ in range(FREE_FAILURES + 40):
        delays.failed(FAR, "alice")
        waits.append(delays.wait(FAR, "alice"))
    assert waits[: FREE_FAILURES + 3] == [0.0] * (FREE_FAILURES - 1) + [1.0, 2.0, 4.0, 8.0]
    assert waits[-1] == LONGEST_WAIT


def test_an_address_waits_for_whatever_account(delays: LoginDelays) -> None:
    """One address that tries many names waits as if it had tried one."""
    for number in range(FREE_FAILURES):
        delays.failed(FAR, f"user{number}")
    assert delays.wait(FAR, "alice") == 1.0
    assert delays.wait("192.0.2.8", "alice") == 0


def test_an_account_waits_from_whatever_address(delays: LoginDelays) -> None:
    """One account that is tried from many addresses is looked at slowly, in any spelling of its name's case."""
    for number in range(FREE_FAILURES):
        delays.failed(f"192.0.2.{number}", "Alice")
    assert delays.wait(FAR, "aLICE") == 1.0
    assert delays.wait(FAR, "bob") == 0


def test_all_spellings_of_a_name_are_one_account(delays: LoginDelays) -> None:
    """A local part and the whole address are the same account, whichever is guessed at and whichever logs in."""
    for number, user in enumerate(["alice", "alice@example.org", "Alice"]):
        delays.failed(f"192.0.2.{number}", user)
    assert delays.wait(FAR, "alice") == delays.wait(FAR, "alice@example.org") == 1.0
    delays.succeeded(FAR, "alice@example.org")
    assert delays.wait(FAR, "alice") == 0


def test_hosts_of_ipv6_have_a_network(delays: LoginDelays) -> None:
    """An IPv6 host cannot take another of its addresses, and an IPv4 one is the same however it is written."""
    fail(delays, "2001:db8::1", "a")
    assert delays.wait("2001:db8::2", "b") == 1.0
    assert delays.wait("2001:db8:0:1::1", "b") == 0
    fail(delays, "::ffff:192.0.2.9", "c")
    assert delays.wait("192.0.2.9", "d") == 1.0


def test_loopback_counts_by_account_only(delays: LoginDelays) -> None:
    """A mail reader with a wrong password slows no other user of the same machine."""
    fail(delays, "127.0.0.1", "alice")
    assert delays.wait("127.0.0.1", "bob") == 0
    assert delays.wait("::1", "alice") == 1.0


def test_success_and_time_forgive(delays: LoginDelays, clock: Clock) -> None:
    """Who logs in is believed again; after MEMORY nothing is held against anybody."""
    fail(delays, FAR, "alice")
    delays.succeeded(FAR, "alice")
    assert delays.wait(FAR, "alice") == 0
    fail(delays, FAR, "alice")
    clock.now = MEMORY
    assert delays.wait(FAR, "alice") == 0


def test_memory_is_bounded(delays: LoginDelays) -> None:
    """However many names are tried, no more than REMEMBERED are kept, the newest."""
    for number in range(REMEMBERED + 10):
        delays.failed("127.0.0.1", str(number))
    assert len(delays._failures) == REMEMBERED
    fail(delays, "127.0.0.1", "late")
    assert delays.wait("127.0.0.1", "late") == 1.0
