"""SPF, DKIM and DMARC say what they can; what they cannot know never rejects."""

import base64
from collections.abc import AsyncIterator
from unittest import mock

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.smtp import params
from gateway.smtp.data import ChunkScanner
from gateway.smtp.dmarc import Checked
from gateway.smtp.examined import Examined
from gateway.smtp.limits import Client
from gateway.smtp.overrides import Overrides
from gateway.smtp.verify import Verification, Verifier
from tests.gateway.smtp.conftest import WorldMaker
from tests.gateway.smtp.world import DOMAIN, NOW, FakeDns, World

CLIENT = Client("192.0.2.25", "192.0.2.25", is_loopback=False, is_trusted=False, is_unlimited=False)
HEADER = b"From: Author <author@example.net>\r\nSubject: x\r\nDate: Mon, 21 Sep 2026 14:13:20 +0000\r\n"
BODY = b"body\r\n"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, 2_048)


@pytest.fixture
def zone(key: rsa.RSAPrivateKey) -> FakeDns:
    """example.net sends from 192.0.2.25 only, signs with s1, and asks to reject what is neither."""
    public = base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return FakeDns(
        {
            ("example.net", "TXT"): ((b"other",), (b"v=spf1 a:out.", b"example.net -all")),
            ("out.example.net", "A"): ("192.0.2.25",),
            ("s1._domainkey.example.net", "TXT"): ((b"v=DKIM1; p=", public),),
            ("_dmarc.example.net", "TXT"): ((b"v=DMARC1; p=reject; sp=quarantine",),),
            ("ptr:192.0.2.25", "PTR"): ("false.example.net", "out.example.net"),
        }
    )


@pytest.fixture
async def verifier(zone: FakeDns) -> AsyncIterator[Verifier]:
    made = Verifier(zone, lambda: NOW, mode="on", deadline=60_000, draw=lambda: 0)
    yield made
    await made.stop()


def sign(key: rsa.RSAPrivateKey, content: bytes = HEADER + b"\r\n" + BODY, **options: object) -> bytes:
    """`content` with a DKIM-Signature of example.net on top."""
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    with mock.patch("dkim.time") as clock:  # for t=
        clock.time.return_value = NOW / 1_000
        field = dkim.sign(content, b"s1", b"example.net", private, include_headers=[b"from"], **options)
    return bytes(field) + content


async def verify(verifier: Verifier, content: bytes, reverse_path: str = "author@example.net") -> Verification:
    examined, scanner = Examined(verified=True), ChunkScanner(len(content))
    for start in range(0, len(content), 1 << 20):
        examined.feed(scanner.feed(content[start : start + (1 << 20)]))
    hashes = examined.finish()
    return await verifier.verify(CLIENT, "out.example.net", reverse_path, examined.header.octets, hashes)


def results(verification: Verification) -> dict[str, str]:
    return {result.method: result.result for result in verification.results if result.method != "iprev"}


async def test_everything_passes(verifier: Verifier, key: rsa.RSAPrivateKey) -> None:
    """A signed message from the right host; the client's name is the one that leads back to it."""
    verification = await verify(verifier, sign(key))
    assert results(verification) == {"spf": "pass", "dkim": "pass", "dmarc": "pass"}
    assert verification.disposition == "deliver"
    assert verification.client_name == "out.example.net"
    assert (verification.spf, verification.dkim, verification.dmarc) == (
        "pass example.net",
        "pass example.net;",
        "pass example.net",
    )


async def test_forwarded_mail_passes_by_its_signature(verifier: Verifier, key: rsa.RSAPrivateKey) -> None:
    """SPF of another domain does not matter where DKIM is aligned."""
    verification = await verify(verifier, sign(key), "list@lists.example.com")
    assert results(verification) == {"spf": "none", "dkim": "pass", "dmarc": "pass"}


