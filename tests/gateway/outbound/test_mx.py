"""MX by RFC 5321 §5.1 and RFC 7505, asked of a real resolver and a fake name server."""

import random

import pytest

from gateway.outbound.errors import NotDelivered
from gateway.outbound.model import destination_of
from gateway.outbound.mx import MailExchangers, exchanges
from gateway.outbound.params import HOST_ENDPOINTS, MAX_ENDPOINTS, MAX_HOSTS
from gateway.resolver import Resolver
from p2pcore.endpoint import Endpoint
from tests.support.fake_dns import FakeDns

ZONE = """
two.example.     MX 20 b.two.example.
two.example.     MX 10 a.two.example.
a.two.example.   A 192.0.2.1
a.two.example.   AAAA 2001:db8::1
b.two.example.   A 192.0.2.2
implicit.example. A 192.0.2.3
null.example.    MX 0 .
gone.example.    MX 10 nowhere.example.
us.example.      MX 10 mx.example.org.
us.example.      MX 20 later.example.
before.example.  MX 5 a.two.example.
before.example.  MX 10 MX.example.org.
before.example.  MX 10 b.two.example.
mx.example.org.  A 192.0.2.9
alias.example.   MX 10 other-name.example.
other-name.example. A 192.0.2.9
empty.example.   TXT "no mail here"
six.example.     MX 10 six-host.example.
six-host.example. AAAA 2001:db8::6
halves.example.  MX 10 nowhere.example.
halves.example.  MX 20 b.two.example.
same.example.    MX 10 b.two.example.
same.example.    MX 10 other-name.example.
same.example.    MX 5 a.two.example.
odd_name.example. MX 10 b.two.example.
"""


def of(dns: FakeDns, **options: object) -> MailExchangers:
    dns.add(ZONE)
    resolver = Resolver([dns.endpoint], timeout=2_000)
    own = {"own_names": ["mx.example.org"], "own_endpoints": [Endpoint("192.0.2.9", 25)]}
    return MailExchangers(resolver, **{**own, "rng": random.Random(1), **options})  # type: ignore[arg-type]


async def addresses(exchangers: MailExchangers, domain: str) -> list[str]:
    return [target.address for target in await exchangers.targets(domain)]


async def test_hosts_are_tried_by_preference_with_all_their_addresses(dns: FakeDns) -> None:
    """The lowest preference comes first; A and AAAA both count."""
    assert await addresses(of(dns), "two.example") == ["192.0.2.1", "2001:db8::1", "192.0.2.2"]


async def test_a_domain_without_mx_is_its_own_host(dns: FakeDns) -> None:
    """The implicit MX is the domain's own address."""
    assert await addresses(of(dns), "implicit.example") == ["192.0.2.3"]


@pytest.mark.parametrize(
    ("domain", "status"),
    [
        ("null.example", "5.1.10"),
        ("no-such-domain.example", "5.1.2"),
        ("gone.example", "5.4.4"),
        ("empty.example", "5.4.4"),
        ("us.example", "5.4.6"),
        ("alias.example", "5.4.6"),
        ("", "5.1.2"),
        ("[not-an-address]", "5.1.2"),
        ("[192.0.2.9]", "5.4.6"),
    ],
)
async def test_domains_that_take_no_mail_fail_at_once(dns: FakeDns, domain: str, status: str) -> None:
    """Null MX, no such domain, no address and a way back to ourselves are permanent, each with its status."""
    with pytest.raises(NotDelivered) as caught:
        await of(dns).targets(domain)
    assert (caught.value.status, caught.value.permanent) == (status, True)


async def test_ourselves_and_everything_less_preferred_are_left_out(dns: FakeDns) -> None:
    """Of a list that names us only what is preferred to us is tried, or mail would loop."""
    assert await addresses(of(dns), "before.example") == ["192.0.2.1", "2001:db8::1"]


async def test_a_name_server_that_fails_is_temporary(dns: FakeDns) -> None:
    """SERVFAIL says nothing about the domain: the mail waits."""
    dns.broken.add("two.example")
    with pytest.raises(NotDelivered) as caught:
        await of(dns).targets("two.example")
    assert caught.value.status == "4.4.3"


