"""DKIM (RFC 6376): a message's signatures, verified with keys that are asked for and body hashes made while it arrived.

The size of the message does not matter (`body_hashes`), and what a stranger puts into a signature or a key record costs
no more time than its length (docs/decisions/0033).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.mail.dkim_header import SignedHeader, signature_fields
from gateway.smtp import params
from gateway.smtp.body_hashes import BodyHashes
from gateway.smtp.dkim_tags import Key, SignatureField, parse_key, parse_signature
from gateway.smtp.sender_policy import Dns
from p2pcore.errors import CannotKnow, Malformed

Keys = Mapping[str, Key | CannotKnow | Malformed]
"""By name, a key, or why there is none."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One DKIM-Signature's result (RFC 8601 §2.7.1): domain is d=, selector is s=."""

    result: str
    domain: str
    selector: str
    comment: str = ""


class Signatures:
    """The signatures in a header section, MAX_SIGNATURES at most. `body` is to be shown the whole body."""

    def __init__(self, header: bytes) -> None:
        self._fields = [parse_signature(field) for field in signature_fields(header, params.MAX_SIGNATURES)]
        self.body = BodyHashes({field.body for field in self._fields if not field.defect})

    @property
    def are_there(self) -> bool:
        """Whether there is any."""
        return bool(self._fields)

    async def check(self, header: bytes, resolver: Dns, now: int, until: float) -> list[Signature]:
        """Return each signature's result, the topmost first, once `body` has ended; `header` is the same as before.

        `now` in ms; a key that is not here at `until` (the loop's time) cannot be known.
        """
        names = list(dict.fromkeys(field.key_name for field in self._fields if not field.defect))
        found = await asyncio.gather(*(_key(name, resolver, until) for name in names))
        keys = dict(zip(names, found, strict=True))
        if len(header) * len(self._fields) > params.INLINE_VERIFY:
            return await asyncio.to_thread(self._judge_all, header, keys, now)
        return self._judge_all(header, keys, now)

    def _judge_all(self, header: bytes, keys: Keys, now: int) -> list[Signature]:
        signed = SignedHeader(header if keys else b"")
        return [self._judge(signed, field, keys, now) for field in self._fields]

    def _judge(self, header: SignedHeader, field: SignatureField, keys: Keys, now: int) -> Signature:
        def judged(result: str, comment: str = "") -> Signature:
            return Signature(result, field.domain, field.selector, comment)

        if field.defect:
            return judged("permerror", field.defect)
        key = keys[field.key_name]
        if isinstance(key, CannotKnow):
            return judged("temperror", "key cannot be looked up")
        if isinstance(key, Malformed):
            return judged("permerror", str(key))
        if key.public.key_type != field.key_type:
            return judged("permerror", "key is of another type")
        if key.is_strict and field.identity != field.domain:
            return judged("permerror", "key is not for subdomains")  # §3.6.1, t=s
        covered, size = field.body.length, self.body.size(field.body)
        if covered is not None and covered > size:
            return judged("permerror", "l= is larger than the body")  # §3.5
        if failure := self._failure(header, field, key, now):
            return judged("fail", failure)
        if covered is not None and covered < size:
            return judged("policy", "l= covers only a part of the body")  # §8.2
        if key.is_test:
            return judged("neutral", "key is being tested")  # §3.6.1, t=y: no different from no signature
        return judged("pass")

    def _failure(self, header: SignedHeader, field: SignatureField, key: Key, now: int) -> str:
        """Return why a signature that can be checked does not verify, "" where it does (§6.1.3)."""
        seconds = now // 1_000
        if field.expires is not None and field.expires < seconds - params.DKIM_LEEWAY:
            return "signature has expired"
        if field.issued is not None and field.issued > seconds + params.DKIM_LEEWAY:
            return "signature is of the future"
        if self.body.digest(field.body) != field.body_hash:
            return "body has been altered"
        if header.has_more(b"from", field.names.count(b"from")):  # §8.15
            return "a From field is not signed"
        covered = header.covered(field.names, field.header_form, field.octets)
        return "" if key.public.has_signed(covered, field.signature) else "signature does not verify"


async def _key(name: str, resolver: Dns, until: float) -> Key | CannotKnow | Malformed:
    """Return the key, or why there is none: DNS did not say, or what it says is no use (§6.1.2)."""
    try:
        async with asyncio.timeout_at(until):
            answer = await resolver.text(name)
        return parse_key(answer.values[0]) if answer.values else Malformed("no key")
    except TimeoutError:
        return CannotKnow(f"{name}: no answer in time")
    except (CannotKnow, Malformed) as error:
        return error
