"""The configuration file: one schema reads, checks and writes it.

`config/p2pmail.toml` shows every key with its default; after a change of the schema it is made again with

    .venv/bin/python -c 'from gateway.config import *; print(render(Config()), end="")' > config/p2pmail.toml
"""

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import Config, check, load, render, with_overrides
from gateway.errors import ConfigurationError
from p2pcore.endpoint import Endpoint

SHOWN = Path(__file__).parents[2] / "config" / "p2pmail.toml"
DOMAIN = {"domain": {"name": "example.org"}}
KEYS = {
    section.name: [field.name for field in msgspec.structs.fields(section.default)]
    for section in msgspec.structs.fields(Config)
}


def refusal(*overrides: str) -> str:
    """What is said about `overrides`."""
    with pytest.raises(ConfigurationError) as caught:
        check(with_overrides(DOMAIN, overrides), "here")
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_shown_file_is_the_schema() -> None:
    """config/p2pmail.toml is what the schema writes (the module's docstring says how to make it again)."""
    assert SHOWN.read_text(encoding="utf-8") == render(Config())


def test_shown_file_lacks_only_the_domain() -> None:
    """Of all keys only domain.name has no default."""
    with pytest.raises(ConfigurationError, match=r"domain\.name: is missing"):
        load(SHOWN)
    assert load(SHOWN, ["domain.name=example.org"]) == check(DOMAIN, "here")


def test_written_and_read_again(tmp_path: Path) -> None:
    """What is written reads back as the same configuration, odd values included."""
    path = tmp_path / "p2pmail.toml"
    config = check(
        with_overrides(
            DOMAIN,
            [
                'tls.certificate = a "quoted" \\ path/Ω',
                "tls.key=k",
                'node.bootstrap=["[2001:db8::1]:4466", "node.example.org:1"]',
                "node.quota=1000001",
                "smtp.memory=3 MiB",
                'smtp.trusted_relays=["192.0.2.0/24"]',
            ],
        ),
        "here",
    )
    path.write_text(render(config), encoding="utf-8")
    assert load(path) == config
    assert config.node.bootstrap == (Endpoint("2001:db8::1", 4466), Endpoint("node.example.org", 1))
    assert (config.node.quota, config.smtp.memory) == (1_000_001, 3 << 20)


def test_every_key_has_a_comment() -> None:
    """Each key is written on a line of its own with a comment that says something."""
    lines = render(Config()).splitlines()
    for section, keys in KEYS.items():
        start = lines.index(f"[{section}]")
        assert lines[start - 1].startswith("# ")
        for offset, key in enumerate(keys, 1):
            name, _, comment = lines[start + offset].partition("  # ")
            assert name.startswith(f"{key} = ")
            assert len(comment) > 8


def test_sizes() -> None:
    """A size is a number of octets or has a binary unit."""
    for text, octets in (("1048576", 1 << 20), ('"2 GiB"', 2 << 30), ("64MiB", 64 << 20), ('"7 B"', 7)):
        assert check(with_overrides(DOMAIN, [f"node.quota={text}"]), "here").node.quota == octets
    assert "node.quota: '2 GB' is not a size" in refusal("node.quota=2 GB")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("smpt.listen=[]", "unknown section [smpt]; did you mean smtp?"),
        ("smtp.hostnam=x", "unknown key smtp.hostnam; did you mean smtp.hostname?"),
        ("zzz.zzz=1", "known: domain, node"),
        ("domain.roles=[]", "domain.roles: is empty"),
        ('domain.roles=["mx"]', "domain.roles: 'mx' is none of node, gateway, agent, directory"),
        ("domain.name=a..b", "domain.name"),
        ("smtp.hostname=", "smtp.hostname: is missing"),
        ('smtp.hostname="a\\r\\n250 b"', "smtp.hostname"),
        ("smtp.listen=127.0.0.1:25", "smtp.listen: a list is wanted"),
        ("smtp.listen=[25]", "smtp.listen: endpoint '25'"),
        ('smtp.listen=["127.0.0.1:99999"]', "smtp.listen: endpoint"),
        ('node.listen={host="a", port=99999}', "node.listen"),
        ("node.listen=127.0.0.1:0", "node.listen: a port is wanted"),
        ("node.listen=0.0.0.0:4466", "node.advertise: others cannot reach 0.0.0.0:4466"),
        ("node.listen=[::ffff:0.0.0.0]:4466", "node.advertise: others cannot reach [::ffff:0.0.0.0]:4466"),
        ("node.advertise=224.0.0.1:4466", "node.advertise: others cannot reach 224.0.0.1:4466"),
        ("node.advertise=a b:4466", "node.advertise: others cannot reach a b:4466"),
        ("node.advertise=node.example.org:0", "node.advertise: others cannot reach node.example.org:0"),
        ("node.advertise=nonsense", "node.advertise"),
        ("smtp.listen=[]", "smtp.listen: is empty"),
        ('smtp.trusted_relays=["mx"]', "smtp.trusted_relays: 'mx'"),
        ('smtp.dmarc_overrides=["mx"]', "smtp.dmarc_overrides: 'mx' is neither a network nor a domain"),
        ('outbound.resolvers=["dns.example.org:53"]', "outbound.resolvers"),
        ("relay.advertise=nonsense", "relay.advertise: endpoint"),
        ("relay.advertise=0.0.0.0:465", "relay.advertise: others cannot reach 0.0.0.0:465"),
        ("outbound.smarthost=mail.example.net", "outbound.smarthost: endpoint"),
        ("submission.save_sent=yes", "submission.save_sent"),
        ("submission.sent_grace=-1", "submission.sent_grace"),
        ("submission.sent_grace=1 min", "submission.sent_grace"),
        ("dkim.selector=a b", "dkim.selector: 'a b': not a DNS name"),
        ("dkim.selector=a..b", "dkim.selector: 'a..b'"),
        ("dkim.selector=;", "dkim.selector: ';'"),
        ("smtp.max_message_size=65 MiB", "smtp.max_message_size"),
        ("smtp.max_connections=0", "smtp.max_connections"),
        ("smtp.max_connections=true", "smtp.max_connections"),
        ("log.level=loud", "log.level: 'loud' is none of"),
        ("replication.k=3", "replication.quorum: must be more than half"),
        ("tls.key=x", "tls.certificate and tls.key"),
        ("tls.key=1", "tls.key"),
        ("smtp=1", "not of the form section.key=value"),
        ("smtp.listen", "not of the form section.key=value"),
    ],
)
def test_refused(override: str, said: str) -> None:
    """What is refused names the key and says what to write."""
    assert said in refusal(override)


