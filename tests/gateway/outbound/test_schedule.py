"""Times of retries, of the delay report and of giving up."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.outbound.params import DELAYED_AFTER, GIVE_UP_AFTER, RETRY_FIRST, RETRY_LAST
from gateway.outbound.schedule import Schedule

SCHEDULE = Schedule()


@settings(deadline=None)
@given(age=st.integers(0, GIVE_UP_AFTER - 1), attempts=st.integers(1, 10_000), jitter=st.floats(-1, 1))
def test_the_next_attempt_is_later_and_never_passes_a_deadline(age: int, attempts: int, jitter: float) -> None:
    """Invariant: now < next ≤ the next deadline, as long as trying is not over."""
    accepted = 1_000_000
    at = SCHEDULE.next_attempt(accepted, accepted + age, attempts, jitter)
    assert at is not None
    assert accepted + age < at
    for mark in (DELAYED_AFTER, GIVE_UP_AFTER):
        assert age >= mark or at <= accepted + mark


def test_intervals_double_up_to_the_longest() -> None:
    """Without jitter the intervals are first, 2 × first, … and at most the longest one."""
    day = 86_400_000
    times = [SCHEDULE.next_attempt(0, day, attempts) for attempts in (1, 2, 3, 20)]
    assert times == [day + each for each in (RETRY_FIRST, 2 * RETRY_FIRST, 4 * RETRY_FIRST, RETRY_LAST)]


def test_trying_ends_after_five_days() -> None:
    """At the end of GIVE_UP_AFTER there is no next attempt."""
    assert SCHEDULE.next_attempt(0, GIVE_UP_AFTER - 1, 40) == GIVE_UP_AFTER
    assert SCHEDULE.next_attempt(0, GIVE_UP_AFTER, 41) is None


def test_a_delay_is_one_after_two_hours() -> None:
    """A message is delayed from DELAYED_AFTER on."""
    assert not SCHEDULE.is_delayed(0, DELAYED_AFTER - 1)
    assert SCHEDULE.is_delayed(0, DELAYED_AFTER)
