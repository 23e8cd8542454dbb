"""Token buckets."""

from p2pcore.dht.limits import Limiter


def test_a_burst_then_the_rate() -> None:
    """Each key has its burst, then what the rate brings back, and never more than the burst."""
    limiter = Limiter(rate=10, burst=3)
    assert [limiter.spend("a", 0) for _ in range(4)] == [True, True, True, False]
    assert limiter.spend("b", 0)
    assert not limiter.spend("a", 99)
    assert limiter.spend("a", 100)
    assert not limiter.spend("a", 100)
    assert [limiter.spend("a", 10**6) for _ in range(4)] == [True, True, True, False]


def test_keys_are_bounded() -> None:
    """Ten thousand forged sources cost the memory of the limit."""
    limiter = Limiter(rate=1, burst=1, keys=50)
    for number in range(10_000):
        limiter.spend(number, 0)
    assert len(limiter) == 50