async def test_a_forged_author_is_rejected(verifier: Verifier, zone: FakeDns) -> None:
    """p=reject is honoured where nothing is aligned."""
    zone.records["out.example.net", "A"] = ("192.0.2.99",)
    verification = await verify(verifier, HEADER + b"\r\n" + BODY)
    assert results(verification) == {"spf": "fail", "dkim": "none", "dmarc": "fail"}
    assert verification.disposition == "reject"
    assert verification.client_name == ""


async def test_a_changed_body_is_rejected(verifier: Verifier, key: rsa.RSAPrivateKey) -> None:
    """The signature fails, and SPF passed for somebody else's domain."""
    verification = await verify(verifier, sign(key) + b"more\r\n", "list@lists.example.com")
    assert results(verification)["dkim"] == "fail"
    assert verification.disposition == "reject"


async def test_octets_appended_past_l_do_not_pass(verifier: Verifier, key: rsa.RSAPrivateKey) -> None:
    """A signature that covers only a part of the body speaks for nothing (RFC 6376 §8.2)."""
    signed = sign(key, length=True)
    assert results(await verify(verifier, signed))["dkim"] == "pass"
    verification = await verify(verifier, signed + b"something else\r\n", "list@lists.example.com")
    assert results(verification) == {"spf": "none", "dkim": "policy", "dmarc": "fail"}


async def test_subdomains_have_their_own_request(verifier: Verifier) -> None:
    """sp=quarantine for a subdomain without a record."""
    content = HEADER.replace(b"@example.net", b"@sub.example.net") + b"\r\n" + BODY
    verification = await verify(verifier, content, "x@elsewhere.example")
    assert results(verification)["dmarc"] == "fail"
    assert verification.disposition == "quarantine"


async def test_a_second_author_cannot_hide_the_first(verifier: Verifier) -> None:
    """The strictest verdict of all From domains holds."""
    content = b"From: x@elsewhere.example\r\n" + HEADER + b"\r\n" + BODY
    assert (await verify(verifier, content, "x@elsewhere.example")).disposition == "reject"


@pytest.mark.parametrize("name", ["example.net", "s1._domainkey.example.net", "_dmarc.example.net"])
@pytest.mark.parametrize("trouble", ["broken", "silent"])
async def test_what_cannot_be_known_never_rejects(
    name: str, trouble: str, zone: FakeDns, key: rsa.RSAPrivateKey
) -> None:
    """A DNS failure, or silence until the deadline, where the answer could have been a pass."""
    zone.records["out.example.net", "A"] = ("192.0.2.99",)
    getattr(zone, trouble).add(name)
    deadline = 300 if trouble == "silent" else 60_000
    verifier = Verifier(zone, lambda: NOW, mode="on", deadline=deadline, draw=lambda: 0)
    verification = await verify(verifier, sign(key))
    await verifier.stop()
    assert verification.disposition == ("defer" if "_domainkey" in name else "deliver")
    assert results(verification)["dmarc"] in ("temperror", "pass")
    assert "temperror" in results(verification).values()


@pytest.mark.parametrize("form", ["simple", "relaxed"])
async def test_large_messages_are_checked_as_well(verifier: Verifier, key: rsa.RSAPrivateKey, form: str) -> None:
    """20 MB, hashed a block at a time; one octet changed in the middle, and the signature fails."""
    content = HEADER + b"\r\n" + b"white \t space  \r\n\r\n" * 1_000_000
    signed = sign(key, content, canonicalize=(b"relaxed", form.encode()))
    assert results(await verify(verifier, signed, "x@elsewhere.example"))["dkim"] == "pass"
    middle = len(signed) // 2
    changed = signed[:middle] + signed[middle:].replace(b"w", b"W", 1)
    assert results(await verify(verifier, changed, "x@elsewhere.example"))["dkim"] == "fail"


async def test_l_beyond_the_body_is_an_error(verifier: Verifier, key: rsa.RSAPrivateKey) -> None:
    """RFC 6376 §3.5: l= must not be larger than the body, so nothing is left to be appended."""
    signed = sign(key, HEADER + b"\r\n" + BODY * 2, length=True)
    verification = await verify(verifier, signed.removesuffix(BODY), "list@lists.example.com")
    assert results(verification)["dkim"] == "permerror"


