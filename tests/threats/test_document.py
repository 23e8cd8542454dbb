"""docs/threats.md shows the table that is tested, and every claim in it names tests that exist."""

import ast
import re
from pathlib import Path

import pytest

from tests.threats.table import DATAGRAMS, OTHERS, PRIMITIVES, ROLES, TABLE, WHO, as_markdown

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "threats.md").read_text()
TABLE_HEADING = "Who may ask a node for what"  # whose sentences are about the table, which is its own test

_ITEM = re.compile(r"^- .*(?:\n  \S.*)*", re.MULTILINE)
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def claims() -> dict[str, list[tuple[str, str]]]:
    """The claims: their text, and the (file, function) of each test that is named."""
    _introduction, *sections = re.split(r"^## ", DOCUMENT, flags=re.MULTILINE)
    items = [item for section in sections if not section.startswith(TABLE_HEADING) for item in _ITEM.findall(section)]
    return {_TEST.sub("", item).strip("- \n"): _TEST.findall(item) for item in items}


def test_the_table_is_the_one_that_is_tested() -> None:
    """Write tests.threats.table.as_markdown() into the document where this fails."""
    assert f"\n\n{as_markdown()}" in DOCUMENT


def test_the_table_is_complete() -> None:
    """Every primitive has an outcome for everybody, and everybody who is not admitted is refused by every one."""
    assert set(TABLE) == {(primitive, who) for primitive in PRIMITIVES for who in WHO}
    assert set(WHO) == {*ROLES, *OTHERS}
    allowed = {cell for cell, outcome in TABLE.items() if outcome is None and cell[1] in OTHERS}
    assert allowed == {(DATAGRAMS, "replayed after a restart")}


def test_there_are_claims() -> None:
    """The document is read as it is written."""
    assert len(claims()) > 50


@pytest.mark.parametrize("claim", claims())
def test_each_claim_names_its_tests(claim: str) -> None:
    """A claim without a test that exists is only an opinion."""
    named = claims()[claim]
    assert named
    assert [f"{file}::{name}" for file, name in named if name not in _functions(file)] == []


def _functions(file: str) -> set[str]:
    """The names of the test functions in a file; none where it is not there."""
    path = ROOT / file
    nodes = ast.parse(path.read_text()).body if path.is_file() else []
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
