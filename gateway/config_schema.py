"""What the configuration file may say: every section and key with its type, bounds, default and comment."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from p2pcore import params
from p2pcore.endpoint import Endpoint

RoleName = Literal["node", "gateway", "agent", "directory"]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the sections; a field's comment is its Meta description."""


def _doc(text: str, **bounds: Any) -> Meta:
    return Meta(description=text, **bounds)


def _size(text: str, **bounds: Any) -> Meta:
    """Mark a number of octets, written as an integer or as "50 MiB"."""
    return Meta(description=text, extra={"unit": "octets"}, **bounds)


class DomainSection(Section, frozen=True):
    """The mail domain and what this machine does for it."""

    name: Annotated[str, _doc("the mail domain that this network serves")] = ""
    roles: Annotated[tuple[RoleName, ...], _doc("what runs here: node, gateway, agent, directory")] = (
        "node",
        "gateway",
        "agent",
        "directory",
    )


class NodeSection(Section, frozen=True):
    """The disk and the connection lent to the network."""

    listen: Annotated[Endpoint, _doc("UDP and TCP endpoint of the node; others must reach it under this address")] = (
        Endpoint("127.0.0.1", 4466)
    )
    advertise: Annotated[str, _doc('"host:port" told to others where it differs from listen; empty: the same')] = ""
    bootstrap: Annotated[tuple[Endpoint, ...], _doc("nodes to begin with, beside those remembered and recorded")] = ()
    quota: Annotated[int, _size("octets this node keeps for others", ge=0)] = 10 << 30
    disk_reserve: Annotated[int, _size("octets of the disk that it leaves free", ge=0)] = 64 << 20
    max_connections: Annotated[int, _doc("connections at once", ge=1, le=100_000)] = 2_000


class ReplicationSection(Section, frozen=True):
    """Seed values for a new domain's record; later changed with `p2pmail domain set`."""

    k: Annotated[int, _doc("copies of every object", ge=1, le=params.MAX_K)] = 1
    quorum: Annotated[int, _doc("copies on disk before success is said (k/2 < w <= k)", ge=1, le=params.MAX_K)] = 1


class SmtpSection(Section, frozen=True):
    """Mail from outside: this is what MX records point at."""

    listen: Annotated[tuple[Endpoint, ...], _doc("where outside MTAs connect; publicly, port 25")] = (
        Endpoint("127.0.0.1", 2525),
    )
    hostname: Annotated[str, _doc("name in the greeting and in trace fields; the name in the MX record")] = "localhost"
    max_message_size: Annotated[
        int, _size("largest content taken, by submission and IMAP too (64 MiB at most)", ge=1 << 16, le=64 << 20)
    ] = 50 << 20
    also: Annotated[
        tuple[str, ...], _doc("p2pmail.toml files of other domains, whose gateways run in this process and listen here")
    ] = ()
    trusted_relays: Annotated[
        tuple[str, ...],
        _doc("networks of an MX in front of us, whose mail is not checked again, nor limited as one client's"),
    ] = ()
    dmarc_overrides: Annotated[
        tuple[str, ...], _doc("networks, and domains that SPF or DKIM shows, whose mail may fail DMARC: forwarders")
    ] = ()
    verify: Annotated[
        Literal["auto", "on", "off"], _doc('SPF, DKIM, DMARC: "auto" spares loopback and trusted relays; "on", "off"')
    ] = "auto"
    messages_per_minute: Annotated[int, _doc("mails taken from one address in a minute (loopback: any)", ge=1)] = 600
    max_connections: Annotated[int, _doc("connections at once, in all", ge=1)] = 1_000
    max_connections_per_client: Annotated[int, _doc("connections at once from one address", ge=1)] = 50
    max_recipients: Annotated[int, _doc("recipients of one mail (RFC 5321 §4.5.3.1.8: at least 100)", ge=100)] = 1_000
    memory: Annotated[
        int, _size("octets of content in memory at once; as much for submission and relay each", ge=1 << 20)
    ] = 256 << 20


class ImapSection(Section, frozen=True):
    """The IMAP account that mail readers see."""

    listen: Annotated[tuple[Endpoint, ...], _doc("IMAP; passwords in clear on loopback only, else STARTTLS")] = (
        Endpoint("127.0.0.1", 1143),
    )
    max_connections: Annotated[int, _doc("connections at once, in all", ge=1)] = 500
    max_connections_per_account: Annotated[int, _doc("connections at once of one account", ge=1)] = 50


class ImapsSection(Section, frozen=True):
    """IMAP with TLS from the first octet."""

    listen: Annotated[tuple[Endpoint, ...], _doc("IMAP over implicit TLS (RFC 8314)")] = (Endpoint("127.0.0.1", 1993),)


