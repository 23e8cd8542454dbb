"""No way to write a From field leads DMARC, or the check of a submitter's own addresses, past the address shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mail.address_list import has_one_reading, parse_addresses
from gateway.smtp.dmarc import author_domains
from p2pcore.errors import Malformed
from tests.gateway.smtp.conftest import WorldMaker

TRICKS = [
    b"ceo@bank.example",
    b"ceo@bank.example, x@evil.example",
    b"x@evil.example, ceo@bank.example",
    b"<ceo@bank.example> x@evil.example",
    b"ceo@bank.example\r\n\tSender: x@evil.example",
    b"ceo@bank.example: x@evil.example;",
    b"<ceo@bank.example> <x@evil.example>",
    b"<ceo@bank.example, x@evil.example>",
    b"<x@evil.example> (<ceo@bank.example>",
    b'"x@evil.example" <ceo@bank.example>',
    b"ceo@bank.example, x@-.",
    b"x@[.., ceo@bank.example",
    b"ceo@bank.example, <x@" + b"a" * 300 + b">",
    b"<@evil.example:ceo@bank.example>",
]
PLAIN = [b"a@b.example", b"A B <a@b.example>", b'"A, B" <a@b.example>', b"<a@b.example> (a comment (nested))"]
PLAIN += [b"a@c.example <a@b.example>", b"", b"Friends: a@b.example, c@d.example;", b'"q \\" l"@b.example']


@pytest.mark.parametrize("value", TRICKS)
def test_a_shown_domain_is_judged(value: bytes) -> None:
    """Whatever else a From field holds, the domain that some reader may show is among those DMARC judges."""
    assert "bank.example" in author_domains(b"From: " + value + b"\r\n\r\n")


@pytest.mark.parametrize("value", PLAIN)
def test_ordinary_fields_have_one_reading(value: bytes) -> None:
    """Names, comments, quoted strings and groups as RFC 5322 §3.4 has them are not doubted."""
    assert has_one_reading(value)


@given(st.binary(max_size=60) | st.text('a@b.,:;<>()"\\ []', max_size=40).map(str.encode))
def test_any_field_has_one_reading_or_more(value: bytes) -> None:
    """Invariant: nothing is raised, and what has one reading has it without anything left over or left open."""
    if has_one_reading(value):
        assert value.replace(b"\\", b"").count(b"<") >= len([one for one in parse_addresses(value) if one.route])
        assert has_one_reading(value + b" ")


@pytest.mark.parametrize("header", [b"From: a@-\r\n", b'From: "ceo@bank.example" <>\r\n', b"From: ceo @\r\n"])
async def test_without_an_author_there_is_no_way_around_policies(header: bytes, new_world: WorldMaker) -> None:
    """A message whose From shows an address without a usable domain goes to Junk: no policy can be asked for."""
    with pytest.raises(Malformed):
        author_domains(header + b"Subject: x\r\n\r\n")
    async with new_world(verify="on") as world:
        client = await world.client()
        assert (await client.deliver(header + b"Subject: x\r\n\r\nx\r\n")).startswith("250")
        client.close()
    (message,) = world.network.messages
    verdicts = message.notifications["alice@example.org"].verdicts
    assert (verdicts.dmarc, verdicts.disposition) == ("permerror", "quarantine")
