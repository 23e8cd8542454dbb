"""README.md and docs/: what they name is there, and what is there can be found in them."""

import re
from pathlib import Path

import bench

ROOT = Path(__file__).parents[1]
DOCUMENTS = {
    file: file.read_text(encoding="utf-8") for file in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
MAP = DOCUMENTS[ROOT / "docs" / "architecture.md"].split("## Packages")[1].split("```")[1]
DECISIONS = ROOT / "docs" / "decisions"

_LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
_PATH = re.compile(r"`((?:\.ci|bench|config|docs|gateway|p2pcore|tests)/[\w/.-]*)")
_MAKE = re.compile(r"`make ([a-z]+)")


def _missing(pattern: re.Pattern[str], *, beside: bool) -> list[str]:
    """What the documents name by `pattern` and is not there: relative to the document, or to the root."""
    return [
        f"{file.relative_to(ROOT)}: {name}"
        for file, text in DOCUMENTS.items()
        for name in pattern.findall(text)
        if not ((file.parent if beside else ROOT) / name).exists()
    ]


def test_every_link_leads_somewhere() -> None:
    """A link within the documents leads to a file or directory that exists."""
    assert _missing(_LINK, beside=True) == []


def test_every_path_exists() -> None:
    """A path that a document names, from the root, exists."""
    assert _missing(_PATH, beside=False) == []


def test_every_target_of_make_exists() -> None:
    """A `make` command that a document or the Makefile names has its rule, and `make help` lists it."""
    rules = set(re.findall(r"^([a-z]+):.*##", MAKEFILE, re.MULTILINE))
    named = {target for text in (MAKEFILE, *DOCUMENTS.values()) for target in _MAKE.findall(text)}
    [phony] = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert named <= rules
    assert set(phony.split()) == rules


def test_every_benchmark_is_named() -> None:
    """`make help` and bench/__init__.py name every module of bench/ that measures something when it is run."""
    run = {
        file.stem
        for file in (ROOT / "bench").glob("*.py")
        if "__name__ == " in file.read_text(encoding="utf-8") and file.stem not in ("plots", "counted")
    }
    [line] = re.findall(r"^bench:.*##(.*)$", MAKEFILE, re.MULTILINE)
    assert set(re.findall(r"[a-z_]+", line.partition("=")[2].partition(", and")[0])) - {"or"} == run
    assert set(re.findall(r"^\| ([a-z_]+) \|", str(bench.__doc__), re.MULTILINE)) - {"name"} == run


def test_the_map_names_every_part() -> None:
    """Every package and every module at the top of either side stands in the map, and every part of tests/."""
    named = set(re.findall(r"\w+", MAP))
    parts = [
        part.stem
        for side in ("gateway", "p2pcore", "tests")
        for part in (ROOT / side).iterdir()
        if not part.name.startswith(("_", "test_", "conftest")) and (part.is_dir() or part.suffix == ".py")
    ]
    assert [part for part in parts if part not in named] == []


def test_every_decision_is_in_the_list() -> None:
    """docs/decisions/README.md leads to each record once, under its number."""
    listed = re.findall(r"\[(\d+)\]\((\d{4}-[\w-]+\.md)\)", DOCUMENTS[DECISIONS / "README.md"])
    assert sorted(name for _, name in listed) == sorted(file.name for file in DECISIONS.glob("[0-9]*.md"))
    assert all(int(number) == int(name[:4]) for number, name in listed)
