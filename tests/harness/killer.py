"""Kills machines one after the other while a test sends mail."""

import threading
from collections.abc import Sequence

from tests.harness.machines import Machine


def kill_in_turn(victims: Sequence[Machine], stop: threading.Event) -> None:
    """Kill and restart each of `victims` in turn until `stop`; on return all run."""
    turn = 0
    while not stop.wait(0.3):
        victim = victims[turn % len(victims)]
        victim.kill()
        victim.start()
        turn += 1
