"""MTA-STS policies from a fake name server and a fake HTTPS host (RFC 8461 §3, §5.1)."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from gateway.outbound.mta_sts import FETCH_PAUSE, REFRESH, MtaSts
from gateway.outbound.sts_cache import CachedPolicy, PolicyCache
from gateway.outbound.sts_policy import Policy
from gateway.resolver import Resolver
from p2pcore.crypto.tls import make_server_certificate, server_context
from tests.support.fake_dns import FakeDns
from tests.support.identities import ManualClock

TEXT = "version: STSv1\nmode: {}\nmx: mx.remote.example\nmax_age: 604800\n"
ENFORCE = Policy("enforce", ("mx.remote.example",), 604_800)


def zone(identifier: str) -> str:
    return f"""mta-sts.remote.example A 127.0.0.1
    _mta-sts.remote.example TXT "v=STSv1; id={identifier};"
    """


class Host:
    """An HTTPS host for mta-sts.remote.example; `asked` counts requests."""

    def __init__(self) -> None:
        self.text = TEXT.format("enforce")
        self.status = 200
        self.kind = "text/plain"
        self.asked = 0
        self.seen = asyncio.Event()
        self.port = 0

    async def serve(self, request: web.Request) -> web.Response:
        assert (request.host.partition(":")[0], request.path) == ("mta-sts.remote.example", "/.well-known/mta-sts.txt")
        self.asked += 1
        self.seen.set()
        headers = {"Location": str(request.url) + "?again"} if self.status == 301 else {}
        return web.Response(text=self.text, status=self.status, content_type=self.kind, headers=headers)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("https")
    for path, octets in zip(("cert.pem", "key.pem"), make_server_certificate(["mta-sts.remote.example"]), strict=True):
        (directory / path).write_bytes(octets)
    return directory / "cert.pem", directory / "key.pem"


@pytest.fixture
async def host(files: tuple[Path, Path]) -> AsyncIterator[Host]:
    host = Host()
    application = web.Application()
    application.router.add_get("/.well-known/mta-sts.txt", host.serve)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(*files))
    await site.start()
    host.port = runner.addresses[0][1]
    yield host
    await runner.cleanup()


@pytest.fixture
def sts(host: Host, dns: FakeDns, clock: ManualClock, files: tuple[Path, Path], tmp_path: Path) -> MtaSts:
    dns.replace(zone("a1"))
    roots = ssl.create_default_context(cafile=str(files[0]))
    cache = PolicyCache(tmp_path / "mta-sts")
    return MtaSts(FreshResolver(dns), cache, clock, port=host.port, tls=roots)


class FreshResolver(Resolver):
    """A resolver that remembers no answer, so that a changed zone counts at once."""

    def __init__(self, dns: FakeDns) -> None:
        super().__init__([dns.endpoint], timeout=2_000)
        self._resolver.cache = None


async def test_a_policy_is_fetched_once_and_kept(
    sts: MtaSts, host: Host, dns: FakeDns, clock: ManualClock, tmp_path: Path
) -> None:
    """A domain whose ID stays is not asked again within a day, also by a process that was started meanwhile."""
    assert await sts.policy("remote.example") == ENFORCE
    assert await sts.policy("remote.example") == ENFORCE
    restarted = MtaSts(FreshResolver(dns), PolicyCache(tmp_path / "mta-sts"), clock, port=1)
    assert await restarted.policy("remote.example") == ENFORCE
    assert host.asked == 1


async def test_a_new_identifier_brings_the_new_policy(sts: MtaSts, host: Host, dns: FakeDns) -> None:
    """The ID in DNS says that the policy changed."""
    assert await sts.policy("remote.example") == ENFORCE
    host.text = TEXT.format("none")
    dns.replace(zone("a2"))
    policy = await sts.policy("remote.example")
    assert policy is not None
    assert policy.mode == "none"


async def test_a_policy_a_day_old_is_looked_at_again(sts: MtaSts, host: Host, clock: ManualClock) -> None:
    """§10.2: even under the same ID, so that it does not run out while nobody looks."""
    await sts.policy("remote.example")
    clock.advance(REFRESH)
    assert await sts.policy("remote.example") == ENFORCE
    assert host.asked == 2


async def test_policies_are_kept_fresh_without_any_mail(
    sts: MtaSts, host: Host, dns: FakeDns, clock: ManualClock, tmp_path: Path
) -> None:
    """§3.3: looked at once a day before its end, so that hiding the successor later does not help."""
    await sts.policy("remote.example")
    await sts.refresh()
    assert host.asked == 1
    for _ in range(8):  # more days than its max_age has
        clock.advance(REFRESH + 1)
        await sts.refresh()
    assert host.asked == 9
    dns.broken.add("_mta-sts.remote.example")
    assert (
        await MtaSts(FreshResolver(dns), PolicyCache(tmp_path / "mta-sts"), clock, port=1).policy("remote.example")
        == ENFORCE
    )
    clock.advance(604_800_000)
    assert PolicyCache(tmp_path / "mta-sts").due(clock(), clock()) == ()  # over: it is not asked for by itself any more


async def test_the_freshness_begins_and_ends_with_its_owner(sts: MtaSts, host: Host, clock: ManualClock) -> None:
    """What was a day old when the process began is looked at then."""
    await sts.policy("remote.example")
    clock.advance(REFRESH + 1)
    host.seen.clear()
    sts.start()
    async with asyncio.timeout(20):
        await host.seen.wait()
    await sts.stop()
    assert host.asked == 2


async def test_a_cached_policy_holds_where_dns_and_host_say_nothing(
    sts: MtaSts, host: Host, dns: FakeDns, clock: ManualClock
) -> None:
    """§5.1: whoever takes the record or the host away does not take the policy away before its max_age."""
    await sts.policy("remote.example")
    dns.replace("mta-sts.remote.example A 127.0.0.1")
    assert await sts.policy("remote.example") == ENFORCE
    dns.broken.add("_mta-sts.remote.example")
    assert await sts.policy("remote.example") == ENFORCE
    dns.broken.clear()
    dns.replace(zone("a2"))
    host.status = 500
    assert await sts.policy("remote.example") == ENFORCE
    clock.advance(604_800_000)
    assert await sts.policy("remote.example") is None


@pytest.mark.parametrize("fault", ["status", "redirect", "kind", "large", "nonsense", "no host"])
async def test_a_policy_that_cannot_be_had_is_none(sts: MtaSts, host: Host, dns: FakeDns, fault: str) -> None:
    """§3.3: only 200 with text/plain counts, redirects are not followed, and a file has a bound."""
    match fault:
        case "status":
            host.status = 404
        case "redirect":
            host.status = 301
        case "kind":
            host.kind = "text/html"
        case "large":
            host.text += "x: y\n" * 20_000
        case "nonsense":
            host.text = "<html>"
        case "no host":
            dns.replace('_mta-sts.remote.example TXT "v=STSv1; id=a1"')
    assert await sts.policy("remote.example") is None
    assert host.asked == (0 if fault == "no host" else 1)


async def test_a_host_with_another_certificate_says_nothing(
    host: Host, dns: FakeDns, clock: ManualClock, files: tuple[Path, Path], tmp_path: Path
) -> None:
    """§3.3: the certificate is one for mta-sts.<domain> and leads to an authority that we trust."""
    dns.replace(zone("a1").replace("remote", "other"))
    roots = ssl.create_default_context(cafile=str(files[0]))
    for tls in (roots, None):
        sts = MtaSts(FreshResolver(dns), PolicyCache(tmp_path / "none"), clock, port=host.port, tls=tls)
        assert await sts.policy("other.example") is None
    assert host.asked == 0


async def test_a_failed_fetch_is_not_repeated_at_once(
    sts: MtaSts, host: Host, dns: FakeDns, clock: ManualClock
) -> None:
    """§3.3: a domain whose host fails is left alone for some minutes, unless its ID changes."""
    host.status = 500
    for _ in range(3):
        assert await sts.policy("remote.example") is None
    assert host.asked == 1
    dns.replace(zone("a2"))
    await sts.policy("remote.example")
    assert host.asked == 2
    clock.advance(FETCH_PAUSE)
    host.status = 200
    assert await sts.policy("remote.example") == ENFORCE


async def test_a_clock_set_back_by_a_day_delays_no_fetch(
    sts: MtaSts, host: Host, dns: FakeDns, clock: ManualClock
) -> None:
    """Neither the pause after a failure nor a policy's age is counted from a time that has not come."""
    host.status = 500
    assert await sts.policy("remote.example") is None
    clock.advance(-REFRESH)
    host.status = 200
    assert await sts.policy("remote.example") == ENFORCE
    clock.advance(-REFRESH)
    assert await sts.policy("remote.example") == ENFORCE
    assert host.asked == 3


def test_a_damaged_file_is_no_policy(tmp_path: Path) -> None:
    """What cannot be read is fetched again; what belongs to another domain is not believed."""
    cache = PolicyCache(tmp_path)
    cache.write(CachedPolicy("a.example", "1", ENFORCE, 0))
    (file,) = tmp_path.iterdir()
    octets = file.read_bytes()
    file.write_bytes(octets[:-3])
    assert cache.read("a.example") is None
    file.write_bytes(octets.replace(b"a.example", b"b.example"))
    assert cache.read("a.example") is None


def test_the_cache_has_a_bound(tmp_path: Path) -> None:
    """Beyond it the oldest policies go."""
    cache = PolicyCache(tmp_path, most=3)
    for number in range(6):
        cache.write(CachedPolicy(f"d{number}.example", "1", ENFORCE, 0))
    assert len(list(tmp_path.iterdir())) == 3
    assert cache.read("d5.example") is not None