async def test_sha1_proves_nothing(verifier: Verifier, key: rsa.RSAPrivateKey) -> None:
    """RFC 8301 §3.1, however well it verifies."""
    signed = sign(key, signature_algorithm=b"rsa-sha1")
    assert results(await verify(verifier, signed, "list@lists.example.com"))["dkim"] == "permerror"


async def test_signatures_of_several_kinds(verifier: Verifier, key: rsa.RSAPrivateKey) -> None:
    """Each is judged by its own canonicalisation and length."""
    content = HEADER + b"\r\n" + b"a  b \r\n\r\n"
    signed = content
    for form in (b"simple", b"relaxed"):
        for length in (False, True):
            field = sign(key, content, canonicalize=(b"relaxed", form), length=length)
            signed = field[: field.index(b"From:")] + signed
    verification = await verify(verifier, signed)
    assert [one.result for one in verification.results if one.method == "dkim"] == ["pass"] * 4


@pytest.mark.parametrize("trouble", ["broken", "silent"])
async def test_spf_that_cannot_be_known_defers_what_would_be_rejected(zone: FakeDns, trouble: str) -> None:
    """p=reject, no signature, and SPF's DNS fails: 451 and not 550, nor is it let in (RFC 7208 §8.6)."""
    getattr(zone, trouble).add("example.net")
    deadline = 1_000 if trouble == "silent" else 60_000
    verifier = Verifier(zone, lambda: NOW, mode="on", deadline=deadline, draw=lambda: 0)
    verification = await verify(verifier, HEADER + b"\r\n" + BODY)
    await verifier.stop()
    assert results(verification) == {"spf": "temperror", "dkim": "none", "dmarc": "temperror"}
    assert verification.disposition == "defer"


@pytest.mark.parametrize("policy", [b"v=DMARC1; p=quarantine", b"v=DMARC1; p=none", b"v=DMARC1; p=reject; pct=0"])
async def test_it_defers_nothing_else(verifier: Verifier, zone: FakeDns, policy: bytes) -> None:
    """Who does not ask for rejection is delivered: waiting for DNS would gain nothing."""
    zone.broken.add("example.net")
    zone.records["_dmarc.example.net", "TXT"] = ((policy,),)
    assert (await verify(verifier, HEADER + b"\r\n" + BODY)).disposition == "deliver"


async def test_spf_of_another_domain_does_not_defer(verifier: Verifier, zone: FakeDns) -> None:
    """What could not have passed for the author anyway is judged as it is."""
    zone.broken.add("lists.example.com")
    verification = await verify(verifier, HEADER + b"\r\n" + BODY, "x@lists.example.com")
    assert (results(verification)["spf"], verification.disposition) == ("temperror", "reject")


async def test_a_policy_that_cannot_be_known_does_not_defer(
    verifier: Verifier, zone: FakeDns, key: rsa.RSAPrivateKey
) -> None:
    """RFC 7489 §6.6.3 leaves that to us: mail goes on."""
    zone.broken.add("_dmarc.example.net")
    verification = await verify(verifier, sign(key), "x@elsewhere.example")
    assert verification.disposition == "deliver"
    assert results(verification)["dmarc"] == "temperror"


async def test_an_aligned_key_that_cannot_be_known_defers(
    verifier: Verifier, zone: FakeDns, key: rsa.RSAPrivateKey
) -> None:
    """RFC 6376 §6.3, RFC 7489 §6.6.2: no pass either, or a name server that is down lets forgeries past p=reject."""
    zone.broken.add("s1._domainkey.example.net")
    verification = await verify(verifier, sign(key), "x@elsewhere.example")
    assert (results(verification)["dmarc"], verification.disposition) == ("temperror", "defer")


