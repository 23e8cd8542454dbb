"""The one failure vocabulary, from a node's disk to the SMTP reply line.

Every failure says whether trying again can help and carries an enhanced status code (RFC 3463); only the edge
(an SMTP reply, an HTTP status, a DSN) formats it. The text names what and where; what goes on the wire to
strangers is chosen by the edge, not here.

    Failure
    ├── TemporaryFailure            trying again later, or elsewhere, can help
    │   ├── Unreachable             no answer from a peer
    │   ├── NoQuorum                fewer than w replicas answered with success
    │   ├── CannotKnow              neither yes nor no can be said now (a DHT miss proves nothing)
    │   │   └── NoGoodCopy          nodes gave copies, each of them bad; another may have a good one
    │   ├── InboxFull               the inbox is at its limit on too many nodes
    │   ├── InboxDormant            its owner has not read for a long time
    │   ├── NodeFull                no room on a node (HTTP 507)
    │   ├── BodyNotHeld             the body that an entry goes with is not on this node (HTTP 424)
    │   ├── RateLimited             too much from this signer now (HTTP 429)
    │   └── ClockSkew               our clock and the others' differ too much
    ├── PermanentFailure            the same request will fail again
    │   ├── NoSuchAddress           the domain has no such address
    │   ├── NotOurDomain            the address belongs to no domain served here
    │   ├── TooLarge                over a size limit
    │   └── NotFound                the node does not have it
    └── Refused                     what was presented is not acceptable
        ├── Malformed               it does not parse, or a field is out of bounds
        ├── Tampered                a digest, seal or padding does not match
        ├── SignatureRefused        a signature does not verify
        ├── CertificateRefused      not ours, wrong role, expired or revoked
        ├── UnknownCertificate      the signer's certificate has not been seen; send it along
        ├── NotAuthorised           a valid signer who may not do this
        ├── Expired                 past its signed expiry
        ├── Replayed                the same signed request was seen before
        └── Superseded              a newer version is already known
"""

from typing import ClassVar


class Failure(Exception):
    """Base of all failures. `status` is the RFC 3463 code, `http_status` what a node answers with."""

    status: ClassVar[str] = "4.0.0"
    http_status: ClassVar[int] = 500
    temporary: ClassVar[bool] = True


class TemporaryFailure(Failure):
    status = "4.0.0"
    http_status = 503


class Unreachable(TemporaryFailure):
    status = "4.4.1"


class NoQuorum(TemporaryFailure):
    status = "4.4.0"


class CannotKnow(TemporaryFailure):
    status = "4.4.3"


class NoGoodCopy(CannotKnow):
    pass


class InboxFull(TemporaryFailure):
    status = "4.2.2"
    http_status = 413


class InboxDormant(TemporaryFailure):
    status = "4.2.1"


class NodeFull(TemporaryFailure):
    status = "4.3.1"
    http_status = 507


class BodyNotHeld(TemporaryFailure):
    http_status = 424  # RFC 4918 §11.4: failed dependency


class RateLimited(TemporaryFailure):
    status = "4.3.2"
    http_status = 429


class ClockSkew(TemporaryFailure):
    status = "4.3.5"
    http_status = 425


class PermanentFailure(Failure):
    status = "5.0.0"
    http_status = 400
    temporary = False


class NoSuchAddress(PermanentFailure):
    status = "5.1.1"
    http_status = 404


class NotOurDomain(PermanentFailure):
    status = "5.7.1"
    http_status = 404


class TooLarge(PermanentFailure):
    status = "5.3.4"
    http_status = 413


class NotFound(PermanentFailure):
    status = "5.1.1"
    http_status = 404


class Refused(Failure):
    status = "5.7.0"
    http_status = 400
    temporary = False


class Malformed(Refused):
    status = "5.5.2"


class Tampered(Refused):
    status = "5.7.7"  # RFC 3463 §3.8: message integrity failure
    http_status = 422


class SignatureRefused(Refused):
    status = "5.7.7"
    http_status = 401


class CertificateRefused(Refused):
    status = "5.7.8"
    http_status = 401


class UnknownCertificate(Refused):
    status = "4.7.8"
    http_status = 428
    temporary = True


class NotAuthorised(Refused):
    status = "5.7.1"
    http_status = 403


class Expired(Refused):
    status = "5.4.7"
    http_status = 410


class Replayed(Refused):
    status = "5.7.0"
    http_status = 409


class Superseded(Refused):
    status = "5.7.0"
    http_status = 412


def by_http_status(status: int, reason: str) -> Failure:
    """Return the failure a node meant by `status` and `reason` (its class name, then ": " and detail)."""
    name = reason.partition(":")[0].strip()
    kind = _BY_NAME.get(name)
    if kind is not None:
        return kind(reason.partition(":")[2].strip() or name)
    if status >= 500 or status == 429:
        return TemporaryFailure(f"{status} {reason}")
    return Refused(f"{status} {reason}")


def _descendants(kind: type[Failure]) -> list[type[Failure]]:
    return [kind, *(deeper for child in kind.__subclasses__() for deeper in _descendants(child))]


_BY_NAME = {kind.__name__: kind for kind in _descendants(Failure)}
