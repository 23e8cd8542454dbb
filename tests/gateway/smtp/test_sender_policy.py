"""SPF says of a domain's records what RFC 7208 says, and asks DNS no more often than it allows."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.resolver import Kind, Value
from gateway.smtp.dmarc import Checked
from gateway.smtp.sender_policy import MAX_DOTS, MAX_RECORD, MAX_TERM, check_sender
from tests.gateway.smtp.world import FakeDns

Records = Mapping[tuple[str, Kind], tuple[Value, ...]]

CLIENT = "192.0.2.25"
OTHER = "198.51.100.1"


def txt(*records: bytes, at: str = "e.example") -> Records:
    return {(at, "TXT"): tuple((record,) for record in records)}


def hosts(count: int, address: str) -> Records:
    return {(f"h{number}.example", "A"): (address,) for number in range(count)}


def named(count: int, what: bytes = b"a:h%d.example") -> bytes:
    return b" ".join(what % number if b"%d" in what else what for number in range(count))


async def result_of(
    dns: FakeDns, *, client: str = CLIENT, reverse_path: str = "x@e.example", helo: str = "h.example"
) -> Checked:
    with ThreadPoolExecutor(1) as threads:
        until = asyncio.get_running_loop().time() + 60
        return await check_sender(client, reverse_path, helo, dns, threads, until)


@pytest.mark.parametrize(
    ("records", "result"),
    [
        # §4.5: which records count
        (txt(), "none"),
        (txt(b"other", b"v=spf10 -all", b"v=spf2.0/pra -all", b" v=spf1 -all"), "none"),
        (txt(b"", b"\xff\xfe", b"v=spf1 ip4:192.0.2.25 -all"), "pass"),
        (txt(b"v=spf1 +all", b"v=spf1 -all"), "permerror"),
        ({("e.example", "TXT"): ((b"v=spf1 ip4:192.", b"0.2.25 -all"),)}, "pass"),  # §3.3: joined without a space
        # §4.6: syntax, wherever it is wrong; names in any case; what is not known
        (txt(b"V=SPF1 IP4:192.0.2.25 -ALL"), "pass"),
        (txt(b"v=spf1 +all bogus:x"), "permerror"),
        (txt(b"v=spf1 +all ip4:192.0.2.25/33"), "permerror"),
        (txt(b"v=spf1 +all a:toplevel"), "permerror"),
        (txt(b"v=spf1 x=y ip4:192.0.2.25 -all"), "pass"),  # §6: unknown modifiers are ignored
        # §4.7: nothing matched
        (txt(b"v=spf1"), "neutral"),
        (txt(b"v=spf1 ip4:198.51.100.0/24"), "neutral"),
        # §5.1, §5.6, §4.6.2: networks and qualifiers
        (txt(b"v=spf1 ip4:192.0.2.0/24 -all"), "pass"),
        (txt(b"v=spf1 ~ip4:192.0.2.25 -all"), "softfail"),
        (txt(b"v=spf1 ?ip4:192.0.2.25 -all"), "neutral"),
        (txt(b"v=spf1 -ip4:192.0.2.25 +all"), "fail"),
        ({**txt(b"v=spf1 a:h0.example/24//64 -all"), ("h0.example", "A"): ("192.0.2.1",)}, "pass"),
        ({**txt(b"v=spf1 a -all"), ("e.example", "A"): (CLIENT,)}, "pass"),
        # §5.2, §6.1: include and redirect
        ({**txt(b"v=spf1 include:f.example -all"), **txt(b"v=spf1 ip4:192.0.2.25 -all", at="f.example")}, "pass"),
        ({**txt(b"v=spf1 include:f.example ~all"), **txt(b"v=spf1 -all", at="f.example")}, "softfail"),
        (txt(b"v=spf1 include:none.example -all"), "permerror"),
        (txt(b"v=spf1 include:broken.example +all"), "temperror"),
        ({**txt(b"v=spf1 redirect=f.example"), **txt(b"v=spf1 ip4:192.0.2.25 -all", at="f.example")}, "pass"),
        (txt(b"v=spf1 redirect=none.example"), "permerror"),
        (txt(b"v=spf1 redirect=none.example ~all"), "softfail"),
        (txt(b"v=spf1 redirect=f.example redirect=g.example"), "permerror"),
        (txt(b"v=spf1 include:e.example -all"), "permerror"),
        # §6.2: who explains badly fails all the same
        (txt(b"v=spf1 -all exp=none.example"), "fail"),
        ({**txt(b"v=spf1 -all exp=f.example"), **txt(b"%{d}." * 12_000, at="f.example")}, "fail"),  # nobody reads it
        # §5.7, §7: macros
        ({**txt(b"v=spf1 exists:%{ir}.%{l}._spf.%{d} -all"), ("25.2.0.192.x._spf.e.example", "A"): (OTHER,)}, "pass"),
        ({**txt(b"v=spf1 exists:%{h}.e.example -all"), ("h.example.e.example", "A"): (OTHER,)}, "pass"),
        (txt(b"v=spf1 exists:%{d -all"), "permerror"),
        # §4.6.4: ten terms that cause lookups, two without an answer, ten exchangers
        ({**txt(b"v=spf1 " + named(10) + b" -all"), **hosts(10, OTHER)}, "fail"),
        ({**txt(b"v=spf1 " + named(11) + b" -all"), **hosts(11, OTHER)}, "permerror"),
        (txt(b"v=spf1 " + named(200, b"ip4:198.51.100.%d") + b" -all"), "fail"),
        (txt(b"v=spf1 " + named(2) + b" -all"), "fail"),
        (txt(b"v=spf1 " + named(3) + b" +all"), "permerror"),
        (
            {
                **txt(b"v=spf1 mx -all"),
                ("e.example", "MX"): tuple((number, f"h{number}.example") for number in range(10)),
                **hosts(10, CLIENT),
            },
            "pass",
        ),
        (
            {
                **txt(b"v=spf1 mx -all"),
                ("e.example", "MX"): tuple((number, f"h{number}.example") for number in range(11)),
                **hosts(11, OTHER),
            },
            "permerror",
        ),
        # §5.5: a name of the client that leads back to it
        (
            {
                **txt(b"v=spf1 ptr -all"),
                ("25.2.0.192.in-addr.arpa", "PTR"): ("out.e.example",),
                ("out.e.example", "A"): (CLIENT,),
            },
            "pass",
        ),
        ({**txt(b"v=spf1 ptr -all"), ("25.2.0.192.in-addr.arpa", "PTR"): ("out.e.example",)}, "fail"),
    ],
)
async def test_records(records: Records, result: str) -> None:
    """Each rule of check_host()."""
    dns = FakeDns(dict(records))
    dns.broken.add("broken.example")
    assert await result_of(dns) == Checked(result, "e.example")
    assert len(dns.asked) <= 1 + 10 * 11  # §11.1: nobody is asked without end for one message


def filled(start: bytes, filling: bytes, end: bytes, size: int) -> bytes:
    return start + filling * ((size - len(start) - len(end)) // len(filling)) + end


@pytest.mark.parametrize(
    ("record", "result"),
    [
        (filled(b"v=spf1 ", b"ip4:192.0.2.25 ", b"-all", MAX_RECORD), "pass"),
        (filled(b"v=spf1 ", b"ip4:192.0.2.25 ", b"-all", MAX_RECORD + 50), "permerror"),
        (filled(b"v=spf1 +all ", b" ", b"x=y", 64_000), "permerror"),
        (b"v=spf1 " + filled(b"x=", b"%{d}.", b"", MAX_TERM) + b" +all", "pass"),
        (b"v=spf1 " + filled(b"x=", b"%{d}.", b"", MAX_TERM + 50) + b" +all", "permerror"),
        (b"v=spf1 x=%{d}" + b"." * MAX_DOTS + b" +all", "pass"),
        (b"v=spf1 x=%{d}" + b"." * (MAX_DOTS + 1) + b" +all", "permerror"),
        (filled(b"v=spf1 exists:%{d", b".", b"} -all", 12_000), "permerror"),  # pyspf takes seconds for it
        (filled(b"v=spf1 a:x.", b"a", b"! -all", MAX_RECORD), "permerror"),
    ],
)
async def test_size_is_bounded(record: bytes, result: str) -> None:
    """Of a record and of each of its terms, here and where it is included: pyspf's time is theirs multiplied."""
    included = {**txt(b"v=spf1 include:f.example -all"), **txt(record, at="f.example")}
    assert (await result_of(FakeDns(dict(txt(record))))).result == result
    assert (await result_of(FakeDns(dict(included)))).result == result