@pytest.mark.parametrize("trouble", ["broken", "silent"])
async def test_another_domains_key_that_cannot_be_known_changes_nothing(zone: FakeDns, trouble: str) -> None:
    """Whatever it would say, it would not be aligned."""
    getattr(zone, trouble).add("s._domainkey.attacker.example")
    verifier = Verifier(zone, lambda: NOW, mode="on", deadline=300, draw=lambda: 0)
    field = b"DKIM-Signature: v=1; a=rsa-sha256; d=attacker.example; s=s; h=from; bh=eA==; b=eA==\r\n"
    verification = await verify(verifier, field + HEADER + b"\r\n" + BODY, "x@attacker.example")
    await verifier.stop()
    assert results(verification)["dkim"] == "temperror"
    assert verification.disposition == "reject"


async def test_the_client_learns_that_it_is_temporary(new_world: WorldMaker, zone: FakeDns) -> None:
    """451 4.4.3 after the content; nothing is stored."""
    zone.broken.add("example.net")
    async with checked_world(new_world, zone) as world:
        world.dns.broken = zone.broken
        client = await world.client()
        reply = await client.deliver(HEADER + b"\r\n" + BODY, sender="author@example.net")
        client.close()
    assert reply == "451 4.4.3 DNS does not say now whether the domain in From sent this"
    assert world.network.messages == []


@pytest.mark.parametrize("trouble", ["", "broken", "lying"])
async def test_the_clients_name_is_a_result_of_its_own(verifier: Verifier, zone: FakeDns, trouble: str) -> None:
    """iprev (RFC 8601 §2.7.3): pass where a name leads back, fail where none does, temperror where DNS fails."""
    if trouble == "broken":
        zone.broken.add("ptr:192.0.2.25")
    elif trouble == "lying":
        zone.records["ptr:192.0.2.25", "PTR"] = ("false.example.net",)
    verification = await verify(verifier, HEADER + b"\r\n" + BODY)
    iprev = verification.results[-1]
    assert (iprev.method, iprev.properties) == ("iprev", (("policy.iprev", "192.0.2.25"),))
    assert iprev.result == {"": "pass", "broken": "temperror", "lying": "fail"}[trouble]
    assert verification.client_name == ("" if trouble else "out.example.net")


@pytest.mark.parametrize(
    ("overrides", "reverse_path", "disposition"),
    [
        (["192.0.2.0/24"], "x@elsewhere.example", "deliver"),
        (["192.0.3.0/24"], "x@elsewhere.example", "reject"),
        (["Example.COM"], "x@lists.example.com", "deliver"),
        (["lists.example.com"], "x@notlists.example.com", "reject"),
        (["elsewhere.example"], "x@elsewhere.example", "reject"),  # only said, and not shown
    ],
)
async def test_known_forwarders_and_lists_are_delivered(
    zone: FakeDns, overrides: list[str], reverse_path: str, disposition: str
) -> None:
    """Whatever policy their mail fails (RFC 7489 §6.7); the result still says that it fails."""
    for host in ("lists.example.com", "notlists.example.com"):
        zone.records[host, "TXT"] = ((b"v=spf1 ip4:192.0.2.25 -all",),)
    verifier = Verifier(zone, lambda: NOW, mode="on", draw=lambda: 0, overrides=Overrides.named(overrides))
    verification = await verify(verifier, HEADER + b"\r\n" + BODY, reverse_path)
    await verifier.stop()
    assert results(verification)["dmarc"] == "fail"
    assert verification.disposition == disposition
    assert ("overridden" in verification.results[-2].comment) == (disposition == "deliver")


@pytest.mark.parametrize(
    "text", ["", "host", "192.0.2.0/33", "300.1.1.1", "a b.example", "[192.0.2.1]", "a@b.example", "a..example"]
)
def test_overrides_are_networks_or_domains(text: str) -> None:
    """Anything else is a mistake in the configuration."""
    with pytest.raises(ValueError, match="neither a network nor a domain"):
        Overrides.named([text])


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("Foo_Bar.example.net.", "lists.foo_bar.example.net"),
        ("ab--cd.example", "ab--cd.example"),
        ("exämple.net", "xn--exmple-cua.net"),
    ],
)
def test_overrides_name_what_dns_has(text: str, domain: str) -> None:
    """A sender's domain may be one for which IDNA has no rule; others are as DNS is asked for them."""
    assert Overrides.named([text]).cover(CLIENT.address, [Checked("pass", domain)])


