"""The whole examination of a machine, with a fake name server and a fake MTA for the rest of the world."""

import json
from collections.abc import AsyncIterator

import pytest

from gateway import config as configuration
from gateway.doctor.examination import examine
from gateway.doctor.findings import Finding
from gateway.site import Site
from p2pcore.clock import system_clock
from tests.support.fake_dns import FakeDns
from tests.support.fake_mta import FakeMta


@pytest.fixture
async def dns() -> AsyncIterator[FakeDns]:
    dns = FakeDns("outside.example MX 10 mx.outside.example\nmx.outside.example A 127.0.0.1")
    await dns.start()
    yield dns
    await dns.stop()


async def findings(site: Site, dns: FakeDns, mta: FakeMta, *overrides: str) -> list[Finding]:
    config = configuration.load(site.config_file, [f'outbound.resolvers=["{dns.endpoint}"]', *overrides])
    return await examine(Site(site.config_file, config), system_clock, "outside.example", port=mta.port)


async def test_a_machine_without_a_name_is_asked_for_that_first(site: Site, dns: FakeDns, mta: FakeMta) -> None:
    """No line for a zone names localhost: whoever pasted it would lead everybody to her own machine."""
    found = await findings(site, dns, mta)
    assert (found[0].check, found[0].level) == ("host name", "fail")
    assert [each for each in found if " IN " in each.remedy or each.check == "port 25 in"] == []
    named = await findings(site, dns, mta, "smtp.hostname=mx1.example.org")
    assert [each.level for each in named if each.check == "port 25 in"] == ["fail"]


@pytest.mark.parametrize(
    ("roles", "deliver", "tried"),
    [
        (["node", "gateway"], "gateway", True),
        (["node", "agent"], "direct", True),
        (["node", "agent"], "gateway", False),
        (["node"], "direct", False),
    ],
)
async def test_the_way_out_is_tried_where_mail_leaves(
    site: Site, dns: FakeDns, mta: FakeMta, roles: list[str], deliver: str, tried: bool
) -> None:
    """By a gateway, and by an agent that delivers to MX hosts itself."""
    found = await findings(site, dns, mta, f"domain.roles={json.dumps(roles)}", f"submission.deliver={deliver}")
    assert [each.level for each in found if each.check == "port 25 out"] == (["ok"] if tried else [])
