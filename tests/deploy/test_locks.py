"""requirements.lock is what every machine installs, requirements-dev.lock what testing takes beside it."""

import re
import tomllib

import pytest

from tests.deploy.compose import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins(name: str) -> dict[str, str]:
    """The version of each distribution that a lock file pins."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\$", text, re.MULTILINE))


def names(requirements: list[str]) -> set[str]:
    """The distributions that requirements of pyproject.toml name."""
    return {re.split(r"[\[<>=]", each)[0] for each in requirements}


def test_machines_get_what_runs_and_nothing_that_tests() -> None:
    """Every dependency and what builds the package is in requirements.lock; none of the tools is."""
    installed = set(pins("requirements.lock"))
    building = names(PROJECT["build-system"]["requires"])
    assert names(PROJECT["project"]["dependencies"]) | building <= installed
    assert not (names(PROJECT["project"]["optional-dependencies"]["dev"]) - building) & installed


@pytest.mark.parametrize("name", ["requirements-dev.lock", "requirements-plots.lock"])
def test_the_same_versions(name: str) -> None:
    """What is tested is what is installed: the locks agree wherever they pin the same distribution."""
    run, other = pins("requirements.lock"), pins(name)
    assert {each: other[each] for each in run if each in other} == {each: run[each] for each in run if each in other}
    if name == "requirements-dev.lock":
        assert set(run) <= set(other)


def test_every_pin_has_a_hash() -> None:
    """pip takes nothing whose octets were not seen when the lock was made."""
    for name in ("requirements.lock", "requirements-dev.lock", "requirements-plots.lock"):
        for pin in re.split(r"\n(?=[a-z])", (ROOT / name).read_text(encoding="utf-8")):
            assert "--hash=sha256:" in pin, (name, pin[:60])


def test_where_they_are_used() -> None:
    """`make run`, the image and docs/deploy.md install requirements.lock alone; `make test` and `make check` both."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^run: \$\(READY\)", makefile, re.MULTILINE)
    for target in ("test", "check", "fuzz", "faults", "interop", "bench", "plots", "format"):
        assert re.search(rf"^{target}: \$\(TOOLS\)", makefile, re.MULTILINE), target
    for name in ("Dockerfile", "docs/deploy.md"):
        assert set(re.findall(r"requirements[\w-]*\.lock", (ROOT / name).read_text("utf-8"))) == {"requirements.lock"}
