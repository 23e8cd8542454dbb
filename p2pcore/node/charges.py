"""What each thing that is held counts in the quota, in octets: what it is, and the rows that it leads to.

An object pays for its tombstones and an entry for its mark when they come, so ending them needs no room. What ended
goes on counting what its proof takes, until it expires: an object its statement and tombstones, an entry nothing, its
acknowledgement all the rest.
"""

from collections.abc import Iterator
from typing import Final

import apsw

ROW: Final = 256  # a row beside its statement: other columns, indexes, space left in pages
_TOMBSTONE: Final = 128  # a row of `tombstones` and its index
_NAMED: Final = 5  # an entry named in 34 octets of an acknowledgement takes a row of `marks` and its index as well

_BY_SIGNER: Final = """
    SELECT signer, sum(length(signed) + ?1 + rights * ?2 + iif(held > 0, size, 0)) FROM objects GROUP BY signer
    UNION ALL SELECT signer, sum(octets + ?1) FROM entries GROUP BY signer
    UNION ALL SELECT signer, sum(length(signed) * ?3 + ?1) FROM acknowledgements GROUP BY signer
    UNION ALL SELECT signer, sum(length(signed) + length(content) + ?1) FROM versions GROUP BY signer
"""


def by_signer(db: apsw.Connection) -> Iterator[tuple[bytes, int]]:
    """Yield what the database holds, by signer (certificate digest; one may come several times)."""
    yield from db.execute(_BY_SIGNER, (ROW, _TOMBSTONE, _NAMED))


def of_statement(signed_octets: int, rights: int) -> int:
    """Return what an object's row counts without its body."""
    return signed_octets + ROW + rights * _TOMBSTONE


def of_entry(signed_octets: int) -> int:
    """Return what an entry counts."""
    return signed_octets + ROW


def of_acknowledgement(signed_octets: int) -> int:
    """Return what an acknowledgement and its marks count."""
    return signed_octets * _NAMED + ROW


def of_version(signed_octets: int, content_octets: int) -> int:
    """Return what a certificate or domain record counts."""
    return signed_octets + content_octets + ROW
