"""A mail on its way in and out, with two gateways: whatever fails on the way, what was acknowledged arrives."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = 8

pytestmark = pytest.mark.timeout(900)  # seconds of work, but on a busy machine that is long


def program(module: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a module of ours by itself: it limits file sizes, takes over SQLite's system calls and leaves things open."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, check=False, capture_output=True, text=True
    )


def test_a_sample_of_faults_loses_nothing_and_shows_nothing_twice() -> None:
    """Every point of the sample is hit; nothing acknowledged is lost, nothing with a Message-ID is shown twice."""
    done = program("tests.faults", "--sample", str(SAMPLE), "--processes", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"runs {SAMPLE}: 0 never taken, 0 acknowledged and lost, 0 shown altered, 0 shown twice" in done.stdout
    hit = [(int(one), int(other)) for one, other in re.findall(r"(\d+) of +(\d+) points hit", done.stdout)]
    assert sum(reached for _, reached in hit) == SAMPLE
    assert all(one == other for one, other in hit)


def test_a_promise_that_is_not_kept_is_noticed() -> None:
    """A gateway that says 250 before anything is stored and then dies has lost a message, and the run says so.

    An agent that forgets which messages it has shows one twice, where the first gateway dies between quorum and 250.
    """
    done = program("tests.faults.broken")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["250 too early: acknowledged and lost", "filed without memory: shown twice"]