async def test_the_null_reverse_path_is_judged_by_helo(verifier: Verifier, zone: FakeDns) -> None:
    """RFC 7208 §2.4."""
    zone.records["out.example.net", "TXT"] = ((b"v=spf1 a -all",),)
    verification = await verify(verifier, HEADER + b"\r\n" + BODY, "")
    assert verification.results[0].properties == (("smtp.helo", "out.example.net"),)
    assert results(verification) == {"spf": "pass", "dkim": "none", "dmarc": "pass"}


@pytest.mark.parametrize(
    "record",
    [b"v=spf1 include:example.net -all", b"v=spf1 exists:%{z} -all", b"v=spf1 ip4:999.0.0.1 -all", b"v=spf1 \xff"],
)
async def test_a_broken_record_is_a_permerror(record: bytes, verifier: Verifier, zone: FakeDns) -> None:
    """Nonsense in DNS is the domain's error, not ours."""
    zone.records["example.net", "TXT"] = ((record,),)
    assert results(await verify(verifier, HEADER + b"\r\n" + BODY))["spf"] == "permerror"


@pytest.mark.parametrize(
    "field",
    [
        b"DKIM-Signature: \r\n",
        b"DKIM-Signature: v=1; a=rsa-sha256; d=example.net; s=s1; h=from; bh=x; b=x\r\n",
        b"DKIM-Signature: v=1; a=rsa-sha256; d=example.net; s=s1; h=to; bh=eA==; b=eA==; x=no\r\n",
        b"DKIM-Signature: v=1; d=\xff; s=s1\r\n",
        b"DKIM-Signature: v=1; a=rsa-sha256; d=none.example; s=s1; h=from; bh=eA==; b=eA==\r\n",
    ],
)
async def test_a_broken_signature_is_an_error_of_its_own(field: bytes, verifier: Verifier) -> None:
    """It neither passes nor ends the check."""
    verification = await verify(verifier, field + HEADER + b"\r\n" + BODY)
    assert results(verification)["dkim"] in ("permerror", "fail")
    assert results(verification)["dmarc"] == "pass"


async def test_signatures_are_bounded(verifier: Verifier, key: rsa.RSAPrivateKey) -> None:
    """Only so many are looked at."""
    signed = sign(key)
    field = signed[: signed.index(b"From:")]
    verification = await verify(verifier, field * (params.MAX_SIGNATURES + 5) + HEADER + b"\r\n" + BODY)
    assert len(verification.results) == params.MAX_SIGNATURES + 3


async def test_dns_is_asked_once_a_minute(zone: FakeDns) -> None:
    """For the same client, sender and author; a minute later everything is asked anew."""
    now = NOW
    verifier = Verifier(zone, lambda: now, mode="on", deadline=5_000, draw=lambda: 0)
    first = await verify(verifier, HEADER + b"\r\n" + BODY)
    asked = list(zone.asked)
    now += params.VERIFY_CACHE - 1
    assert await verify(verifier, HEADER + b"\r\n" + BODY) == first
    assert zone.asked == asked
    now += 1
    assert await verify(verifier, HEADER + b"\r\n" + BODY) == first
    assert sorted(zone.asked) == sorted(2 * asked)
    await verifier.stop()


async def test_what_could_not_be_known_is_asked_anew(zone: FakeDns) -> None:
    """A failure of DNS concerns one message and not all of the next minute."""
    names = {"example.net", "_dmarc.example.net"}
    zone.broken |= names
    verifier = Verifier(zone, lambda: NOW, mode="on", deadline=5_000, draw=lambda: 0)
    before = results(await verify(verifier, HEADER + b"\r\n" + BODY))
    zone.broken -= names
    after = results(await verify(verifier, HEADER + b"\r\n" + BODY))
    assert (before["spf"], before["dmarc"]) == ("temperror", "temperror")
    assert (after["spf"], after["dmarc"]) == ("pass", "pass")
    await verifier.stop()


