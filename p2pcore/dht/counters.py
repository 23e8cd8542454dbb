"""What happened to datagrams, counted: the only trace of those that are dropped."""

from dataclasses import dataclass

from p2pcore.errors import (
    CertificateRefused,
    ClockSkew,
    Expired,
    Failure,
    Malformed,
    NotAuthorised,
    RateLimited,
    Replayed,
    SignatureRefused,
    TooLarge,
    UnknownCertificate,
)


@dataclass(slots=True)
class Counters:
    """Datagrams since start. From `malformed` on: dropped, by reason."""

    received: int = 0
    sent: int = 0
    requests: int = 0  # verified and answered
    replies: int = 0  # verified
    late: int = 0  # verified replies after their timeout, among `replies`
    who_are_you: int = 0  # sent
    timeouts: int = 0
    malformed: int = 0
    too_large: int = 0
    misaddressed: int = 0  # not to us, or not a kind that we answer
    skewed: int = 0
    unknown_signer: int = 0
    mis_signed: int = 0
    unadmitted: int = 0
    replayed: int = 0
    rate_limited: int = 0
    unmatched: int = 0  # replies that answer nothing we asked, or come from elsewhere
    errors: int = 0  # reported by the system: unreachable, not sent

    def count(self, failure: Failure) -> None:
        """Count a datagram dropped because of `failure`."""
        for kind, field in _FIELDS:
            if isinstance(failure, kind):
                setattr(self, field, getattr(self, field) + 1)
                return
        self.malformed += 1


_FIELDS: tuple[tuple[type[Failure], str], ...] = (
    (TooLarge, "too_large"),
    (Malformed, "malformed"),
    (NotAuthorised, "misaddressed"),
    (ClockSkew, "skewed"),
    (UnknownCertificate, "unknown_signer"),
    (SignatureRefused, "mis_signed"),
    (CertificateRefused, "unadmitted"),
    (Expired, "unadmitted"),
    (Replayed, "replayed"),
    (RateLimited, "rate_limited"),
)