async def test_a_host_whose_address_is_unknown_now_does_not_stop_the_others(dns: FakeDns) -> None:
    """One broken MX name is passed over, and only all of them broken make the mail wait."""
    dns.broken.add("a.two.example")
    assert await addresses(of(dns), "two.example") == ["192.0.2.2"]
    dns.broken.add("b.two.example")
    with pytest.raises(NotDelivered) as caught:
        await of(dns, rng=random.Random(2)).targets("before.example")
    assert caught.value.status == "4.4.3"


async def test_hosts_of_one_preference_are_shuffled(dns: FakeDns) -> None:
    """With other randomness comes another order, within a preference only."""
    dns.add("many.example. MX 5 m5.example.")
    dns.add("m5.example. A 192.0.2.50")
    for number in range(4):
        dns.add(f"many.example. MX 10 m{number}.many.example.\nm{number}.many.example. A 192.0.2.{100 + number}")
    orders = [tuple(await addresses(of(dns, rng=random.Random(seed)), "many.example")) for seed in range(6)]
    assert len(set(orders)) > 1
    assert {order[0] for order in orders} == {"192.0.2.50"}
    assert {frozenset(order) for order in orders} == {frozenset(orders[0])}


async def test_the_list_is_bounded(dns: FakeDns) -> None:
    """A domain with a hundred hosts costs a bounded number of questions and connections."""
    for number in range(100):
        dns.add(f"huge.example. MX {number} h{number}.example.\nh{number}.example. A 198.51.100.{number}")
    assert len(await addresses(of(dns), "huge.example")) == MAX_ENDPOINTS
    asked = {name for name, kind in dns.asked if kind == "A" and name.startswith("h")}
    assert len(asked) == MAX_HOSTS


async def test_address_literals_need_no_dns(dns: FakeDns) -> None:
    """user@[192.0.2.7] goes to that address."""
    assert await addresses(of(dns), "[192.0.2.7]") == ["192.0.2.7"]
    assert await addresses(of(dns), "[ipv6:2001:db8::7]") == ["2001:db8::7"]
    assert not dns.asked


async def test_a_smarthost_takes_everything(dns: FakeDns) -> None:
    """With a smarthost no domain's MX is asked for."""
    exchangers = of(dns, smarthost=Endpoint("implicit.example", 2525))
    (target,) = await exchangers.targets("null.example")
    assert (target.host, target.address, target.port) == ("implicit.example", "192.0.2.3", 2525)


def test_a_null_mx_beside_others_is_ignored() -> None:
    """RFC 7505 §3: only a null MX on its own means that the domain takes no mail."""
    assert [each.host for each in exchanges("d.example", [(0, ""), (10, "mx.d.example")])] == ["mx.d.example"]


async def test_hosts_without_an_address_are_passed_over(dns: FakeDns) -> None:
    """An MX name that does not exist costs nothing where another host has an address."""
    assert await addresses(of(dns), "halves.example") == ["192.0.2.2"]


async def test_a_host_with_ipv6_only(dns: FakeDns) -> None:
    """AAAA alone makes a host; where A cannot be looked up, AAAA is used, and the other way about."""
    assert await addresses(of(dns), "six.example") == ["2001:db8::6"]
    dns.broken.add("six-host.example A")
    assert await addresses(of(dns), "six.example") == ["2001:db8::6"]
    dns.broken = {"a.two.example AAAA"}
    assert (await addresses(of(dns), "two.example"))[0] == "192.0.2.1"


async def test_our_address_cuts_the_list_as_our_name_does(dns: FakeDns) -> None:
    """What is not preferred to a host with our address is left out, in whatever order equals are shuffled."""
    for seed in range(8):
        assert await addresses(of(dns, rng=random.Random(seed)), "same.example") == ["192.0.2.1", "2001:db8::1"]


@pytest.mark.parametrize("domain", ["us.example", "alias.example"])
async def test_a_domain_that_we_serve_may_lead_to_us(dns: FakeDns, domain: str) -> None:
    """Mail between two domains of one gateway's process goes by MX to this very host, and does not loop."""
    assert "192.0.2.9" in await addresses(of(dns, served=[domain]), domain)


async def test_a_name_outside_idna_is_asked_for(dns: FakeDns) -> None:
    """DNS holds names that no rule of IDNA allows, and their users get mail."""
    assert destination_of("x@Odd_Name.example") == "odd_name.example"
    assert destination_of("x@xn--n3h.example.") == "xn--n3h.example"  # of an older IDNA
    assert destination_of("x@Bücher.example") == "xn--bcher-kva.example"
    assert destination_of(f"x@{'a' * 64}.example") == ""
    assert await addresses(of(dns), "odd_name.example") == ["192.0.2.2"]


