"""Mail addresses as SMTP writes them (RFC 5321 §4.1.2, RFC 6531 §3.3); pure."""

import re
from functools import lru_cache

from msgspec import Struct

from p2pcore import params
from p2pcore.errors import Malformed
from p2pcore.names import canonical_domain

MAX_PATH = 256  # octets with "<" and ">", RFC 5321 §4.5.3.1.3
_MAILBOXES = 4_096  # remembered, of MAX_PATH octets each: the same ones come again and again
_MAX_LABEL = 63  # octets, RFC 1035 §2.3.4
MAX_SOURCE_ROUTE = 1_000  # octets of "@a,@b:"; more is no route that anybody ever wrote

# RFC 5321's Dot-string with dots anywhere: large providers have such users, as user..name@ and name.@
_DOT_STRING = r"[.A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]+"
_QUOTED_STRING = r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e\u0080-\U0010ffff]|\\[\x20-\x7e])*"'
# "_" occurs in real host names though RFC 5321's Let-dig has none
_LABEL = r"[A-Za-z0-9_\u0080-\U0010ffff](?:[A-Za-z0-9_\-\u0080-\U0010ffff]*[A-Za-z0-9_\u0080-\U0010ffff])?"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*\.?"
_ADDRESS_LITERAL = r"\[[!-Z^-~]+\]"
_MAILBOX = re.compile(rf"({_DOT_STRING}|{_QUOTED_STRING})@({_DOMAIN}|{_ADDRESS_LITERAL})")
_SOURCE_ROUTE = re.compile(rf"@{_DOMAIN}(?:,@{_DOMAIN})*:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_HELO = re.compile(rf"(?:[._\-]*[A-Za-z0-9][A-Za-z0-9._\-]*|{_ADDRESS_LITERAL})\Z")


class Mailbox(Struct, frozen=True):
    """local-part@domain as written; `domain` may be an address literal in brackets."""

    local: str
    domain: str

    @property
    def has_literal(self) -> bool:
        """True where the domain is an address literal, as in user@[192.0.2.1]."""
        return self.domain.startswith("[")

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"


def is_ascii(text: str) -> bool:
    """Return whether `text` needs no SMTPUTF8."""
    return text.isascii()


def is_helo_name(name: str) -> bool:
    """Return whether `name` may stand in EHLO and in a trace field: a domain or an address literal."""
    return len(name) <= params.MAX_DOMAIN and _HELO.match(name) is not None  # RFC 5321 §4.1.1.1


def domain_in_dns(domain: str) -> str:
    """Return `domain` as DNS is asked for it: lower-case, in A-labels, without the root's dot. Raises Malformed.

    What is ASCII goes as it is: DNS has names that IDNA has no rule for, as with "_" or labels of an older IDNA.
    """
    if not domain.isascii():
        return canonical_domain(domain)
    name = domain.lower().removesuffix(".")
    if len(name) > params.MAX_DOMAIN or any(not 1 <= len(label) <= _MAX_LABEL for label in name.split(".")):
        raise Malformed(f"domain {domain[:80]!r}: empty, too long, or with a label that is")
    return name


def parse_path(text: str) -> tuple[Mailbox | None, str]:
    """Return what the path that `text` begins with names, and the text behind its ">".

    None stands for "<>". A source route is read and forgotten. Raises Malformed.
    """
    if text.startswith("<>"):
        return None, text[2:]
    if not text.startswith("<"):
        raise Malformed("a path is written in angle brackets")
    start = 1
    if text.startswith("@", 1):
        route = _SOURCE_ROUTE.match(text, 1)  # RFC 5321 §4.1.1.3: MUST be accepted, SHOULD be ignored
        if route is None or route.end() > MAX_SOURCE_ROUTE or _CONTROL.search(text, 1, route.end()):
            raise Malformed("source route that does not parse")
        start = route.end()
    match = _MAILBOX.match(text, start)
    if match is None or not text.startswith(">", match.end()):
        raise Malformed("not of the form <local-part@domain>")
    return _checked(match[1], match[2]), text[match.end() + 1 :]


def parse_mailbox(text: str) -> Mailbox:
    """Return the mailbox that `text` is, without angle brackets. Raises Malformed."""
    match = _MAILBOX.fullmatch(text)
    if match is None:
        raise Malformed("not of the form local-part@domain")
    return _checked(match[1], match[2])


def _octets(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


@lru_cache(_MAILBOXES)
def _checked(local: str, domain: str) -> Mailbox:
    """Raise Malformed where the path is longer than RFC 5321 §4.5.3.1.3 allows, or holds a control character.

    A local part may be as long as a path has room for: SRS, VERP and reply tokens are often above §4.5.3.1.1's 64.
    """
    mailbox = Mailbox(local, domain)
    if _octets(domain) > params.MAX_DOMAIN or _octets(str(mailbox)) > MAX_PATH - 2:
        raise Malformed(f"path longer than {MAX_PATH} octets")
    if _CONTROL.search(local) or _CONTROL.search(domain):
        raise Malformed("control character in an address")
    return mailbox
