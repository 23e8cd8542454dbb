"""Reads the part of YAML that our compose file is written in, and refuses every other part by line number.

Block mappings and lists, `[flow, lists]` on one line, plain and double-quoted scalars, comments on lines of their own,
anchors of mappings (`key: &name`) and their merge (`<<: *name`). What is accepted means the same in YAML 1.2.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

_KEY = re.compile(r"([A-Za-z0-9_./-]+|<<):(?: +(.*))?$")
_PLAIN = re.compile(r"[A-Za-z0-9_./-][A-Za-z0-9_./:@=-]*$")
_AMBIGUOUS = re.compile(r"(?i)(null|yes|no|on|off|[-+]?\.?[0-9][0-9_:e+-]*(\.[0-9_e+-]*)?)$")
_ITEM = re.compile(r'("(?:[^"\\]|\\.)*"|[^",\[\]]+?) *(?:, *(?=[^, ])|$)')
_ALIAS = re.compile(r"\*([a-z]+)$")
_ANCHOR = re.compile(r"&([a-z]+)$")


class NotPlain(ValueError):
    """The text uses something that this reader does not know, or is no YAML."""


@dataclass(frozen=True)
class _Line:
    number: int
    indent: int
    text: str


def load(text: str) -> Any:
    """Return the document's value. Raises NotPlain."""
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        content = line.lstrip(" ")
        if content and not content.startswith("#"):
            if "\t" in line or line != line.rstrip():
                raise NotPlain(f"line {number}: a tab, or blanks at its end")
            lines.append(_Line(number, len(line) - len(content), content))
    reader = _Reader(lines)
    value = reader.block(0)
    if reader.lines:
        raise NotPlain(f"line {reader.lines[0].number}: indented otherwise than what it belongs to")
    return value


class _Reader:
    def __init__(self, lines: list[_Line]) -> None:
        self.lines = lines
        self._anchors: dict[str, dict[str, Any]] = {}

    def block(self, indent: int) -> Any:
        """Take the mapping or list whose lines begin at `indent`; None where there is none."""
        if not self.lines or self.lines[0].indent < indent:
            return None
        indent = self.lines[0].indent
        return self._list(indent) if self.lines[0].text.startswith("- ") else self._mapping(indent)

    def _list(self, indent: int) -> list[Any]:
        items = []
        while self.lines and self.lines[0].indent == indent and self.lines[0].text.startswith("- "):
            first = self.lines[0]
            content = first.text[2:].lstrip(" ")
            if _KEY.match(content):
                self.lines[0] = _Line(first.number, indent + len(first.text) - len(content), content)
                items.append(self._mapping(self.lines[0].indent))
            else:
                items.append(_scalar(first.number, content))
                self.lines.pop(0)
        return items

    def _mapping(self, indent: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        while self.lines and self.lines[0].indent == indent:
            line = self.lines.pop(0)
            match = _KEY.match(line.text)
            if match is None:
                raise NotPlain(f"line {line.number}: not of the form key: value")
            key, rest = match[1], match[2] or ""
            if key in values:
                raise NotPlain(f"line {line.number}: {key} is there already")
            if key == "<<":
                merged = self._merged(line.number, rest)
            else:
                values[key] = self._value(line, rest)
        return {**merged, **values}

    def _value(self, line: _Line, rest: str) -> Any:
        anchor = _ANCHOR.match(rest)
        if rest and anchor is None:
            return _scalar(line.number, rest)
        value = self.block(line.indent + 1)
        if anchor is not None:
            if not isinstance(value, dict):
                raise NotPlain(f"line {line.number}: an anchor of something that is no mapping")
            self._anchors[anchor[1]] = value
        return value

    def _merged(self, number: int, rest: str) -> dict[str, Any]:
        alias = _ALIAS.match(rest)
        if alias is None or alias[1] not in self._anchors:
            raise NotPlain(f"line {number}: {rest!r} names no anchor above")
        return self._anchors[alias[1]]


def _scalar(number: int, text: str) -> Any:
    if text.startswith("["):
        return _flow_list(number, text)
    if text.startswith('"'):
        try:
            return json.loads(text)  # a JSON string is a YAML one
        except ValueError as error:
            raise NotPlain(f"line {number}: {text}: {error}") from error
    if not _PLAIN.match(text) or text.endswith(":"):
        raise NotPlain(f"line {number}: {text!r}: put it in double quotes")
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch("0|[1-9][0-9]*", text):
        return int(text)
    if _AMBIGUOUS.match(text):
        raise NotPlain(f"line {number}: {text!r}: YAML versions differ on it; put it in double quotes")
    return text


def _flow_list(number: int, text: str) -> list[Any]:
    if not text.endswith("]"):
        raise NotPlain(f"line {number}: a list that does not end on it")
    items, rest = [], text[1:-1].strip()
    while rest:
        match = _ITEM.match(rest)
        if match is None:
            raise NotPlain(f"line {number}: {rest!r}: a list that cannot be read")
        items.append(_scalar(number, match[1]))
        rest = rest[match.end() :]
    return items
