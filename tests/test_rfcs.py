"""docs/rfcs.tsv: every RFC that the code cites, where it is obeyed and how far."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROWS = [line.split("\t") for line in (ROOT / "docs" / "rfcs.tsv").read_text().splitlines()[1:]]
_CITED = re.compile(r"\bRFC (\d{3,4})\b")


def _listed() -> list[int]:
    numbers: list[int] = []
    for row in ROWS:
        first, _, last = row[0].partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def test_every_cited_rfc_is_listed_once_and_in_order() -> None:
    """Who looks up an RFC finds what of it is obeyed."""
    cited: set[int] = set()
    for package in ("gateway", "p2pcore"):
        for file in (ROOT / package).rglob("*.py"):
            cited.update(int(number) for number in _CITED.findall(file.read_text()))
    listed = _listed()
    assert cited - set(listed) == set()
    assert listed == sorted(set(listed))


def test_every_place_exists() -> None:
    """A row has four columns, and its files and packages are there; "-" is what is not done."""
    for row in ROWS:
        assert len(row) == 4, row
        for place in row[2].split(", "):
            assert place == "-" or (ROOT / place).exists(), row