async def test_one_host_with_many_addresses_leaves_room_for_the_next(dns: FakeDns) -> None:
    """Of each host at least two addresses are tried, and never its alone where there are others."""
    for number in range(30):
        dns.add(f"h1.wide.example. A 198.51.100.{number}")
    dns.add(
        "wide.example. MX 1 h1.wide.example.\nwide.example. MX 2 b.two.example.\nlone.example. MX 1 h1.wide.example."
    )
    found = await addresses(of(dns), "wide.example")
    assert (len(found), found[-1]) == (HOST_ENDPOINTS + 1, "192.0.2.2")
    assert len(await addresses(of(dns), "lone.example")) == MAX_ENDPOINTS


async def test_three_hundred_records_are_ten_hosts(dns: FakeDns) -> None:
    """An answer that needs TCP is read whole, and the ten most preferred of it are looked at."""
    dns.add("\n".join(f"big.example. MX {number} h{number}.big.example." for number in range(300)))
    dns.add("\n".join(f"h{number}.big.example. A 198.51.100.{number}" for number in range(12)))
    assert len(await addresses(of(dns), "big.example")) == MAX_HOSTS
    assert ("h10.big.example", "A") not in dns.asked


@pytest.mark.parametrize("address", ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1"])
async def test_what_no_host_can_have_is_not_dialled(dns: FakeDns, address: str) -> None:
    """An unspecified address would be this very machine, and all others of a group."""
    dns.add(f"odd.example. MX 1 odd-host.example.\nodd-host.example. {'AAAA' if ':' in address else 'A'} {address}")
    for domain in ("odd.example", f"[ipv6:{address}]" if ":" in address else f"[{address}]"):
        with pytest.raises(NotDelivered) as caught:
            await of(dns).targets(domain)
        assert caught.value.permanent


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1"])
async def test_a_gateway_that_listens_everywhere_knows_all_its_addresses(dns: FakeDns, address: str) -> None:
    """A domain whose MX leads back to us would be refused by ourselves, and no other of its hosts be tried."""
    dns.add(f"back.example. MX 1 back-host.example.\nback-host.example. {'AAAA' if ':' in address else 'A'} {address}")
    exchangers = of(dns, own_endpoints=[Endpoint("0.0.0.0", 25)])
    for domain in ("back.example", f"[ipv6:{address}]" if ":" in address else f"[{address}]"):
        with pytest.raises(NotDelivered) as caught:
            await exchangers.targets(domain)
        assert caught.value.status == "5.4.6"
    dns.add("far.example. A 203.0.113.77")  # of a network for documentation, so nobody's here
    assert await addresses(exchangers, "far.example") == ["203.0.113.77"]
    assert await addresses(of(dns), "back.example") == [address]


async def test_ipv4_inside_ipv6_is_ipv4(dns: FakeDns) -> None:
    """It is dialled as that, so it is judged as that (RFC 4291 §2.5.5.2)."""
    with pytest.raises(NotDelivered) as caught:
        await of(dns).targets("[ipv6:::ffff:192.0.2.9]")
    assert caught.value.status == "5.4.6"
    with pytest.raises(NotDelivered):
        await of(dns).targets("[ipv6:::ffff:0.0.0.0]")


async def test_an_mx_that_is_an_address_is_dialled(dns: FakeDns) -> None:
    """RFC 5321 §5.1 wants a name there; who wrote an address meant that host."""
    dns.add("number.example. MX 10 192.0.2.77.")
    assert await addresses(of(dns), "number.example") == ["192.0.2.77"]


@pytest.mark.parametrize("host", ["nowhere.example", "other-name.example", "0.0.0.0"])
async def test_a_smarthost_that_is_not_found_bounces_nothing(dns: FakeDns, host: str) -> None:
    """No address, our own, or none at all: it is the configuration that is wrong, and the mail waits."""
    with pytest.raises(NotDelivered) as caught:
        await of(dns, smarthost=Endpoint(host, 25)).targets("two.example")
    assert (caught.value.status, caught.value.permanent) == ("4.3.5", False)
    assert caught.value.reply.startswith("smarthost: ")
