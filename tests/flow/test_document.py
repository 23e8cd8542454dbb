"""docs/flow.md says what is tested, and what is tested is in docs/flow.md."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "flow.md"
HERE = Path(__file__).parent
_OTHERS = {Path(__file__).name, "conftest.py"}  # whose docstrings are no sentences of the document


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _steps() -> dict[str, str]:
    """The document's steps: heading and text."""
    _introduction, *rest = re.split(r"^## ", DOCUMENT.read_text(), flags=re.MULTILINE)
    return {heading: text for heading, _, text in (step.partition("\n") for step in rest)}


def _sentences() -> list[str]:
    """Every item of every list in the document's steps."""
    items = [re.findall(r"^- (.*(?:\n  \S.*)*)", text, re.MULTILINE) for text in _steps().values()]
    return [_one_line(item) for step in items for item in step]


def _docstrings() -> list[str]:
    """The docstring of every test function here, "" where there is none."""
    return [
        _one_line(ast.get_docstring(node) or "")
        for path in sorted(HERE.glob("test_*.py"))
        if path.name not in _OTHERS
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


def test_each_sentence_has_its_test() -> None:
    assert sorted(set(_sentences()) - set(_docstrings())) == []


def test_each_test_has_its_sentence() -> None:
    assert sorted(set(_docstrings()) - set(_sentences())) == []


def test_nothing_is_said_or_tested_twice() -> None:
    assert len(set(_sentences())) == len(_sentences())
    assert len(set(_docstrings())) == len(_docstrings())


@pytest.mark.parametrize("heading", _steps())
def test_each_step_names_files_that_exist(heading: str) -> None:
    """A step is one line of files, then its sentences; nothing stands there that is not tested."""
    text = _steps()[heading]
    where, _, rest = text.strip().partition("\n\n")
    files = re.findall(r"`([^`]+)`", where)
    assert files
    assert [name for name in files if not (ROOT / name).is_file()] == []
    assert re.sub(r"^- .*(?:\n  \S.*)*\n?", "", rest.strip() + "\n", flags=re.MULTILINE).strip() == ""
