"""Every reader of foreign octets or text has its property test; a new one without is noticed here."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final, TypeGuard

import pytest

from tests.fuzz.inventory import READERS

ROOT: Final = Path(__file__).parents[2]
_READS: Final = re.compile(r"(?:parse|decode|from_text)(?:_|\Z)|from_bytes\Z")


def readers() -> list[str]:
    """Public functions and methods whose name says that they read something."""
    found = []
    for package in ("gateway", "p2pcore"):
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found += [f"{module}:{name}" for name in _names(ast.parse(path.read_text()))]
    return found


def _names(tree: ast.Module) -> list[str]:
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    methods = [f"{owner.name}.{node.name}" for owner in classes for node in owner.body if _reads(node)]
    return [node.name for node in tree.body if _reads(node)] + methods


def _reads(node: ast.stmt) -> TypeGuard[ast.FunctionDef]:
    """What takes an IMAP lexer is left out: parse_command calls it, and is in the list."""
    if not isinstance(node, ast.FunctionDef) or not _READS.match(node.name):
        return False
    return all(argument.arg != "lexer" for argument in node.args.args)


@cache
def _tests(file: str) -> dict[str, tuple[str, str]]:
    """Source and docstring of each test in a file."""
    source = (ROOT / file).read_text()
    return {
        node.name: ("\n".join(map(ast.unparse, [*node.decorator_list, node])), ast.get_docstring(node) or "")
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef)
    }


def test_each_reader_has_its_test() -> None:
    """Whoever adds a reader adds its test, and names both in inventory.py."""
    assert sorted(set(readers()) - set(READERS)) == []


@pytest.mark.parametrize("reader", READERS)
def test_each_test_is_a_property(reader: str) -> None:
    """The reader exists, and the test that is named draws its input and says what always holds."""
    module, _, name = reader.partition(":")
    base = ROOT / module.replace(".", "/")
    path = base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"
    assert re.search(rf"^ *(?:async )?def {name.rpartition('.')[2]}\(", path.read_text(), re.MULTILINE)
    file, _, test = READERS[reader].partition("::")
    source, docstring = _tests(file)[test]
    assert "given(" in source
    assert docstring
