"""DKIM (RFC 6376): dkimpy's verification in a thread, with keys that were asked for beforehand."""

import asyncio
import re
from dataclasses import dataclass

import dkim
from dkim.canonicalization import CanonicalizationPolicy
from dkim.util import InvalidTagValueList, parse_tag_value

from gateway.smtp import params
from gateway.smtp.sender_policy import Dns
from p2pcore.errors import CannotKnow

_FIELD = re.compile(rb"(?:\A|\n)dkim-signature[ \t]*:((?:[^\r\n]|\r\n[ \t])*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Signature:
    """One DKIM-Signature's result (RFC 8601 §2.7.1): domain is d=, selector is s=."""

    result: str
    domain: str
    selector: str
    comment: str = ""


def is_signed(header: bytes) -> bool:
    """Return whether a header section holds a DKIM-Signature."""
    return _FIELD.search(header) is not None


def signature_fields(header: bytes) -> list[tuple[str, str]]:
    """Return (domain, selector) of each DKIM-Signature in a header section, "" where it has none; at most 8."""
    found = []
    for value in _FIELD.findall(header)[: params.MAX_SIGNATURES]:
        try:
            tags = parse_tag_value(value)
        except InvalidTagValueList:
            tags = {}
        found.append((_text(tags.get(b"d", b"")), _text(tags.get(b"s", b""))))
    return found


async def check_signatures(header: bytes, content: bytes | None, resolver: Dns) -> list[Signature]:
    """Return each signature's result; content None: it was too large to keep, so nothing can be said about any."""
    fields = signature_fields(header)
    if not fields:
        return []
    if content is None:
        return [Signature("neutral", domain, selector, "message too large to check") for domain, selector in fields]
    names = {f"{selector}._domainkey.{domain}" for domain, selector in fields if domain and selector}
    keys = dict(zip(names, await asyncio.gather(*(_key(name, resolver) for name in names)), strict=True))
    return await asyncio.to_thread(_verify, content, fields, keys)


async def _key(name: str, resolver: Dns) -> bytes | CannotKnow:
    try:
        answer = await resolver.text(name)
    except CannotKnow as failure:
        return failure
    return answer.values[0] if answer.values else b""


def _verify(content: bytes, fields: list[tuple[str, str]], keys: dict[str, bytes | CannotKnow]) -> list[Signature]:
    checker = dkim.DKIM(content)
    return [_one(checker, index, *field, keys) for index, field in enumerate(fields)]


def _one(checker: dkim.DKIM, index: int, domain: str, selector: str, keys: dict[str, bytes | CannotKnow]) -> Signature:
    key = keys.get(f"{selector}._domainkey.{domain}", b"")
    if isinstance(key, CannotKnow):
        return Signature("temperror", domain, selector, "key cannot be looked up")
    if not key:
        return Signature("permerror", domain, selector, "no key")  # RFC 6376 §6.1.2
    try:
        valid = checker.verify(index, dnsfunc=lambda _name, timeout=0: key)
        if valid and _covers_part(checker):
            return Signature("policy", domain, selector, "l= covers only a part of the body")  # RFC 6376 §8.2
    except dkim.ValidationError as error:
        return Signature("fail", domain, selector, _reason(error))
    except (dkim.DKIMException, ValueError, KeyError, TypeError, IndexError, AssertionError) as error:
        return Signature("permerror", domain, selector, _reason(error))
    return Signature("pass" if valid else "fail", domain, selector)


def _covers_part(checker: dkim.DKIM) -> bool:
    tags = checker.signature_fields
    if b"l" not in tags:
        return False
    policy = CanonicalizationPolicy.from_c_value(tags.get(b"c", b"simple/simple"))
    return int(tags[b"l"]) < len(policy.canonicalize_body(checker.body))


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:80]


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace").strip()
