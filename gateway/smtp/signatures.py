"""DKIM (RFC 6376): a message's signatures, verified by dkimpy with keys asked for beforehand and body hashes made while
the message arrived (`body_hashes`), so that its size does not matter.
"""

import asyncio
import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any

import dkim
from dkim.canonicalization import CanonicalizationPolicy, InvalidCanonicalizationPolicyError
from dkim.util import InvalidTagValueList, parse_tag_value

from gateway.smtp import params
from gateway.smtp.body_hashes import BodyHashes, BodyRule
from gateway.smtp.sender_policy import Dns
from p2pcore.errors import CannotKnow

_FIELD = re.compile(rb"\ndkim-signature[ \t]*:((?:[^\r\n]+|\r\n[ \t])*)", re.IGNORECASE)
_LENGTH = re.compile(rb"[0-9]{1,18}\Z")  # RFC 6376 §3.5 allows 76 digits; no body has so many octets


@dataclass(frozen=True, slots=True)
class Signature:
    """One DKIM-Signature's result (RFC 8601 §2.7.1): domain is d=, selector is s=."""

    result: str
    domain: str
    selector: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class SignatureField:
    """One DKIM-Signature as it stands in the header; domain and selector are "" where it has none.

    `rule` is None where c= or l= cannot be understood, and the signature is none either then.
    """

    domain: str
    selector: str
    algorithm: str
    rule: BodyRule | None


def is_signed(header: bytes) -> bool:
    """Return whether a header section holds a DKIM-Signature."""
    return _FIELD.search(b"\n" + header) is not None


def signature_fields(header: bytes) -> list[SignatureField]:
    """Return the DKIM-Signatures of a header section, MAX_SIGNATURES at most."""
    found: list[SignatureField] = []
    for value in _FIELD.findall(b"\n" + header)[: params.MAX_SIGNATURES]:
        try:
            tags = parse_tag_value(value)
        except InvalidTagValueList:
            tags = {}
        domain, selector, algorithm = (_text(tags.get(name, b"")) for name in (b"d", b"s", b"a"))
        found.append(SignatureField(domain, selector, algorithm, _rule(tags)))
    return found


def hashes_for(header: bytes) -> BodyHashes:
    """Return what takes the body of a message with this header section."""
    return BodyHashes({field.rule for field in signature_fields(header) if field.rule is not None})


async def check_signatures(header: bytes, hashes: BodyHashes, resolver: Dns) -> list[Signature]:
    """Return each signature's result; `hashes` is `hashes_for(header)`, and has taken the whole body."""
    fields = signature_fields(header)
    if not fields:
        return []
    names = {f"{field.selector}._domainkey.{field.domain}" for field in fields if field.domain and field.selector}
    keys = dict(zip(names, await asyncio.gather(*(_key(name, resolver) for name in names)), strict=True))
    return await asyncio.to_thread(_verify, header, fields, hashes, keys)


async def _key(name: str, resolver: Dns) -> bytes | CannotKnow:
    try:
        answer = await resolver.text(name)
    except CannotKnow as failure:
        return failure
    return answer.values[0] if answer.values else b""


class _HeaderCheck(dkim.DKIM):  # type: ignore[misc]  # dkimpy is not typed
    """dkimpy's verification of a message whose body is known by its hash alone."""

    def __init__(self, header: bytes) -> None:
        super().__init__(header)
        self.body_hash = b""

    def verify_sig_process(self, sig: dict[bytes, bytes], *others: Any) -> bool:
        """Compare bh= (RFC 6376 §6.1.3), then let dkimpy verify the header as if there had been none."""
        if base64.b64decode(re.sub(rb"\s+", b"", sig[b"bh"])) != self.body_hash:
            raise dkim.ValidationError("body hash mismatch")
        return bool(super().verify_sig_process({tag: value for tag, value in sig.items() if tag != b"bh"}, *others))


def _verify(
    header: bytes, fields: list[SignatureField], hashes: BodyHashes, keys: dict[str, bytes | CannotKnow]
) -> list[Signature]:
    checker = _HeaderCheck(header)
    return [_one(checker, index, field, hashes, keys) for index, field in enumerate(fields)]


def _one(
    checker: _HeaderCheck,
    index: int,
    field: SignatureField,
    hashes: BodyHashes,
    keys: dict[str, bytes | CannotKnow],
) -> Signature:
    key = keys.get(f"{field.selector}._domainkey.{field.domain}", b"")

    def judged(result: str, comment: str = "") -> Signature:
        return Signature(result, field.domain, field.selector, comment)

    if field.algorithm == "rsa-sha1":
        return judged("permerror", "rsa-sha1 proves nothing")  # RFC 8301 §3.1
    if field.rule is None:
        return judged("permerror", "c= or l= not understood")
    if isinstance(key, CannotKnow):
        return judged("temperror", "key cannot be looked up")
    if not key:
        return judged("permerror", "no key")  # RFC 6376 §6.1.2
    covered, size = field.rule.length, hashes.size(field.rule)
    if covered is not None and covered > size:
        return judged("permerror", "l= is larger than the body")  # RFC 6376 §3.5
    checker.body_hash = hashes.digest(field.rule)
    try:
        valid = checker.verify(index, dnsfunc=lambda _name, timeout=0: key)
    except dkim.ValidationError as error:
        return judged("fail", _reason(error))
    except (dkim.DKIMException, binascii.Error, ValueError, KeyError, TypeError, IndexError, AssertionError) as error:
        return judged("permerror", _reason(error))
    if valid and covered is not None and covered < size:
        return judged("policy", "l= covers only a part of the body")  # RFC 6376 §8.2
    return judged("pass" if valid else "fail")


def _rule(tags: dict[bytes, bytes]) -> BodyRule | None:
    try:
        policy = CanonicalizationPolicy.from_c_value(tags.get(b"c"))
    except InvalidCanonicalizationPolicyError:
        return None
    length = tags.get(b"l")
    if length is not None and _LENGTH.match(length) is None:
        return None
    name = policy.body_algorithm.name
    return BodyRule("relaxed" if name == b"relaxed" else "simple", None if length is None else int(length))


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:80]


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace").strip()
