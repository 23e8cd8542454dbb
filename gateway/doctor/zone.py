"""The DNS records that a domain with these gateways needs, and the text of its MTA-STS policy file; pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.outbound.sts_policy import Mode

_STRING: Final = 255  # octets of one character-string (RFC 1035 §3.3)
_MAX_AGE: Final[dict[Mode, int]] = {
    "enforce": 1_209_600,
    "testing": 86_400,
    "none": 86_400,
}  # seconds: two weeks, a day
NAME_IT: Final = "write in smtp.hostname by which name others reach this machine, and restart it"
SERVICES: Final = ("imap", "imaps", "submission", "submissions")  # RFC 6186 §3, RFC 8314 §5.1


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a zone file; `name` is whole, without a dot at its end, `value` as in a zone file."""

    name: str
    kind: str
    value: str

    def __str__(self) -> str:
        return f"{self.name}. IN {self.kind} {self.value}"

    @property
    def instead(self) -> str:
        """The line, which is still one of a zone file, for a name that has another one now."""
        return f"{self}  ; in place of what is there"


@dataclass(frozen=True, slots=True)
class Zone:
    """What the zone is made from.

    `gateways`: host → its addresses, as far as they are known. `dkim`: selector → text of its record, of this machine's
    gateway. `services`: those of SERVICES that users reach from elsewhere → port, on `host`. `autoconfig`: `host` tells
    mail readers of their servers. `fronts`: hosts that are MX instead and hand the mail on to gateways → addresses.
    `unnamed`: where agents reach the gateways whose names are not known here. `promised`: MX hosts of which the MTA-STS
    policy that is served now says that they are the domain's.
    """

    domain: str
    host: str
    gateways: Mapping[str, tuple[str, ...]]
    dkim: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[str, int] = field(default_factory=dict)
    sts: Mode = "testing"
    autoconfig: bool = False
    fronts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unnamed: tuple[str, ...] = ()
    promised: tuple[str, ...] = ()

    @property
    def exchangers(self) -> Mapping[str, tuple[str, ...]]:
        """The MX hosts that there are to be → their addresses."""
        return self.fronts or self.gateways

    @property
    def is_nameless(self) -> bool:
        """Whether records would have to name this machine, and `host` (smtp.hostname) is no name for the world."""
        named = bool(self.services) or self.autoconfig or self.host in self.gateways
        return named and "." not in self.host


def mx(zone: Zone) -> list[Record]:
    """Equal preference, so that senders spread themselves."""
    return [Record(zone.domain, "MX", f"10 {host}.") for host in zone.exchangers]


def addresses(zone: Zone) -> list[Record]:
    """A and AAAA of every gateway whose addresses are known."""
    return [
        Record(host, "AAAA" if ":" in address else "A", address)
        for host, known in zone.gateways.items()
        for address in known
    ]


def spf(zone: Zone) -> list[Record]:
    """Only the gateways send; each is looked at by its own name as well, for reports have no reverse-path."""
    own = [Record(host, "TXT", quoted("v=spf1 a -all")) for host in zone.gateways if host != zone.domain]
    senders = " ".join(f"a:{host}" for host in zone.gateways) if zone.fronts else "mx"
    return [Record(zone.domain, "TXT", quoted(f"v=spf1 {senders} -all")), *own]


def dkim(zone: Zone) -> list[Record]:
    """The keys of this machine's gateway."""
    return [key_record(zone.domain, selector, text) for selector, text in zone.dkim.items()]


def key_record(domain: str, selector: str, text: str) -> Record:
    """Return where verifiers look for a key (RFC 6376 §3.6.2.1); `text` is of p2pcore.crypto.dkim_keys.dkim_record."""
    return Record(f"{selector}._domainkey.{domain}", "TXT", quoted(text))


def dmarc(zone: Zone) -> Record:
    return Record(
        f"_dmarc.{zone.domain}", "TXT", quoted(f"v=DMARC1; p=quarantine; rua=mailto:postmaster@{zone.domain}")
    )


