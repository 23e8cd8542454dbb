"""What the operator decides about the SMTP servers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from gateway.smtp import params
from p2pcore.endpoint import Endpoint

Verify = Literal["auto", "on", "off"]


@dataclass(frozen=True, slots=True)
class SmtpLimits:
    """Each limit is answered with a temporary failure. Times in ms, sizes in octets."""

    connections: int = params.CONNECTIONS
    connections_per_client: int = params.CONNECTIONS_PER_CLIENT
    messages_per_minute: int = params.MESSAGES_PER_MINUTE
    recipients: int = params.RECIPIENTS
    unknown_recipients: int = params.UNKNOWN_RECIPIENTS
    errors: int = params.ERRORS
    memory: int = params.MEMORY
    command_timeout: int = params.COMMAND_TIMEOUT
    data_timeout: int = params.DATA_TIMEOUT
    content_timeout: int = params.CONTENT_TIMEOUT
    fruitless_timeout: int = params.FRUITLESS_TIMEOUT
    transaction_deadline: int = params.TRANSACTION_DEADLINE
    verify_deadline: int = params.VERIFY_DEADLINE
    stop_grace: int = params.STOP_GRACE
    failed_logins: int = params.FAILED_LOGINS
    failed_login_delay: int = params.FAILED_LOGIN_DELAY


class ListenerSettings(Protocol):
    """What every role's settings have."""

    @property
    def hostname(self) -> str: ...

    @property
    def max_message_size(self) -> int: ...

    @property
    def trusted_relays(self) -> tuple[str, ...]: ...

    @property
    def unlimited_clients(self) -> tuple[str, ...]: ...

    @property
    def limits(self) -> SmtpLimits: ...


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """`hostname` is our name in greeting, trace and Authentication-Results.

    `temporary_directory` takes sealed contents over 1 MiB, in files without a name. `verify`: "on" checks SPF, DKIM and
    DMARC for every client, "auto" for all but loopback and `trusted_relays`, "off" for none. Clients in
    `unlimited_clients` are exempt from the limits per client, those in `trusted_relays` from these and from that on
    errors. Networks are written as in "192.0.2.0/24". `dmarc_overrides` are networks, and domains that SPF or DKIM has
    shown mail to be from, whose mail is delivered whatever policy it fails: forwarders and mailing lists.
    """

    listen: tuple[Endpoint, ...]
    hostname: str
    temporary_directory: Path
    max_message_size: int = params.MAX_MESSAGE_SIZE
    verify: Verify = "auto"
    trusted_relays: tuple[str, ...] = ()
    dmarc_overrides: tuple[str, ...] = ()
    unlimited_clients: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    limits: SmtpLimits = field(default_factory=SmtpLimits)


@dataclass(frozen=True, slots=True)
class SubmissionSettings:
    """For the listener that takes a user's mail from her mail reader.

    `listen` is in clear and offers STARTTLS; `listen_tls` is TLS from the first octet (RFC 8314 §3.3). A password is
    taken in clear from loopback only. `hostname` is our name in the greeting.
    """

    listen: tuple[Endpoint, ...]
    hostname: str
    listen_tls: tuple[Endpoint, ...] = ()
    max_message_size: int = params.MAX_MESSAGE_SIZE
    unlimited_clients: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    limits: SmtpLimits = field(default_factory=SmtpLimits)

    @property
    def trusted_relays(self) -> tuple[str, ...]:
        return ()


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """For the listener that takes mail from the agents of our domain; always TLS.

    `hostname` is our name in greeting and trace. `temporary_directory` takes sealed contents over 1 MiB, in files
    without a name. `limits.messages_per_minute` is per user here, and so is `recipients_per_day` (0: any number).
    """

    listen: tuple[Endpoint, ...]
    hostname: str
    temporary_directory: Path
    max_message_size: int = params.MAX_MESSAGE_SIZE
    recipients_per_day: int = 0
    unlimited_clients: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    limits: SmtpLimits = field(default_factory=SmtpLimits)

    @property
    def trusted_relays(self) -> tuple[str, ...]:
        return ()
