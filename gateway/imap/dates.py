"""Dates as commands carry them (RFC 3501 §9 `date` and `date-time`)."""

import re
from datetime import date, datetime, timedelta, timezone

from gateway.imap.errors import Bad

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"), start=1
    )
}
_DATE = re.compile(r"([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})\Z")
_DATE_TIME = re.compile(
    r"([ 0-9][0-9])-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})\Z"
)


def parse_date(text: str) -> date:
    """`1-Feb-1994`; raises Bad."""
    match = _DATE.match(text)
    try:
        if match is not None:
            return date(int(match[3]), _MONTHS[match[2].upper()], int(match[1]))
    except (ValueError, KeyError):
        pass
    raise Bad(f'"{text[:30]}" is not a date such as 1-Feb-1994')


def parse_date_time(text: str) -> tuple[int, int]:
    """` 1-Feb-1994 21:52:25 -0800` as Unix seconds and minutes east of UTC; raises Bad."""
    match = _DATE_TIME.match(text)
    try:
        if match is not None:
            minutes = (int(match[8]) * 60 + int(match[9])) * (-1 if match[7] == "-" else 1)
            when = datetime(
                int(match[3]),
                _MONTHS[match[2].upper()],
                int(match[1]),
                int(match[4]),
                int(match[5]),
                int(match[6]),
                tzinfo=timezone(timedelta(minutes=minutes)),
            )
            return int(when.timestamp()), minutes
    except (ValueError, KeyError, OverflowError):
        pass
    raise Bad(f'"{text[:40]}" is not a date and time such as "01-Feb-1994 21:52:25 -0800"')
