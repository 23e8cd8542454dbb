"""Proofs of what ended items, for nodes that still hold them (settlement.py). Works on a reading connection."""

import logging
from collections.abc import Sequence
from typing import Final, Literal

import apsw

from p2pcore.errors import NotFound
from p2pcore.node import certificates
from p2pcore.records import AskSettled, Settled, SignedStatement, decode

Kind = Literal["object", "entry"]

_ANSWER: Final = 1 << 20  # octets
_CERTIFICATES: Final = 100  # in one answer (records.Settled)
_ACKNOWLEDGEMENT: Final = """
    SELECT number, signed, signer FROM marks JOIN acknowledgements ON number = acknowledgement
    WHERE entry = ? AND marks.inbox_key = ?
"""
_SECRETS: Final = """
    SELECT secret FROM tombstones JOIN objects ON number = object WHERE objects.identity = ? AND held = 0
"""
_STATEMENT: Final[dict[Kind, str]] = {
    "object": "SELECT signed FROM objects WHERE identity = ? AND held > 0",
    "entry": "SELECT signed FROM entries WHERE identity = ?",
}

_log = logging.getLogger(__name__)


def answer(db: apsw.Connection, question: AskSettled) -> Settled:
    """Return what settled these here, of the first identities at least where it would be long."""
    if question.kind == "object":
        return Settled((), (), _secrets(db, question.identities))
    ders: dict[bytes, bytes] = {}
    acknowledgements: dict[int, SignedStatement] = {}
    octets = 0
    for identity in question.identities:
        row = db.execute(_ACKNOWLEDGEMENT, (identity, question.inbox_key)).get
        if not isinstance(row, tuple) or row[0] in acknowledgements:
            continue
        number, signed, signer = row
        if octets + len(signed) > _ANSWER or (len(ders) == _CERTIFICATES and signer not in ders):
            break
        octets += len(signed)
        acknowledgements[number] = decode(SignedStatement, signed)
        try:
            ders[signer] = certificates.ask(db, signer)
        except NotFound:
            _log.warning("certificate %s, whose statements are held here, is not", signer.hex())
    return Settled(tuple(ders.values()), tuple(acknowledgements.values()), ())


def _secrets(db: apsw.Connection, identities: Sequence[bytes]) -> tuple[bytes, ...]:
    secrets: list[bytes] = []
    for identity in identities:
        if len(secrets) * 34 > _ANSWER:
            break
        secrets.extend(secret for (secret,) in db.execute(_SECRETS, (identity,)))
    return tuple(secrets)


def still_held(db: apsw.Connection, kind: Kind, identities: Sequence[bytes]) -> dict[bytes, SignedStatement]:
    """Return the statements, by identity, of those that are held here."""
    found = ((identity, db.execute(_STATEMENT[kind], (identity,)).get) for identity in identities)
    return {identity: decode(SignedStatement, signed) for identity, signed in found if isinstance(signed, bytes)}
