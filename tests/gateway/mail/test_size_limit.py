"""SIZE's parameter in a host's answer to EHLO (RFC 1870)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mail.size_limit import size_limit


@given(st.text(max_size=30) | st.integers(0, 6_000).map(lambda count: "9" * count))
def test_any_parameter_is_a_bounded_number(value: str) -> None:
    """Invariant: whatever a host says, the limit is a number of at most 20 digits, and nothing is raised."""
    assert 0 <= size_limit(value) < 10**20


@pytest.mark.parametrize(
    ("value", "octets"), [("", 0), ("0", 0), ("35882577", 35_882_577), ("-1", 0), ("1k", 0), ("१", 0), ("9" * 21, 0)]
)
def test_limits(value: str, octets: int) -> None:
    """§3: no parameter and zero mean that there is no fixed limit; what is no size-value (§6) means the same."""
    assert size_limit(value) == octets
