"""Whose DMARC record says what is to be done with an author's mail (RFC 7489 §6.6.3)."""

from collections.abc import AsyncIterator

import pytest

from gateway.smtp.dmarc import Policy
from gateway.smtp.lookups import Lookups, Published
from p2pcore.errors import CannotKnow
from tests.gateway.smtp.world import NOW, FakeDns

AUTHOR = "sub.example.net"
ORGANISATION = b"v=DMARC1; p=reject; sp=quarantine"
INHERITED = Published(Policy("reject", "quarantine"), inherited=True)


@pytest.fixture
def dns() -> FakeDns:
    return FakeDns({("_dmarc.example.net", "TXT"): ((ORGANISATION,),)})


@pytest.fixture
async def lookups(dns: FakeDns) -> AsyncIterator[Lookups]:
    made = Lookups(dns, lambda: NOW, 60)
    yield made
    await made.stop()


@pytest.mark.parametrize(
    ("records", "published"),
    [
        ([], INHERITED),
        ([b"v=spf1 -all", b"p=none; v=DMARC1", b"garbage; v=DMARC1; p=none"], INHERITED),  # steps 2 and 3
        ([b"v=DMARC1; p=none"], Published(Policy("none", "none"), inherited=False)),
        ([b"other", b"v=DMARC1; p=none"], Published(Policy("none", "none"), inherited=False)),
        ([b"v=DMARC1; p=none", b"v=DMARC1; p=none"], Published(None, inherited=False)),  # step 5
        ([b"v=DMARC1; p=none", b"v=DMARC1; p=bogus"], Published(None, inherited=False)),
        ([b"v=DMARC1; p=bogus"], Published(None, inherited=False)),  # step 6
    ],
)
async def test_whose_policy(lookups: Lookups, dns: FakeDns, records: list[bytes], published: Published) -> None:
    """The organisation's where the author's domain has no record, not where it has several or one that is none."""
    dns.records[f"_dmarc.{AUTHOR}", "TXT"] = tuple((record,) for record in records)
    assert await lookups.policy.get(AUTHOR) == published


async def test_an_organisation_inherits_from_nobody(lookups: Lookups) -> None:
    """Its own record is not sp='s business."""
    assert await lookups.policy.get("example.net") == Published(Policy("reject", "quarantine"), inherited=False)


async def test_several_records_of_the_organisation_are_none(lookups: Lookups, dns: FakeDns) -> None:
    """Step 5 is for its records as well."""
    dns.records["_dmarc.example.net", "TXT"] = ((ORGANISATION,), (ORGANISATION,))
    assert (await lookups.policy.get(AUTHOR)).policy is None


@pytest.mark.parametrize("name", [f"_dmarc.{AUTHOR}", "_dmarc.example.net"])
async def test_what_dns_does_not_say_is_not_made_up(lookups: Lookups, dns: FakeDns, name: str) -> None:
    """Neither is the organisation's policy taken for a domain whose own cannot be known."""
    dns.broken.add(name)
    with pytest.raises(CannotKnow):
        await lookups.policy.get(AUTHOR)
