"""Replication and repair under churn, small: the claims of docs/repair.md, and that they repeat."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from p2pcore import params
from p2pcore.sim.sessions import Sessions
from p2pcore.sim.week import Plan, Report, simulate

# All of it in a third of a day: sessions of half an hour, everybody's last session within four hours or so
_HURRIED = Sessions(median_up=30 * params.MINUTE, shape=0.8, cycle=60 * params.MINUTE, turnover=6.0)
_PLAN = Plan(
    nodes=10,
    users=2,
    early=2,
    late=3,
    sleepers=1,
    k=5,
    w=3,
    days=1 / 3,
    sessions=_HURRIED,
    settling=30 * params.SECOND,
    newcomer=5 * params.MINUTE,
)


@pytest.fixture(scope="module")
def report() -> Report:
    return simulate(_PLAN)


def test_every_message_arrives_though_every_holder_is_replaced(report: Report) -> None:
    """With at most k − w away at once repair keeps w copies of all that is undelivered, and all of it is read."""
    assert report.late_read == _PLAN.late
    assert report.missed == 0
    assert report.hours[-1].original == 0.0
    assert min(hour.copies for hour in report.hours) >= 1


def test_deleted_stays_deleted_though_a_holder_returns(report: Report) -> None:
    """A node that slept while mail was read brings its copies back, and they go; its owner never sees them again."""
    assert report.brought_back > 0
    assert report.risen == 0
    assert report.read_again == 0


def test_without_repair_mail_is_lost() -> None:
    """It is repair that does it: the same week without it loses mail."""
    assert simulate(replace(_PLAN, repair=False)).late_read < _PLAN.late


def test_a_week_repeats_in_another_process() -> None:
    """The same plan gives the same report, whatever the memory addresses and hash seeds are."""
    program = (
        "import json; from dataclasses import asdict; from p2pcore.sim.week import Plan, simulate;"
        "print(json.dumps(asdict(simulate(Plan(nodes=6, users=1, early=1, late=1, sleepers=1, k=3, w=2, days=0.26)))))"
    )
    reports = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
        reports.append(json.loads(run.stdout))
    assert reports[0] == reports[1]
    assert reports[0]["messages"]["lookup"] > 0


def test_the_report_says_what_was_planned(report: Report) -> None:
    """A report carries its plan: figures in docs are never without their setting."""
    assert report.plan["k"] == asdict(_PLAN)["k"]
    assert report.sent == _PLAN.early + _PLAN.late
    assert report.comings["replaced"] > 0
