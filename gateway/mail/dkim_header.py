"""The octets of a header section that a DKIM signature covers (RFC 6376 §3.4.1, §3.4.2, §3.7, §5.4.2); pure, linear.

Who signs and who verifies read a header alike: lines that belong to no field are passed over, and white space before a
colon, which is obsolete and still read (RFC 5322 §4.5), is no part of a name.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, Literal

Canonicalisation = Literal["simple", "relaxed"]

_SIGNATURE: Final = b"dkim-signature"
_SIGNATURE_FIELD = re.compile(rb"\ndkim-signature[ \t]*:[^\r\n]*(?:\r\n[ \t][^\r\n]*)*", re.IGNORECASE)
_NAME = re.compile(rb"([!-9;-~]+)[ \t]*:")
_BLANKS = re.compile(rb"[ \t]+")


def signature_fields(header: bytes, most: int) -> list[bytes]:
    """Return the first `most` DKIM-Signature fields of a header section, without their last CRLF."""
    return [found.group()[1:] for found in islice(_SIGNATURE_FIELD.finditer(b"\n" + header), most)]


class SignedHeader:
    """A header section's fields as they stand there. `names` are theirs, in lower case and in order."""

    def __init__(self, header: bytes) -> None:
        self.names: list[bytes] = []
        self._fields: dict[bytes, list[bytes]] = {}
        for name, field in _fields(header):
            self.names.append(name)
            self._fields.setdefault(name, []).append(field)

    def has_more(self, name: bytes, count: int) -> bool:
        """Return whether there are more than `count` fields of this name."""
        return len(self._fields.get(name, ())) > count

    def covered(self, names: Sequence[bytes], form: Canonicalisation, signature: bytes) -> bytes:
        """Return the octets that a DKIM-Signature field whose h= has `names` is over."""
        used: Counter[bytes] = Counter()
        pieces = []
        for name in names:
            fields = self._fields.get(name, ())
            used[name] += 1
            if used[name] <= len(fields):  # the last one first; a name too many stands for no octets
                pieces.append(_canonical(name, fields[-used[name]], form))
        pieces.append(_canonical(_SIGNATURE, _without_value(signature), form).removesuffix(b"\r\n"))
        return b"".join(pieces)


def _fields(header: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each field's name in lower case and its octets, the last CRLF included."""
    name, lines = b"", list[bytes]()
    for line in header.removesuffix(b"\r\n").split(b"\r\n"):
        if line.startswith((b" ", b"\t")):
            lines.append(line)
            continue
        if name:
            yield name, b"\r\n".join((*lines, b""))
        match = _NAME.match(line)
        name, lines = (match[1].lower() if match else b""), [line]
    if name:
        yield name, b"\r\n".join((*lines, b""))


def _canonical(name: bytes, field: bytes, form: Canonicalisation) -> bytes:
    if form == "simple":
        return field
    value = _BLANKS.sub(b" ", field.partition(b":")[2].replace(b"\r\n", b""))
    return b"%b:%b\r\n" % (name, value.strip(b" "))


def _without_value(field: bytes) -> bytes:
    """Return a DKIM-Signature field with the value of its b= taken out, and the white space around that."""
    name, _, body = field.partition(b":")
    tags = body.split(b";")
    for number, tag in enumerate(tags):
        before, equals, _ = tag.partition(b"=")
        if equals and before.strip(b" \t\r\n") == b"b":
            tags[number] = before + b"="
    return name + b":" + b";".join(tags)