async def test_explanations_are_not_asked_for() -> None:
    """Nobody here would show one (§6.2)."""
    dns = FakeDns({**txt(b"v=spf1 -all exp=f.example"), **txt(b"because", at="f.example")})
    assert (await result_of(dns)).result == "fail"
    assert dns.asked == [("e.example", "TXT")]


async def test_other_texts_may_be_long() -> None:
    """What is no SPF record does not make one an error."""
    assert (await result_of(FakeDns(dict(txt(b"x" * 60_000, b"v=spf1 +all"))))).result == "pass"


@pytest.mark.parametrize("name", ["e.example", "h0.example"])
async def test_a_failing_dns_is_a_temperror(name: str) -> None:
    """For the record, and for what it names (RFC 7208 §2.6.6): only then."""
    dns = FakeDns({**txt(b"v=spf1 a:h0.example +all"), **hosts(1, OTHER)})
    assert (await result_of(dns)).result == "pass"
    dns.broken.add(name)
    assert (await result_of(dns)).result == "temperror"


@pytest.mark.parametrize(
    ("reverse_path", "helo", "checked"),
    [
        ("x@e.example", "h.example", Checked("fail", "e.example")),
        ("x@E.Example.", "h.example", Checked("fail", "e.example")),
        ("x@exämple.example", "h.example", Checked("fail", "xn--exmple-cua.example")),
        ('"a@b"@e.example', "h.example", Checked("fail", "e.example")),
        ("x@Foo_Bar.example", "h.example", Checked("fail", "foo_bar.example")),  # names that DNS has and IDNA has not
        ("", "ab--cd.example", Checked("fail", "ab--cd.example")),
        (f"x@{'a' * 64}.example", "e.example", Checked("none", f"{'a' * 64}.example")),  # §4.3: malformed
        ("", "e.example", Checked("fail", "e.example")),  # §2.4: postmaster@ the HELO name
        ("", "[192.0.2.25]", Checked("none", "[192.0.2.25]")),  # §4.3: no name that has records
        ("", "localhost", Checked("none", "localhost")),
        ("", "localhost.", Checked("none", "localhost.")),
        ("x@[192.0.2.25]", "e.example", Checked("none", "[192.0.2.25]")),
        ("x@localhost", "e.example", Checked("none", "localhost")),
    ],
)
async def test_whose_record_is_asked_for(reverse_path: str, helo: str, checked: Checked) -> None:
    """The reverse-path's domain, or where that is null the HELO name's (RFC 7208 §2.4)."""
    names = ["e.example", "xn--exmple-cua.example", "foo_bar.example", "ab--cd.example", "localhost"]
    dns = FakeDns({(name, "TXT"): ((b"v=spf1 -all",),) for name in names})
    assert await result_of(dns, reverse_path=reverse_path, helo=helo) == checked


