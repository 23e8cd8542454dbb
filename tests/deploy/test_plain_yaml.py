"""The reader of the compose file: what it takes, and what it refuses."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.deploy.plain_yaml import NotPlain, load

_VALUES = st.recursive(
    st.integers(0, 99_999) | st.booleans() | st.text(max_size=20),
    lambda inner: st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), inner, min_size=1, max_size=4),
    max_leaves=12,
)


def _written(value: object, indent: int = 0) -> str:
    assert isinstance(value, dict)
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
            lines += [f"{' ' * indent}{key}:", _written(item, indent + 2)]
        else:
            lines.append(f"{' ' * indent}{key}: {json.dumps(item)}")
    return "\n".join(lines)


@given(st.dictionaries(st.from_regex("[a-z]{1,5}", fullmatch=True), _VALUES, min_size=1))
def test_round_trip(content: dict[str, object]) -> None:
    """What is written as nested mappings of JSON scalars is read as it was."""
    assert load(_written(content)) == content


@given(st.text(alphabet="a: -[],\"'&*<>{}\n#|1", max_size=60))
def test_any_text(text: str) -> None:
    """Any text at all gives a value or NotPlain."""
    with contextlib.suppress(NotPlain):
        load(text)


def test_everything_it_knows() -> None:
    """Anchors and merges, block and flow lists, comments, empty values."""
    text = """\
# all
x-a: &base
  one: [a, "b, c"]
  two: 2
b:
  <<: *base
  two: 3
c:
  - d
  - e: f
    g: 1m
h:
"""
    base = {"one": ["a", "b, c"], "two": 2}
    assert load(text) == {"x-a": base, "b": {**base, "two": 3}, "c": ["d", {"e": "f", "g": "1m"}], "h": None}


@pytest.mark.parametrize(
    "text",
    ["a: yes", "a: 1.5", "a: 1:30", "a: ~", "a: b: c", "a: {b: c}", "a: 'b'", "a: |\n  b", "a: 1\na: 2", "a: *b",
     "\ta: b", "a: b ", "  a: b\nc: d", "a: [b", "a: [b,,c]", "just text", 'a: "b', "a: 010"],
)  # fmt: skip
def test_refused(text: str) -> None:
    """What means different things to different readers, or nothing, is refused with its line."""
    with pytest.raises(NotPlain, match=r"^line \d"):
        load(text)
