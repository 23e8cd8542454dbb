"""A FETCH response taken apart, strictly: whatever does not follow RFC 9051's grammar is a ValueError."""

import re

Value = bytes | None | list["Value"]

_TOKEN = re.compile(
    rb'(?P<open>\()|(?P<close>\))|"(?P<quoted>(?:[^"\\\r\n\x80-\xff]|\\["\\])*)"|\{(?P<literal>\d+)\}\r\n'
    rb"|(?P<atom>[^\s()\"{]+)"
)


def parse(response: bytes) -> dict[bytes, Value]:
    """Return the items of "n (NAME value NAME value …)" by name; strings as octets, NIL as None."""
    values, end = _values(response, 0, nested=False)
    if len(values) != 2 or end != len(response) or not isinstance(values[1], list):
        raise ValueError(f"not one message's data: {response[:200]!r}")
    names, contents = values[1][::2], values[1][1::2]
    if len(names) != len(contents):
        raise ValueError(f"an item without value: {response[:200]!r}")
    return {name: content for name, content in zip(names, contents, strict=True) if isinstance(name, bytes)}


def _values(octets: bytes, position: int, *, nested: bool) -> tuple[list[Value], int]:
    """Return the values up to the closing parenthesis (or the end) and the position behind it."""
    values: list[Value] = []
    while position < len(octets):
        if octets[position : position + 1] == b" ":
            position += 1
            continue
        token = _TOKEN.match(octets, position)
        if token is None:
            raise ValueError(f"no token at {position}: {octets[position : position + 80]!r}")
        position = token.end()
        if token["open"]:
            value, position = _values(octets, position, nested=True)
            values.append(value)
        elif token["close"]:
            if not nested:
                raise ValueError(f"unexpected ) at {position}")
            return values, position
        elif token["literal"]:
            size = int(token["literal"])
            values.append(octets[position : position + size])
            position += size
        elif token["atom"]:
            values.append(None if token["atom"] == b"NIL" else token["atom"])
        else:
            values.append(re.sub(rb"\\(.)", rb"\1", token["quoted"]))
    if nested:
        raise ValueError("unclosed (")
    return values, position