@pytest.mark.parametrize("selector", ["", "mx1", "2026.mx1", "MX-1"])
def test_selectors(selector: str) -> None:
    """A DKIM selector is one or more labels of a DNS name."""
    assert check(with_overrides(DOMAIN, [f'dkim.selector="{selector}"']), "here").dkim.selector == selector


def test_agent_needs_a_listener() -> None:
    """An agent without IMAP listeners would be of no use to anybody."""
    assert "imap.listen and imaps.listen" in refusal("imap.listen=[]", "imaps.listen=[]")


def test_public_node_behind_a_wildcard() -> None:
    """A node may listen everywhere if it says where others reach it."""
    check(with_overrides(DOMAIN, ["node.listen=0.0.0.0:4466", "node.advertise=node.example.org:4466"]), "here")


def test_a_byte_order_mark_is_no_value(tmp_path: Path) -> None:
    """Some editors begin every file with one, and nobody sees it."""
    path = tmp_path / "p2pmail.toml"
    path.write_text('[domain]\r\nname = "example.org"\r\n', encoding="utf-8-sig", newline="")
    assert load(path).domain.name == "example.org"


def test_unreadable_files(tmp_path: Path) -> None:
    """A file that cannot be read or is no TOML is named."""
    path = tmp_path / "p2pmail.toml"
    with pytest.raises(ConfigurationError, match=r"p2pmail\.toml: does not exist; .*p2pmail init"):
        load(path)
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        load(tmp_path)
    for octets in (b"\xff", b"x = ", b"[" * 100_000, b"x = " + b"9" * 5_000, b"smtp = 1"):
        path.write_bytes(octets)
        with pytest.raises(ConfigurationError, match=r"p2pmail\.toml"):
            load(path)
    path.write_text("smtp = 1")
    with pytest.raises(ConfigurationError, match="which is a section"):
        load(path, ["smtp.verify=on"])


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.datetimes()
    | st.sampled_from(["1 TiB", "a:1", "9" * 5_000, "a:" + "9" * 5_000, "9 MiB", "\ud800", "::1", "on"]),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=5,
)
_names = st.sampled_from([(section, key) for section, keys in KEYS.items() for key in keys])


@given(st.lists(st.tuples(_names, _values), max_size=3), st.dictionaries(st.text(), _values, max_size=2))
@settings(deadline=None)
def test_any_values(known: list[tuple[tuple[str, str], Any]], unknown: dict[str, Any]) -> None:
    """Whatever the file says, it is a configuration that is written and read alike, or a ConfigurationError."""
    raw: dict[str, Any] = {"domain": {"name": "example.org"}, **unknown}
    for (section, key), value in known:
        keys = raw.setdefault(section, {})
        if isinstance(keys, dict):
            keys[key] = value
    try:
        config = check(raw, "here")
    except ConfigurationError:
        return
    assert check(tomllib.loads(render(config)), "again") == config


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "replace")), st.lists(st.text()))
@settings(deadline=None)
def test_any_octets(tmp_path_factory: pytest.TempPathFactory, octets: bytes, overrides: list[str]) -> None:
    """Whatever octets the file holds and whatever is given with --set: a configuration, or a ConfigurationError."""
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(octets)
    with pytest.raises(ConfigurationError):  # none of them names a domain
        load(path, overrides)
