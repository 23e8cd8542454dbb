"""How often nodes are up: what is followed and counted, the estimate, the file."""

import random
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcore import params
from p2pcore.client.uptime import Sample, UptimeHistory, estimate, load_uptime, save_uptime
from p2pcore.errors import Malformed

NOW = 1_700_000_000_000
IDS = [bytes([number]) * 32 for number in range(60)]


def samples(ups: list[int], followed: int) -> list[Sample]:
    return [Sample(NOW, followed, up) for up in ups if up]


def drawn(p: float, followed: int, count: int, seed: int) -> list[int]:
    chance = random.Random(seed)
    return [sum(chance.random() < p for _ in range(followed)) for _ in range(count)]


def test_nothing_is_said_before_a_day() -> None:
    """23 samples say nothing, 24 do; samples of a single node say nothing however many."""
    assert estimate(samples([3] * 23, 3)) is None
    assert estimate(samples([3] * 24, 3)) is not None
    assert estimate(samples([1] * 500, 1)) is None


def test_always_up() -> None:
    """Nodes that were always up are not taken for certain: as if one of two more had been down."""
    assert estimate(samples([4] * 100, 4)) == pytest.approx(401 / 402, abs=1e-3)


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("followed", [2, 3, 20])
def test_estimate(p: float, followed: int) -> None:
    """The estimate is p, though hours with nobody up, in which this machine may have been cut off, are not kept."""
    assert estimate(samples(drawn(p, followed, 5_000, seed=1), followed)) == pytest.approx(p, abs=0.03)


@given(st.lists(st.integers(1, 9), min_size=30, max_size=60))
def test_estimate_is_a_probability(ups: list[int]) -> None:
    """Whatever is counted gives a number between 0 and 1, larger for more ups."""
    few = estimate(samples(ups, 10))
    more = estimate(samples([up + 1 for up in ups], 10))
    assert few is not None
    assert more is not None
    assert 0 < few < more < 1


def test_followed_from_the_next_sample_on() -> None:
    """A node is not counted in the sample in which it is chosen; a silent one is for a week, then forgotten."""
    history = UptimeHistory()
    history.count({IDS[0]}, NOW)
    assert history.samples == ()
    history.follow(IDS[:2], NOW)
    times = range(NOW + params.UPTIME_INTERVAL, NOW + params.UPTIME_WINDOW + 1, params.UPTIME_INTERVAL)
    for time in times:
        history.count({IDS[1]}, time)
    assert set(history.samples) == {Sample(time, 2, 1) for time in times}
    assert set(history.nodes) == {IDS[1]}


def test_cut_off() -> None:
    """Where nobody answers nothing is counted, and nobody forgotten, however long."""
    history = UptimeHistory({IDS[0]: NOW}, [Sample(NOW, 1, 1)])
    history.count(set(), NOW + 30 * params.DAY)
    assert history.samples == ()
    assert set(history.nodes) == {IDS[0]}


def test_bounded() -> None:
    """No more nodes and samples are kept than a week and params allow, nor samples from the future."""
    history = UptimeHistory()
    history.follow(IDS, NOW)
    assert len(history.nodes) == params.UPTIME_NODES
    assert history.room() == 0
    for number in range(400):
        history.count(set(IDS), NOW + number * 60_000)
    assert len(history.samples) == 168
    history.count(set(IDS), NOW)
    assert [sample.time for sample in history.samples] == [NOW]


def test_due() -> None:
    """An hour after the last sample; at once without one; never later than in an hour, whatever the clock did."""
    assert UptimeHistory().due(NOW) == 0
    history = UptimeHistory({}, [Sample(NOW, 2, 1)])
    assert history.due(NOW + 10 * params.MINUTE) == 50 * params.MINUTE
    assert history.due(NOW + 5 * params.HOUR) == 0
    assert history.due(NOW - 5 * params.HOUR) == params.HOUR


def test_file(tmp_path: Path) -> None:
    """What is saved is loaded again; no file is an empty history."""
    path = tmp_path / "uptimes.json"
    assert load_uptime(path).nodes == {}
    history = UptimeHistory({IDS[1]: NOW}, [Sample(NOW, 2, 1)])
    save_uptime(path, history)
    loaded = load_uptime(path)
    assert (loaded.nodes, loaded.samples) == (history.nodes, history.samples)


def test_largest_file(tmp_path: Path) -> None:
    """A full history can be read again."""
    path = tmp_path / "uptimes.json"
    history = UptimeHistory(dict.fromkeys(IDS[: params.UPTIME_NODES], NOW), [Sample(NOW, 40, 40)] * 168)
    save_uptime(path, history)
    assert load_uptime(path).samples == history.samples


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"nodes": [], "samples": []}',
        b'{"nodes": {"00": 1}, "samples": []}',
        b'{"nodes": {}, "samples": [[1, 2]]}',
        b'{"nodes": {}, "samples": [[1, 2, 3]]}',
        b'{"nodes": {}, "samples": [[1, 2, true]]}',
        b'{"nodes": {}, "samples": [[1, 2, -1]]}',
        b'{"nodes": {}, "samples": 1}',
        b"[" * 60_000,
        b" " * 70_000,
        b"\xff",
    ],
)
def test_bad_files(tmp_path: Path, content: bytes) -> None:
    """A file that is no history is Malformed."""
    path = tmp_path / "uptimes.json"
    path.write_bytes(content)
    with pytest.raises(Malformed, match=r"uptimes\.json"):
        load_uptime(path)


@given(st.binary(max_size=200))
def test_any_octets(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Octets are a history or Malformed, never another failure."""
    path = tmp_path_factory.getbasetemp() / "any-uptimes.json"
    path.write_bytes(content)
    with suppress(Malformed):
        load_uptime(path)
