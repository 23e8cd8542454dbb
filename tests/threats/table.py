"""Who may ask a node for what: the outcome of every primitive for everybody who may try. docs/threats.md shows it."""

from typing import Final

from p2pcore.errors import (
    CertificateRefused,
    ClockSkew,
    Failure,
    NotAuthorised,
    Replayed,
    SignatureRefused,
)

Outcome = type[Failure] | None  # None: it is done

ROLES: Final = ("owner", "other user", "gateway", "node", "directory")
OTHERS: Final[dict[str, Outcome]] = {
    "stranger": CertificateRefused,
    "unsigned": SignatureRefused,
    "revoked": CertificateRefused,
    "expired": CertificateRefused,
    "replayed": Replayed,
    "replayed after a restart": ClockSkew,
    "to another node": NotAuthorised,
}
WHO: Final = (*ROLES, *OTHERS)

_NO: Final = NotAuthorised
_ANYBODY: Final[tuple[Outcome, ...]] = (None, None, None, None, None)
_NOBODY: Final[tuple[Outcome, ...]] = (_NO, _NO, _NO, _NO, _NO)
_OWNER: Final[tuple[Outcome, ...]] = (None, _NO, _NO, _NO, _NO)
_OWNER_OR_REPAIR: Final[tuple[Outcome, ...]] = (None, _NO, _NO, None, _NO)
_WRITERS: Final[tuple[Outcome, ...]] = (None, None, None, _NO, _NO)
_NODES: Final[tuple[Outcome, ...]] = (_NO, _NO, _NO, None, _NO)
_DIRECTORY: Final[tuple[Outcome, ...]] = (_NO, _NO, _NO, _NO, None)

DATAGRAMS: Final = "a datagram of the DHT"

_BY_ROLE: Final[dict[str, tuple[Outcome, ...]]] = {
    "store": _WRITERS,
    "store, signed by the owner": _OWNER_OR_REPAIR,
    "fetch": _ANYBODY,
    "delete, with a secret": _ANYBODY,
    "delete, without one": _NOBODY,
    "append-inbox": _WRITERS,
    "append-inbox, signed by the owner": _OWNER_OR_REPAIR,
    "read-inbox": _OWNER,
    "acknowledge": _OWNER,
    "acknowledge, signed by the owner": _OWNER_OR_REPAIR,
    "publish a user's certificate": (None, _NO, _NO, _NO, None),
    "publish a domain record": _DIRECTORY,
    "publish a head": _DIRECTORY,
    "publish what the directory signed": _ANYBODY,
    "resolve": _ANYBODY,
    "ask-inbox": _ANYBODY,
    "ask-certificate": _ANYBODY,
    "offer": _NODES,
    "ask-settled": _NODES,
    "greet": _NODES,
    DATAGRAMS: _ANYBODY,
}

TABLE: Final[dict[tuple[str, str], Outcome]] = {
    (primitive, who): outcome
    for primitive, by_role in _BY_ROLE.items()
    for who, outcome in {**dict(zip(ROLES, by_role, strict=True)), **OTHERS}.items()
}
# A restarted node has forgotten the request; a datagram changes nothing, and its answer goes where it came from
TABLE[DATAGRAMS, "replayed after a restart"] = None

PRIMITIVES: Final = tuple(_BY_ROLE)


def usual(primitive: str) -> str:
    """Return the role of whoever asks this in earnest: the first of ROLES that may, the owner where nobody may."""
    return next((role for role in ROLES if TABLE[primitive, role] is None), "owner")


def as_markdown() -> str:
    """Return the table as docs/threats.md has it: ✓, the refusal's HTTP status, or – for a dropped datagram."""
    lines = [f"| asked for | {' | '.join(WHO)} |", "|---|" + ":-:|" * len(WHO)]
    for primitive in PRIMITIVES:
        cells = [_cell(primitive, who) for who in WHO]
        lines.append(f"| {primitive} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(primitive: str, who: str) -> str:
    outcome = TABLE[primitive, who]
    if outcome is None:
        return "✓"
    return "–" if primitive == DATAGRAMS else str(outcome.http_status)
