"""The stress test's own test: the server as it is passes, and broken ones are found out."""

import ast
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stress.history import Difference
from tests.stress.run import Plan, Run, ServerProcess
from tests.stress.serving import LocalServer, mutated

_SERVER_SIDE = ("serving.py", "mutations.py", "test_stress.py", "__main__.py")
_MEMORY = Path("/dev/shm")  # where there is one: every command that changes something is synced


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="p2pmail-stress-", dir=_MEMORY if _MEMORY.is_dir() else None) as made:
        yield Path(made)


def test_model_and_clients_know_nothing_of_the_server() -> None:
    """What judges the server imports nothing of it."""
    for path in Path(__file__).parent.glob("*.py"):
        if path.name in _SERVER_SIDE:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            known = {name for name in names if name.partition(".")[0] in ("gateway", "p2pcore")}
            assert not known, f"{path.name} imports {known}"


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_difference_in_lock_step(seed: int, directory: Path) -> None:
    """One command at a time, the server gives the one right answer each time."""
    run = Run(Plan(seed, clients=5, rounds=3, commands=30, lock_step=True), LocalServer(directory))
    await run.run()
    assert run.world.commands > 400


async def test_no_difference_at_once(directory: Path) -> None:
    """Many clients at once, a SIGKILL among it, and everything that was answered is still there."""
    run = Run(Plan(seed=3, clients=8, rounds=3, commands=12), ServerProcess(directory))
    await run.run()
    assert run.world.commands > 200


@pytest.mark.parametrize(
    "name",
    [
        "an_expunge_is_not_announced",
        "copyuid_is_in_another_order",
        "expunge_during_fetch",
        "expunged_uids_are_not_remembered",
        "flags_change_under_the_same_modseq",
        "idle_misses_what_came_before",
        "replacing_flags_adds_them",
        "search_leaves_one_out",
        "uids_are_given_again",
        "unseen_is_not_counted",
    ],
)
async def test_a_broken_server_is_found(name: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that breaks one promise is found out within a bounded number of commands."""
    run = mutated(name, directory, monkeypatch.setattr)
    with pytest.raises(Difference):
        await run.run()