def mta_sts(zone: Zone) -> Record:
    """The policy's ID changes whenever its text does (RFC 8461 §3.1)."""
    identifier = hashlib.sha256(policy_file(zone).encode()).hexdigest()[:20]
    return Record(f"_mta-sts.{zone.domain}", "TXT", quoted(f"v=STSv1; id={identifier};"))


def policy_url(zone: Zone) -> str:
    """Return where senders look for the policy file (RFC 8461 §3.3)."""
    return f"https://mta-sts.{zone.domain}/.well-known/mta-sts.txt"


def policy_file(zone: Zone) -> str:
    """Return the text of the policy file (RFC 8461 §3.2), the same on all gateways."""
    lines = [
        "version: STSv1",
        f"mode: {zone.sts}",
        *(f"mx: {host}" for host in sorted({*zone.exchangers, *zone.promised})),
    ]
    return "".join(f"{line}\n" for line in [*lines, f"max_age: {_MAX_AGE[zone.sts]}"])


def named(at: str) -> str:
    """Return what makes the name of a gateway known here that agents reach at an address."""
    port = at.rpartition(":")[2]
    return (
        "start it, or type where the directory is, where `p2pmail machine list` has its name: "
        f"p2pmail machine set NAME endpoint=NAME:{port}"
    )


def services(zone: Zone) -> list[Record]:
    """Where mail readers find her account; "." says that a service is not offered (RFC 6186 §3.4)."""
    records = []
    for name in SERVICES:
        port = zone.services.get(name)
        value = "0 0 0 ." if port is None else f"{0 if name.endswith('s') else 1} 1 {port} {zone.host}."
        records.append(Record(f"_{name}._tcp.{zone.domain}", "SRV", value))
    return records


def autoconfig(zone: Zone) -> list[Record]:
    """Where Thunderbird asks for the same, at port 80 or 443."""
    return [Record(f"autoconfig.{zone.domain}", "CNAME", f"{zone.host}.")] if zone.autoconfig else []


def text(zone: Zone) -> str:
    """Return the whole zone as lines of a zone file, with comments; the policy file stands in them."""
    unknown = [host for host, known in zone.gateways.items() if not known]
    others = [host for host in zone.gateways if host != zone.host]
    sections: list[tuple[str, list[Record]]] = [
        *([(f"first {NAME_IT}", [])] if zone.is_nameless else []),
        *((f"first let the gateway at {at} be known by name: {named(at)}", []) for at in zone.unnamed),
        ("mail to the domain", mx(zone)),
        ("the gateways; each address needs a PTR record that names its host, from whoever gave you the address", []),
        *((f"{host}. IN A or AAAA: its addresses, which are not known here", []) for host in unknown),
        ("", addresses(zone)),
        ("mail from the domain (SPF)", spf(zone)),
        *([("the keys of this gateway's signatures (DKIM)", dkim(zone))] if zone.dkim else []),
        *((f"the lines that `p2pmail dkim` prints on {host}, for that gateway's signatures", []) for host in others),
        ("what others do with mail that is not ours (DMARC)", [dmarc(zone)]),
        (f"TLS on the way to us (MTA-STS): this text at {policy_url(zone)}", []),
        *((f"    {line}", []) for line in policy_file(zone).splitlines()),
        (f"mta-sts.{zone.domain}. IN A or AAAA: the addresses of that web server", [mta_sts(zone)]),
        ("where mail readers find their accounts (RFC 6186)", [*services(zone), *autoconfig(zone)]),
    ]
    lines: list[str] = []
    for comment, records in sections:
        lines += [f"; {comment}"] if comment else []
        lines += [f"{'' if _inside(each.name, zone.domain) else '; in another zone: '}{each}" for each in records]
    return "".join(f"{line}\n" for line in lines)


def _inside(name: str, domain: str) -> bool:
    return name == domain or name.endswith(f".{domain}")


def quoted(value: str) -> str:
    """Return a TXT value in strings of at most 255 octets (RFC 1035 §3.3.14)."""
    return " ".join(f'"{value[start : start + _STRING]}"' for start in range(0, len(value), _STRING))
