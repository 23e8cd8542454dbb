"""From names to keys: the canonical form of a mail address, and the key of every identifier (Table 1).

Everybody's inbox key depends on these rules, so they are frozen by the vectors in `tests/vectors/names.json`.
"""

import hashlib
import re
import unicodedata
from functools import lru_cache
from typing import Literal

import idna

from p2pcore import params
from p2pcore.errors import Malformed

_CANONICAL_FORMS = 4_096  # addresses and domains whose canonical form is remembered: each costs some 100 µs

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
    if _octets(address) > params.MAX_ADDRESS:
        raise Malformed(f"address {address[:40]!r}…: longer than {params.MAX_ADDRESS} octets")
    return local, domain


def canonical_domain(domain: str) -> str:
    """Return `domain` as lower-case A-labels (RFC 5891, with UTS 46 mapping). Raises Malformed."""
    if len(domain) > params.MAX_ADDRESS:  # what is remembered must not be of any length
        raise Malformed(f"domain {domain[:40]!r}…: longer than {params.MAX_ADDRESS} characters")
    return _canonical_domain(domain)


@lru_cache(_CANONICAL_FORMS)
def _canonical_domain(domain: str) -> str:
    try:
        # Whatever stands for the root's dot: UTS 46 maps other full stops to it
        ascii_domain = idna.encode(domain, uts46=True, std3_rules=True).decode().lower().removesuffix(".")
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


@lru_cache(_CANONICAL_FORMS)
def canonical_address(address: str) -> str:
    """Return the form of `address` that is hashed: canonical local part, "@", A-labels. Raises Malformed."""
    local, domain = split_address(address)
    canonical = f"{canonical_local_part(local)}@{canonical_domain(domain)}"
    for form in (address, canonical):  # folding and A-labels can lengthen it, and both forms are addresses
        if _octets(split_address(form)[0]) > params.MAX_LOCAL_PART:
            raise Malformed(f"local part {local[:40]!r}…: longer than {params.MAX_LOCAL_PART} octets")
    return canonical


def _octets(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:  # octets that were no UTF-8 arrive as lone surrogates
        raise Malformed(f"address {text[:40]!r}: not Unicode text") from error


def key_of(identifier: str) -> bytes:
    """Return SHA-256(identifier), the 32-octet key of Table 1."""
    return hashlib.sha256(identifier.encode()).digest()


def inbox_key(address: str) -> bytes:
    """Return the key of the inbox of a canonical primary address."""
    return key_of(address)


def certificate_identifier(address: str) -> str:
    """Return the identifier of the certificate of a canonical primary address (Table 1)."""
    return f"{address}-certificate"


def machine_certificate_identifier(role: str, node_id: bytes) -> str:
    """Return the identifier of the certificate of a machine: its `role`, and the SHA-256 of its public key."""
    return f"p2pmail-{role}:{node_id.hex()}-certificate"


def domain_identifier(domain: str) -> str:
    """Return the identifier of a canonical domain's record."""
    return f"p2pmail-domain:{domain}"