@pytest.mark.parametrize(
    ("reverse_path", "name"),
    [
        ('"a@b"@e.example', '"a@b".at.e.example.on.e.example'),
        ("x@E.example", "x.at.e.example.on.e.example"),
        ("", "postmaster.at.e.example.on.e.example"),  # §2.4
    ],
)
async def test_the_senders_parts_in_macros(reverse_path: str, name: str) -> None:
    """§7.2: %{l} is all before the last "@", and %{o} and %{d} what is behind it."""
    dns = FakeDns({**txt(b"v=spf1 exists:%{l}.at.%{o}.on.%{d} -all"), (name, "A"): (OTHER,)})
    assert await result_of(dns, reverse_path=reverse_path, helo="e.example") == Checked("pass", "e.example")


async def test_ipv6() -> None:
    """§5.6; and a macro has its 32 nibbles (§7.3)."""
    nibbles = "1." + "0." * 23 + "8.b.d.0.1.0.0.2"
    dns = FakeDns({**txt(b"v=spf1 ip6:2001:db8:1::/48 exists:%{ir}.e.example -all")})
    assert (await result_of(dns, client="2001:db8:1::25")).result == "pass"
    assert (await result_of(dns, client="2001:db8::1")).result == "fail"
    dns.records[f"{nibbles}.e.example", "A"] = (OTHER,)
    assert (await result_of(dns, client="2001:db8::1")).result == "pass"