class AutoconfigSection(Section, frozen=True):
    """The settings that mail readers find by themselves (Thunderbird's autoconfig)."""

    listen: Annotated[tuple[Endpoint, ...], _doc("HTTP: where autoconfig.DOMAIN leads, port 80; none: not served")] = ()
    imap: Annotated[tuple[Endpoint, ...], _doc("endpoints to tell; none: the agent's here, else 127.0.0.1:1143")] = ()
    submission: Annotated[
        tuple[Endpoint, ...],
        _doc("the same, else 127.0.0.1:1587; 993 and 465 mean TLS, loopback plain, others STARTTLS"),
    ] = ()


class TlsSection(Section, frozen=True):
    """The certificate that MTAs and mail readers see."""

    certificate: Annotated[str, _doc("PEM file; empty: a self-signed one, made here")] = ""
    key: Annotated[str, _doc("PEM file of its private key")] = ""


class KeysSection(Section, frozen=True):
    """This machine's private keys, while they are not in use."""

    passphrase: Annotated[
        str,
        _doc(
            'source of their passphrase: "prompt", "file:PATH", "credential:NAME", "command:LINE"; empty: there is none'
        ),
    ] = ""


class SyncSection(Section, frozen=True):
    """How users' mail comes from the network into their mailboxes."""

    keep_days: Annotated[
        int, _doc("days that the network keeps a message after it has come, for a restored backup", ge=0, le=60)
    ] = 7


class SubmissionSection(Section, frozen=True):
    """Where mail readers hand over what their users write."""

    listen: Annotated[tuple[Endpoint, ...], _doc("submission; passwords in clear on loopback only, else STARTTLS")] = (
        Endpoint("127.0.0.1", 1587),
    )
    save_sent: Annotated[bool, _doc("file a copy in Sent, unless the mail reader has filed its own")] = True
    sent_grace: Annotated[int, _doc("seconds that the mail reader has for filing its own", ge=0, le=86_400)] = 60
    deliver: Annotated[
        Literal["gateway", "direct"], _doc('mail for other domains: by a "gateway", or "direct" from here by MX')
    ] = "gateway"


class SubmissionsSection(Section, frozen=True):
    """Submission with TLS from the first octet."""

    listen: Annotated[tuple[Endpoint, ...], _doc("submission over implicit TLS (RFC 8314)")] = (
        Endpoint("127.0.0.1", 1465),
    )


class RelaySection(Section, frozen=True):
    """Where the agents of this domain hand mail for other domains to this gateway; TLS with their certificates."""

    listen: Annotated[tuple[Endpoint, ...], _doc("for the domain's agents; none: this gateway sends nothing")] = (
        Endpoint("127.0.0.1", 2465),
    )
    advertise: Annotated[str, _doc('"host:port" told to agents; empty: smtp.hostname, port of relay.listen')] = ""
    messages_per_minute: Annotated[int, _doc("mails taken from one user in a minute (loopback: any)", ge=1)] = 600
    recipients_per_day: Annotated[int, _doc("recipients that one user may send to in a day; 0: any number", ge=0)] = 0


class DkimSection(Section, frozen=True):
    """The signature on mail to other domains; `p2pmail dkim` prints its DNS records."""

    selector: Annotated[str, _doc("name of this gateway's keys in DNS; empty: the first label of smtp.hostname")] = ""


class OutboundSection(Section, frozen=True):
    """Mail to other domains, and looking up their names."""

    port: Annotated[int, _doc("port of other domains' MX hosts", ge=1, le=65_535)] = 25
    smarthost: Annotated[str, _doc('"host:port" that takes all mail to other domains; empty: their MX hosts do')] = ""
    smarthost_user: Annotated[str, _doc("name to log in there with, over verified TLS; empty: no login")] = ""
    smarthost_password_file: Annotated[str, _doc("file whose first line is the password for that")] = ""
    mta_sts: Annotated[bool, _doc("obey other domains' MTA-STS policies (RFC 8461)")] = True
    retry_first: Annotated[int, _doc("seconds until the first retry; then doubled", ge=1)] = 300
    retry_last: Annotated[int, _doc("seconds between retries at most", ge=1)] = 14_400
    resolvers: Annotated[tuple[Endpoint, ...], _doc('DNS servers, as "192.0.2.53:53"; empty: those of the system')] = ()


class LogSection(Section, frozen=True):
    """The log on standard error."""

    level: Annotated[Literal["debug", "info", "warning", "error"], _doc("least severe lines written")] = "info"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file; its directory holds all data."""

    domain: DomainSection = DomainSection()
    node: NodeSection = NodeSection()
    replication: ReplicationSection = ReplicationSection()
    smtp: SmtpSection = SmtpSection()
    imap: ImapSection = ImapSection()
    imaps: ImapsSection = ImapsSection()
    autoconfig: AutoconfigSection = AutoconfigSection()
    tls: TlsSection = TlsSection()
    keys: KeysSection = KeysSection()
    sync: SyncSection = SyncSection()
    submission: SubmissionSection = SubmissionSection()
    submissions: SubmissionsSection = SubmissionsSection()
    relay: RelaySection = RelaySection()
    dkim: DkimSection = DkimSection()
    outbound: OutboundSection = OutboundSection()
    log: LogSection = LogSection()
