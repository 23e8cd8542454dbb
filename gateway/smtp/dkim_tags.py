"""What DKIM writes as tags: its signature fields (RFC 6376 §3.5) and key records (§3.6.1, RFC 8301, RFC 8463); pure.

Strangers write both, so everything here takes time in proportion to what is read, and a key has a bounded size.
"""

import base64
import binascii
import re
from typing import Final

from msgspec import Struct

from gateway.mail.address import domain_in_dns
from gateway.mail.dkim_header import Canonicalisation
from gateway.smtp import params
from gateway.smtp.body_hashes import BodyRule
from p2pcore.crypto.dkim_keys import DkimPublic
from p2pcore.errors import Malformed

_SPACE = b" \t\r\n"
_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]*")
_DOMAIN = re.compile(r"[a-z0-9_\-.]+")
_NUMBER = re.compile(rb"[0-9]{1,18}")  # §3.5 allows l= 76 digits; no body has so many octets
_FORMS: Final[dict[bytes, Canonicalisation]] = {b"simple": "simple", b"relaxed": "relaxed"}
_KEY_TYPES: Final = {b"rsa-sha256": "rsa", b"ed25519-sha256": "ed25519"}


class SignatureField(Struct, frozen=True):
    """One DKIM-Signature, white space that means nothing undone. Times are in seconds.

    `defect` is why it can prove nothing, "" where it may; then only `domain` and `selector` mean anything, and are ""
    where there are none. `key_type`: k= of a key that fits a=. `identity`: the domain of i=. `octets`: the field.
    """

    domain: str = ""
    selector: str = ""
    defect: str = ""
    key_type: str = ""
    header_form: Canonicalisation = "simple"
    body: BodyRule = BodyRule("simple")
    names: tuple[bytes, ...] = ()
    body_hash: bytes = b""
    signature: bytes = b""
    identity: str = ""
    octets: bytes = b""
    issued: int | None = None
    expires: int | None = None

    @property
    def key_name(self) -> str:
        """Where the key record is in DNS (§3.6.2.1)."""
        return f"{self.selector}._domainkey.{self.domain}"


class Key(Struct, frozen=True):
    """A key record's key. `is_strict` (t=s): i= has the signature's very domain; `is_test` (t=y): it proves nothing."""

    public: DkimPublic
    is_strict: bool = False
    is_test: bool = False


def parse_tags(octets: bytes) -> dict[bytes, bytes]:
    """Return a tag-list's values by name, in order (§3.2). Raises Malformed."""
    tags: dict[bytes, bytes] = {}
    *parts, last = octets.split(b";")
    if last.strip(_SPACE):
        parts.append(last)
    for part in parts:
        name, equals, value = part.partition(b"=")
        name = name.strip(_SPACE)
        if not equals or _NAME.fullmatch(name) is None:
            raise Malformed("not a list of tags")
        if name in tags:
            raise Malformed(f"{name.decode()}= twice")
        tags[name] = value.strip(_SPACE)
    return tags


def parse_signature(field: bytes) -> SignatureField:
    """Return what a DKIM-Signature field says (§3.5, §6.1.1)."""
    domain = selector = ""
    if len(field) > params.MAX_SIGNATURE:
        return SignatureField(defect="signature is too long")
    try:
        tags = parse_tags(field.partition(b":")[2])
        domain, selector = _text(tags, b"d"), _text(tags, b"s")
        return _signature(field, tags, _domain(domain), _domain(selector))
    except Malformed as error:
        return SignatureField(domain, selector, str(error))


def _domain(text: str) -> str:
    """Return d= or s= as DNS is asked for it; it may be of U-labels (RFC 8616 §5)."""
    name = domain_in_dns(text)
    if _DOMAIN.fullmatch(name) is None:
        raise Malformed("d= or s= is not a domain")
    return name


def _signature(field: bytes, tags: dict[bytes, bytes], domain: str, selector: str) -> SignatureField:
    if tags.get(b"v") != b"1":
        raise Malformed("v= is not 1")
    key_type = _KEY_TYPES.get(tags.get(b"a", b""))
    if key_type is None:
        raise Malformed(f"a={_text(tags, b'a')[:30]} proves nothing here")  # RFC 8301 §3.1 of rsa-sha1
    if b"q" in tags and b"dns/txt" not in _list(tags[b"q"]):
        raise Malformed("q= has no method known here")
    header_form, _, body_form = tags.get(b"c", b"simple").partition(b"/")
    forms = _FORMS.get(header_form), _FORMS.get(body_form or b"simple")
    if forms[0] is None or forms[1] is None:
        raise Malformed("c= not understood")
    names = tuple(name.lower() for name in _list(tags.get(b"h", b"")))
    if b"from" not in names:
        raise Malformed("From is not signed")
    identity = domain
    if b"i" in tags:
        identity = domain_in_dns(_text(tags, b"i").rpartition("@")[2])
        if identity != domain and not identity.endswith(f".{domain}"):
            raise Malformed("i= is outside of d=")
    issued, expires = _number(tags, b"t"), _number(tags, b"x")
    if issued is not None and expires is not None and expires <= issued:
        raise Malformed("x= is not after t=")
    return SignatureField(
        domain=domain,
        selector=selector,
        key_type=key_type,
        header_form=forms[0],
        body=BodyRule(forms[1], _number(tags, b"l")),
        names=names,
        body_hash=_octets(tags, b"bh"),
        signature=_octets(tags, b"b"),
        identity=identity,
        octets=field,
        issued=issued,
        expires=expires,
    )


def parse_key(record: bytes) -> Key:
    """Return the key in a TXT record (§3.6.1, §6.1.2). Raises Malformed."""
    tags = parse_tags(record)
    if b"v" in tags and (tags[b"v"] != b"DKIM1" or next(iter(tags)) != b"v"):
        raise Malformed("key record of another version")
    if b"h" in tags and b"sha256" not in _list(tags[b"h"]):
        raise Malformed("key is not for sha256")
    if not {b"*", b"email"} & {*_list(tags.get(b"s", b"*"))}:
        raise Malformed("key is not for mail")
    if tags.get(b"p") == b"":
        raise Malformed("key is revoked")
    flags = _list(tags.get(b"t", b""))
    public = DkimPublic.read(tags.get(b"k", b"rsa").decode("ascii", "replace"), _octets(tags, b"p"))
    return Key(public, is_strict=b"s" in flags, is_test=b"y" in flags)


def _list(value: bytes) -> list[bytes]:
    """Return the items that colons separate."""
    return [word for item in value.split(b":") if (word := item.strip(_SPACE))]


def _text(tags: dict[bytes, bytes], name: bytes) -> str:
    return tags.get(name, b"").decode("utf-8", "replace")


def _number(tags: dict[bytes, bytes], name: bytes) -> int | None:
    value = tags.get(name)
    if value is None:
        return None
    if _NUMBER.fullmatch(value) is None:
        raise Malformed(f"{name.decode()}= is not a number")
    return int(value)


def _octets(tags: dict[bytes, bytes], name: bytes) -> bytes:
    """Return what a tag holds in base64, folded as it may be."""
    try:
        octets = base64.b64decode(tags.get(name, b"").translate(None, _SPACE), validate=True)
    except binascii.Error as error:
        raise Malformed(f"{name.decode()}= is not base64") from error
    if not octets:
        raise Malformed(f"no {name.decode()}=")
    return octets
