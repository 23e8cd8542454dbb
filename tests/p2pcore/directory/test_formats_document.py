"""docs/formats.md says the same as p2pcore.records."""

import re
from pathlib import Path

import msgspec
import pytest

from p2pcore import records

DOCUMENT = (Path(__file__).parents[3] / "docs" / "formats.md").read_text()
RECORDS = [
    kind
    for kind in vars(records).values()
    if isinstance(kind, type) and issubclass(kind, records.Record) and kind is not records.Record
]


def entry(tag: str) -> str:
    """What the document's record blocks say of `tag`, from its line to the next record's."""
    blocks = "\n".join(re.findall(r"^```\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL))
    found = re.search(rf"^{re.escape(tag)} +(.*?)(?=^\S|\Z)", blocks, re.MULTILINE | re.DOTALL)
    assert found is not None, f"{tag} is not in docs/formats.md"
    return found[1]


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_document_lists_every_record_with_its_fields_in_order(kind: type[msgspec.Struct]) -> None:
    """Names and order are part of the format; a record that is missing or has changed is noticed here."""
    tag = kind.__struct_config__.tag
    assert isinstance(tag, str)
    written = [re.match(r"\s*(\w+)", field) for field in entry(tag).split("·")]
    names = [match[1] for match in written if match] if kind.__struct_fields__ else []
    assert tuple(names) == kind.__struct_fields__
