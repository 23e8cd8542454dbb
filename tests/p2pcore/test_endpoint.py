"""endpoint: host and port as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcore.endpoint import Endpoint
from p2pcore.errors import Malformed

TEXTS = st.text(max_size=40) | st.from_regex(r"(\[[0-9a-f:]{0,9}\]|[a-z.]{0,9}):[0-9]{0,7}", fullmatch=True)


@given(TEXTS | st.integers(0, 6_000).map(lambda count: "host:" + "9" * count))
def test_any_text_is_an_endpoint_or_malformed(text: str) -> None:
    """Invariant: a text is Malformed, or an endpoint with a host and a port up to 65535 that is written so again."""
    try:
        endpoint = Endpoint.parse(text)
    except Malformed:
        return
    assert endpoint.host
    assert 0 <= endpoint.port <= 65_535
    assert Endpoint.parse(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("localhost:25", "localhost", 25), ("[::1]:0", "::1", 0), ("192.0.2.1:65535", "192.0.2.1", 65_535)],
)
def test_endpoints(text: str, host: str, port: int) -> None:
    """A name, an IPv4 address, or an IPv6 address in brackets."""
    assert Endpoint.parse(text) == Endpoint(host, port)
    assert str(Endpoint(host, port)) == text


@pytest.mark.parametrize(
    "text", ["localhost", ":25", "[]:25", "::1:25", "host:65536", "host:-1", "host:२५", "h:" + "9" * 5_000]
)
def test_what_is_no_endpoint(text: str) -> None:
    """No port, no host, an IPv6 address without brackets, a port that is none."""
    with pytest.raises(Malformed):
        Endpoint.parse(text)