@pytest.mark.parametrize(
    ("mode", "loopback", "trusted", "stranger"),
    [("auto", False, False, True), ("on", True, True, True), ("off", False, False, False)],
)
async def test_who_is_checked(mode: str, loopback: bool, trusted: bool, stranger: bool) -> None:
    """Loopback and trusted relays only where the operator wants it."""
    verifier = Verifier(FakeDns(), lambda: NOW, mode=mode)  # type: ignore[arg-type]
    local = Client("127.0.0.1", "127.0.0.1", is_loopback=True, is_trusted=False, is_unlimited=True)
    relay = Client("192.0.2.1", "192.0.2.1", is_loopback=False, is_trusted=True, is_unlimited=False)
    assert [verifier.applies_to(one) for one in (local, relay, CLIENT)] == [loopback, trusted, stranger]
    await verifier.stop()


def checked_world(new_world: WorldMaker, zone: FakeDns) -> World:
    world = new_world(verify="on")
    world.dns.records = zone.records
    world.dns.records["ptr:127.0.0.1", "PTR"] = ("local.example.net",)
    world.dns.records["local.example.net", "A"] = ("127.0.0.1",)
    return world


async def test_verdicts_reach_the_recipient(new_world: WorldMaker, zone: FakeDns, key: rsa.RSAPrivateKey) -> None:
    """In her notification's trace and verdicts."""
    async with checked_world(new_world, zone) as world:
        client = await world.client()
        assert (await client.deliver(sign(key), sender="author@example.net")).startswith("250 ")
        client.close()
        assert world.server.memory.used == 0
    notification = world.network.messages[0].notifications[f"alice@{DOMAIN}"]
    trace = notification.trace.decode()
    assert "Received: from client.example.net (local.example.net [127.0.0.1])\r\n" in trace
    assert "\tspf=fail\r\n\t smtp.mailfrom=author@example.net;\r\n" in trace
    assert "\tdkim=pass\r\n\t header.d=example.net\r\n\t header.s=s1;\r\n" in trace
    assert "\tdmarc=pass (p=reject)\r\n\t header.from=example.net;\r\n" in trace
    assert "\tiprev=pass\r\n\t policy.iprev=127.0.0.1\r\n" in trace
    assert notification.verdicts.dmarc == "pass example.net"
    assert notification.verdicts.client_name == "local.example.net"


@pytest.mark.parametrize(
    ("beside", "reply"),
    [
        (b"x" * 8_192, "554 5.6.0 From fields of more than 8192 octets"),
        (b",x@a.example,x@b.example,x@c.example,x@d.example", "554 5.6.0 more than 4 domains in From"),
    ],
)
async def test_too_much_of_from_is_no_way_around_a_policy(
    beside: bytes, reply: str, new_world: WorldMaker, zone: FakeDns
) -> None:
    """What is not looked at as a whole is refused, whatever the policies of its domains are (RFC 7489 §6.6.1)."""
    async with checked_world(new_world, zone) as world:
        client = await world.client()
        content = HEADER.replace(b"Author <author@example.net>", b"author@example.net" + beside)
        assert await client.deliver(content + b"\r\n" + BODY) == reply
        client.close()
        assert world.network.messages == []
        assert world.dns.asked == []


async def test_a_rejected_message_is_not_stored(new_world: WorldMaker, zone: FakeDns) -> None:
    """550 5.7.1 for p=reject; quarantine is stored and says so."""
    async with checked_world(new_world, zone) as world:
        client = await world.client()
        content = HEADER + b"\r\n" + BODY
        assert await client.deliver(content) == "550 5.7.1 refused by the DMARC policy of the domain in From"
        assert world.network.messages == []
        from_subdomain = content.replace(b"author@", b"author@sub.")
        assert (await client.deliver(from_subdomain)).startswith("250 ")
        client.close()
    notification = world.network.messages[0].notifications[f"alice@{DOMAIN}"]
    assert notification.verdicts.disposition == "quarantine"
