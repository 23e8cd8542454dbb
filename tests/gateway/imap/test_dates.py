"""Dates of SEARCH, APPEND and INTERNALDATE."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.imap.dates import parse_date, parse_date_time
from gateway.imap.errors import Bad
from gateway.imap.responses import internal_date
from gateway.mailbox.model import MessageRow


def test_date() -> None:
    """A day of one or two digits, a month in any case."""
    assert parse_date("1-feb-1994") == date(1994, 2, 1)
    assert parse_date("01-FEB-1994") == date(1994, 2, 1)


@pytest.mark.parametrize("text", ["", "30-Feb-2020", "1-Foo-2020", "1-Feb-20", "2020-02-01", "1-Feb-0000"])
def test_what_is_no_date(text: str) -> None:
    """Days that do not exist and other formats are refused."""
    with pytest.raises(Bad):
        parse_date(text)


@given(st.integers(0, 4_102_444_800), st.integers(-14 * 60, 14 * 60))
def test_internal_date_round_trip(seconds: int, zone: int) -> None:
    """INTERNALDATE, given back to APPEND, is the same moment in the same zone."""
    written = internal_date(MessageRow(1, 1, frozenset(), seconds, zone, 0))
    assert parse_date_time(written.decode("ascii").strip('"')) == (seconds, zone)


@given(st.text("0123456789-: +JanFeb", max_size=30))
def test_date_time_is_parsed_or_refused(text: str) -> None:
    """Whatever is given, the result is a moment or Bad."""
    try:
        seconds, zone = parse_date_time(text)
    except Bad:
        return
    assert isinstance(seconds, int)
    assert abs(zone) < 24 * 60
