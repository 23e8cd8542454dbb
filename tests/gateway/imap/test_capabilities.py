"""The capability line, beside the list of RFCs."""

import re
from pathlib import Path

from gateway.imap.capabilities import AFTER_LOGIN, BEFORE_LOGIN, CAPABILITIES, ENABLEABLE
from tests.gateway.imap.conftest import Site

_ROWS = [line.split("\t") for line in (Path(__file__).parents[3] / "docs" / "rfcs.tsv").read_text().splitlines()[1:]]


def test_every_capability_is_in_the_list_of_rfcs() -> None:
    """docs/rfcs.tsv says how far each capability goes, and none of them is said to be missing."""
    offered = {row[0] for row in _ROWS if row[2] != "-"}
    named = {**CAPABILITIES, **BEFORE_LOGIN, **AFTER_LOGIN}
    assert {str(rfc) for rfc in named.values()} <= offered


def test_every_imap_row_is_a_capability() -> None:
    """An IMAP extension that the list says is there is one that clients are told of."""
    announced = {str(rfc) for rfc in (*CAPABILITIES.values(), *BEFORE_LOGIN.values())}
    # response codes only, and one whose value depends on the configuration
    elsewhere = {"4469", "5530", "7889"}
    listed = {row[0] for row in _ROWS if row[1].startswith("IMAP") and row[2] != "-"}
    assert listed - elsewhere == announced - {"4959"}


def test_what_can_be_enabled_is_announced() -> None:
    """RFC 5161 §3.1: ENABLE knows only what CAPABILITY names."""
    assert set(ENABLEABLE.values()) <= set(CAPABILITIES)


async def test_capability_line(site: Site) -> None:
    """CAPABILITY says each name once; of the two kinds of literals one, by state (RFC 7888 §4)."""
    client = await site.client(login=False)
    (before,) = await client.ok("CAPABILITY")
    await client.ok("LOGIN alice secret")
    (after,) = await client.ok("CAPABILITY")
    for line in (before, after):
        names = line.decode("ascii").split()[2:]
        assert len(names) == len(set(names))
        assert set(CAPABILITIES) <= set(names)
    assert re.search(rb" LITERAL-( |$)", before)
    assert b"LITERAL+" not in before
    assert re.search(rb" LITERAL\+( |$)", after)
    assert b"LITERAL-" not in after
