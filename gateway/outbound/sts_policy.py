"""MTA-STS policies as bytes and rules: the TXT record, the policy file, and which MX hosts a policy allows; pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from p2pcore.errors import Malformed

Mode = Literal["enforce", "testing", "none"]

MAX_POLICY: Final = 64 * 1024  # octets of a policy file (RFC 8461 §3.3 suggests this bound)
MAX_MX: Final = 200  # patterns of one policy
MAX_AGE: Final = 31_557_600  # seconds (RFC 8461 §3.2)

_RECORD = re.compile(rb"v=STSv1[ \t]*;(.*)\Z", re.DOTALL)
_ID = re.compile(rb"[ \t]*id=([A-Za-z0-9]{1,32})[ \t]*\Z")  # RFC 8461 §3.1
_AGE = re.compile(r"[0-9]{1,10}\Z")
_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_PATTERN = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*\Z")


@dataclass(frozen=True, slots=True)
class Policy:
    """What a domain asks of those who send to it; `max_age` in seconds, `mx` lower-case patterns."""

    mode: Mode
    mx: tuple[str, ...]
    max_age: int

    def allows(self, host: str) -> bool:
        """Return whether `host` is among the MX hosts named (RFC 8461 §4.1)."""
        name = host.lower().removesuffix(".")
        parent = name.partition(".")[2]  # "*." stands for exactly one label, the leftmost
        return any(name == each or (each.startswith("*.") and parent == each[2:]) for each in self.mx)


def parse_record(records: Sequence[bytes]) -> str | None:
    """Return the policy's ID that the TXT records at _mta-sts.<domain> name; None: there is no policy (RFC 8461 §3.1).

    Records of other kinds are ignored; two of this kind are as good as none.
    """
    found = [match for match in map(_RECORD.match, records) if match is not None]
    if len(found) != 1:
        return None
    for part in found[0][1].split(b";"):
        identifier = _ID.match(part)
        if identifier is not None:
            return identifier[1].decode("ascii")
    return None


def parse_policy(octets: bytes) -> Policy:
    """Return the policy in a policy file (RFC 8461 §3.2). Raises Malformed.

    Keys that are not known are ignored; of a repeated one, mx apart, the first counts.
    """
    if len(octets) > MAX_POLICY:
        raise Malformed(f"policy of more than {MAX_POLICY} octets")
    try:
        lines = octets.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise Malformed("policy: not UTF-8") from error
    values: dict[str, str] = {}
    mx: list[str] = []
    for line in lines:
        key, colon, value = line.partition(":")
        if not colon:
            if line.strip():
                raise Malformed(f"policy: line without a colon: {line[:40]!r}")
        elif key.strip() == "mx":
            mx.append(value.strip().lower())
        else:
            values.setdefault(key.strip(), value.strip())
    return _policy(values, mx)


def _policy(values: dict[str, str], mx: Sequence[str]) -> Policy:
    if values.get("version") != "STSv1":
        raise Malformed("policy: version is not STSv1")
    modes: tuple[Mode, ...] = get_args(Mode)
    mode = next((each for each in modes if each == values.get("mode")), None)
    if mode is None:
        raise Malformed("policy: mode is not enforce, testing or none")
    age = values.get("max_age", "")
    if not _AGE.match(age) or int(age) > MAX_AGE:
        raise Malformed(f"policy: max_age is not a number up to {MAX_AGE}")
    if len(mx) > MAX_MX or any(len(each) > 255 or not _PATTERN.match(each) for each in mx):
        raise Malformed(f"policy: an mx is no host name or pattern, or there are more than {MAX_MX}")
    if not mx and mode != "none":
        raise Malformed("policy: no mx")
    return Policy(mode, tuple(mx), int(age))
