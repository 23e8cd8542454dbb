"""IP addresses: one canonical form each, and who is counted as one peer."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcore.networks import holder, is_dialable, is_loopback, numeric, parsed, subnet


@given(st.one_of(st.text(max_size=50), st.ip_addresses().map(str)))
def test_every_host_is_one_canonical_address_or_none(host: str) -> None:
    """What `numeric` returns is an address that it leaves unchanged, none mapped, within its subnet and holder."""
    canonical = numeric(host)
    if canonical is None:
        assert holder(host) == subnet(host) == host
        assert not is_loopback(host)
        return
    assert numeric(canonical) == canonical
    address = ipaddress.ip_address(canonical)
    assert address == parsed(host)
    assert not isinstance(address, ipaddress.IPv6Address) or address.ipv4_mapped is None
    assert address in ipaddress.ip_network(subnet(host))
    assert address in ipaddress.ip_network(holder(host))


def test_neighbours_share_a_subnet_and_one_host_is_one_peer() -> None:
    """A /24 or /48 is one subnet; an IPv6 host that changes its address within its /64 is one peer."""
    assert subnet("198.51.100.1") == subnet("198.51.100.255") != subnet("198.51.101.1")
    assert subnet("2001:db8:1::1") == subnet("2001:db8:1:ffff::1") != subnet("2001:db8:2::1")
    assert holder("198.51.100.1") == "198.51.100.1"
    assert holder("2001:db8::1") == holder("2001:db8::ffff:1") == "2001:db8::/64" != holder("2001:db8:0:1::1")


def test_however_a_socket_writes_an_address_it_is_one_peer() -> None:
    """An IPv4 peer of a socket of both families, and an IPv6 peer with a zone, are who they are without."""
    assert holder("::ffff:198.51.100.1") == holder("198.51.100.1")
    assert subnet("::ffff:198.51.100.1") == subnet("198.51.100.1")
    assert holder("fe80::1%eth0") == holder("fe80::2%eth0") == "fe80::/64"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_loopback(host: str) -> None:
    """Every form of a loopback address is this machine."""
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["192.0.2.1", "::ffff:192.0.2.1", "::", "0.0.0.0", "fe80::1%eth0", "localhost", ""])
def test_not_loopback(host: str) -> None:
    """Any other address is not, and no name is."""
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "host", ["192.0.2.1", "127.0.0.1", "10.0.0.1", "::1", "fd00::1", "fe80::1%eth0", "mx.example.org", "localhost"]
)
def test_dialable(host: str) -> None:
    """An address that one host has, and any name: what it means is not asked here."""
    assert is_dialable(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "0.0.0.0",
        "::",
        "::ffff:0.0.0.0",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "fe80::1%a b",
        "a\tb",
        "a" * 256,
    ],
)
def test_not_dialable(host: str) -> None:
    """What no host has, or a group has, and what is no name."""
    assert not is_dialable(host)
