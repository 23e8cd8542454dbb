"""What is wrong with the network, in words."""

import msgspec
import pytest

from gateway import health
from p2pcore import params
from p2pcore.records import decode
from p2pcore.records.domain import DomainRecord
from tests.p2pcore.mail.bench import Domain

NOW = 1_790_000_000_000


@pytest.mark.parametrize(
    ("k", "w", "known", "said"),
    [
        (0, 0, 0, "not known yet"),
        (1, 1, 1, "one disk only"),
        (3, 2, 1, "only 1 of k = 3 nodes are known: mail is answered 451 until w = 2 run"),
        (3, 2, 2, "fewer nodes are known than k = 3: 2"),
    ],
)
def test_copies(k: int, w: int, known: int, said: str) -> None:
    """Too few nodes for w: no mail is taken; for k: copies are missing."""
    (warning,) = health.of_copies(k, w, known)
    assert said in warning


def test_enough_copies() -> None:
    """With k nodes there is nothing to say."""
    assert health.of_copies(3, 2, 3) == []


@pytest.mark.parametrize(("skew", "said"), [(400_000, "-400 s"), (-400_000, "+400 s"), (300_000, ""), (0, "")])
def test_clock(skew: int, said: str) -> None:
    """More than five minutes from the others' median is said, with the direction that is ours."""
    assert [said in warning for warning in health.of_clock(skew)] == [True] * bool(said)


def test_gateways() -> None:
    """Mail that waits for a gateway is said, with why it does; where none waits, it does not matter."""
    assert health.of_gateways("bob@example.org", 0, "") == []
    (warning,) = health.of_gateways("bob@example.org", 2, "no answer")
    assert warning == "bob@example.org: no gateway can be reached, and messages wait for one (2): no answer"


def test_a_directory_that_is_off_is_missed() -> None:
    """Two heads missed: revocations no longer arrive in time. A machine that has just started waits as long."""
    silent = health.SILENT_AFTER
    assert health.of_directory(None, NOW - silent, 0, NOW) == []
    assert health.of_directory(None, 0, NOW - silent, NOW) == []
    for last, started in ((NOW - silent - 1, 0), (0, NOW - silent - 1)):
        (warning,) = health.of_directory(None, last, started, NOW)
        assert "the directory has not been heard for 15 minutes: revocations" in warning


def test_a_record_that_is_out_of_date_is_said() -> None:
    """From its nextUpdate on unknown addresses can no longer be refused."""
    record = decode(DomainRecord, Domain.new().record().content)
    old = msgspec.structs.replace(record, next_update=NOW - params.DAY)
    assert any("out of date" in warning for warning in health.of_directory(old, NOW, NOW, NOW))
