"""Round trips, strikes, death and back-off."""

from p2pcore import params
from p2pcore.dht.contact import Contact
from p2pcore.dht.liveness import Liveness

PEER = Contact(bytes(32), "10.0.0.1", 1)


def strike(liveness: Liveness, sent: int) -> tuple[bool, int]:
    """Ask at `sent` in vain; return whether the peer died, and when."""
    now = sent + liveness.timeout(PEER)
    return liveness.missed(PEER, sent, now), now


def test_the_timeout_follows_the_round_trip_between_its_bounds() -> None:
    """Waiting is the smoothed round trip and four variations, and never below or above the limits (RFC 6298 §2)."""
    liveness = Liveness()
    assert liveness.timeout(PEER) == params.PEER_TIMEOUT_FIRST
    for sent in range(0, 10_000, 1_000):
        liveness.answered(PEER, sent, sent + 400)
    assert 400 < liveness.timeout(PEER) < 800
    assert liveness.timeout(None) == liveness.timeout(PEER), "an unknown peer is like those known"
    quick = Contact(bytes(32), "10.0.0.2", 1)
    for sent in range(0, 100_000, 1_000):
        liveness.answered(quick, sent, sent + 1)
    assert liveness.timeout(quick) == params.PEER_TIMEOUT_LEAST
    liveness.answered(PEER, 0, 10**6)
    assert liveness.timeout(PEER) == params.PEER_TIMEOUT_MOST


def test_a_verified_contact_dies_of_three_timeouts_in_a_row_each_twice_as_long() -> None:
    """Two timeouts are suspicion, the third is death; any answer between them clears all."""
    liveness = Liveness()
    liveness.answered(PEER, 0, 1)
    died, now = strike(liveness, 10)
    assert (died, now) == (False, 10 + params.PEER_TIMEOUT_LEAST)
    liveness.answered(PEER, now, now + 1)
    assert liveness.good(PEER)
    died, now = strike(liveness, now + 2)
    died, later = strike(liveness, now)
    assert not died
    assert later - now == 2 * params.PEER_TIMEOUT_LEAST
    assert liveness.passed_over(PEER, later)
    died, end = strike(liveness, later)
    assert died
    assert end - later == 4 * params.PEER_TIMEOUT_LEAST
    assert liveness.blocked(PEER, end)


def test_requests_side_by_side_are_one_strike() -> None:
    """Three requests lost in one pause of a peer do not kill it."""
    liveness = Liveness()
    liveness.answered(PEER, 0, 1)
    for sent in (10, 11, 12):
        assert not liveness.missed(PEER, sent, sent + 250)
    assert not liveness.passed_over(PEER, 300)


def test_what_never_answered_dies_sooner_and_every_death_doubles_the_back_off() -> None:
    """A candidate has two chances; after each back-off one more timeout buries it for twice as long, to a limit."""
    liveness = Liveness()
    assert not strike(liveness, 0)[0]
    died, now = strike(liveness, params.PEER_TIMEOUT_FIRST)
    assert died
    backoff = params.DEAD_BACKOFF_FIRST
    for _ in range(12):
        assert liveness.retry_at(PEER) == now + backoff
        assert liveness.passed_over(PEER, now + backoff - 1)
        assert not liveness.passed_over(PEER, now + backoff)
        died, now = strike(liveness, now + backoff)
        assert died
        backoff = min(2 * backoff, params.DEAD_BACKOFF_LAST)
    liveness.heard(PEER, now)
    assert not liveness.dead(PEER)
    assert not liveness.passed_over(PEER, now)


def test_suspicion_ends_freshness_until_the_next_word() -> None:
    """`suspect` has a contact verified; its next word makes it fresh again."""
    liveness = Liveness()
    liveness.heard(PEER, 100)
    assert liveness.fresh(PEER, 100)
    assert not liveness.fresh(PEER, 101)
    liveness.suspect(PEER)
    assert not liveness.fresh(PEER, 100)
    liveness.heard(PEER, 102)
    assert liveness.fresh(PEER, 100)


def test_memory_is_bounded() -> None:
    """However many endpoints are named to us, so many states are kept and no more."""
    liveness = Liveness()
    for number in range(params.MAX_PEER_STATES + 100):
        liveness.missed(Contact(bytes(32), f"host{number}", 1), 0, 1)
    assert len(liveness) == params.MAX_PEER_STATES


def test_patience_is_a_usual_round_trip_and_never_longer_than_the_timeout() -> None:
    """Half the first timeout while nothing is known, then what is usual for this peer, and at least PATIENCE_LEAST."""
    liveness = Liveness()
    assert liveness.patience(PEER) == params.PEER_TIMEOUT_LEAST < liveness.timeout(PEER)
    for sent in range(0, 100_000, 1_000):
        liveness.answered(PEER, sent, sent + 1)
    assert liveness.patience(PEER) == params.PATIENCE_LEAST < liveness.timeout(PEER)
    for sent in range(100_000, 200_000, 1_000):
        liveness.answered(PEER, sent, sent + 400)
    assert params.PEER_TIMEOUT_LEAST < liveness.patience(PEER) == liveness.timeout(PEER)
    assert liveness.patience(None) <= liveness.timeout(None)


def test_good_contacts_are_those_without_a_strike() -> None:
    """What has timed out once is not passed on to others until it speaks again; the unknown are."""
    liveness = Liveness()
    unknown, struck = Contact(bytes(32), "10.0.0.2", 1), Contact(bytes(32), "10.0.0.3", 1)
    liveness.heard(PEER, 0)
    liveness.missed(struck, 0, 250)
    assert list(liveness.good_among([PEER, unknown, struck])) == [PEER, unknown]
