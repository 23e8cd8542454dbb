"""From names to keys: the canonical form of a mail address, and the key of every identifier (Table 1).

Everybody's inbox key depends on these rules, so they are frozen by the vectors in `tests/vectors/names.json`.
"""

import hashlib
import re
import unicodedata
from typing import Literal

import idna

from p2pcore import params
from p2pcore.errors import Malformed

VersionedKind = Literal["certificate", "domain"]

# RFC 5322 §3.2.3 atext, and any non-ASCII character (RFC 6531 §3.3)
_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]|[^\x00-\x7f]"
_DOT_ATOM = re.compile(rf"(?:{_ATEXT})+(?:\.(?:{_ATEXT})+)*\Z")
_QUOTED = re.compile(r'"((?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*)"\Z')


def split_address(address: str) -> tuple[str, str]:
    """Return (local part, domain) of `address`, split at the last "@". Raises Malformed."""
    local, at, domain = address.rpartition("@")
    if not at or not local or not domain:
        raise Malformed(f"address {address!r}: not of the form local-part@domain")
    if len(address.encode()) > params.MAX_ADDRESS:
        raise Malformed(f"address {address[:40]!r}…: longer than {params.MAX_ADDRESS} octets")
    return local, domain


def canonical_domain(domain: str) -> str:
    """Return `domain` as lower-case A-labels (IDNA 2008 with UTS 46 mapping). Raises Malformed."""
    try:
        ascii_domain = idna.encode(domain.removesuffix("."), uts46=True, std3_rules=True).decode().lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise Malformed(f"domain {domain!r}: {error}") from error
    if len(ascii_domain) > params.MAX_DOMAIN or not ascii_domain:
        raise Malformed(f"domain {domain!r}: empty or longer than {params.MAX_DOMAIN} octets")
    return ascii_domain


def canonical_local_part(local: str) -> str:
    """Return `local` without needless quoting, NFC, casefolded, without its plus-tag. Raises Malformed."""
    quoted = _QUOTED.match(local)
    if quoted:
        text = re.sub(r"\\(.)", r"\1", quoted.group(1))
    elif _DOT_ATOM.match(local):
        text = local
    else:
        raise Malformed(f"local part {local!r}: neither a dot-atom nor a quoted string")
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    user, plus, _tag = text.partition("+")
    if plus and user:
        text = user
    if not text:
        raise Malformed(f"local part {local!r}: empty")
    if _DOT_ATOM.match(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def canonical_address(address: str) -> str:
    """Return the form of `address` that is hashed: canonical local part, "@", A-labels. Raises Malformed."""
    local, domain = split_address(address)
    if len(local.encode()) > params.MAX_LOCAL_PART:
        raise Malformed(f"local part {local[:40]!r}…: longer than {params.MAX_LOCAL_PART} octets")
    return f"{canonical_local_part(local)}@{canonical_domain(domain)}"


def key_of(identifier: str) -> bytes:
    """Return SHA-256(identifier), the 32-octet key of Table 1."""
    return hashlib.sha256(identifier.encode()).digest()


def inbox_key(address: str) -> bytes:
    """Return the key of the inbox of a canonical primary address."""
    return key_of(address)


def certificate_identifier(address: str) -> str:
    """Return the identifier of the certificate of a canonical primary address (Table 1)."""
    return f"{address}-certificate"


def domain_identifier(domain: str) -> str:
    """Return the identifier of a canonical domain's record."""
    return f"p2pmail-domain:{domain}"
