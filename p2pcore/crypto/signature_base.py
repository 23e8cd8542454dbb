"""The signature base (RFC 9421 §2.5) of the one form that our own requests have, built and read without a parser.

A general implementation costs several times what the Ed25519 signature does. Whatever is not exactly of this form is
`None` here, and then `rfc9421` decides about it.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

TAG: Final = "p2pmail"  # also the label
NONCE_SIZE: Final = 16  # octets
_COMPONENTS: Final = ("@method", "@path", "@query", "content-digest", "p2pmail-node")

# RFC 3986 §3, without user information and fragment; the host is not covered
_PATH: Final = r"(?:[A-Za-z0-9._~\-!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*"
_QUERY: Final = r"(?:[A-Za-z0-9._~\-!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*"
_URL: Final = re.compile(
    rf"https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.\-]+)(?::[0-9]+)?(?P<path>/{_PATH})?(?:\?(?P<query>{_QUERY}))?\Z"
)
_METHOD: Final = re.compile(r"[A-Z]+\Z")
_VALUE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?\Z")

_PARAMETERS: Final = (
    r'\("@method" "@path" "@query" "content-digest" "p2pmail-node"(?P<pragma> "pragma")?\)'
    r';created=(?P<created>[1-9][0-9]{0,11});keyid="(?P<key_id>[0-9a-f]{64})";alg="ed25519"'
    rf';nonce="(?P<nonce>[0-9a-f]{{{2 * NONCE_SIZE}}})";tag="{TAG}"'
)
_INPUT: Final = re.compile(rf"{TAG}=(?P<parameters>{_PARAMETERS})\Z")
_SIGNATURE: Final = re.compile(rf"{TAG}=:([A-Za-z0-9+/]{{86}}==):\Z")


@dataclass(frozen=True, slots=True)
class OwnSignature:
    """What Signature-Input and Signature of our own form say; `created` is in seconds, `parameters` as they stand."""

    parameters: str
    created: int
    key_id: bytes
    nonce: bytes
    signature: bytes


def components(fields: Mapping[str, str]) -> tuple[str, ...]:
    """Return what a request with these header fields has to cover."""
    return (*_COMPONENTS, "pragma") if any(name.lower() == "pragma" for name in fields) else _COMPONENTS


def parameters(covered: tuple[str, ...], created: int, key_id: bytes, nonce: bytes) -> str:
    """Return the value of @signature-params (RFC 9421 §2.3); `created` in seconds."""
    names = " ".join(f'"{name}"' for name in covered)
    return f'({names});created={created};keyid="{key_id.hex()}";alg="ed25519";nonce="{nonce.hex()}";tag="{TAG}"'


def signature_base(method: str, url: str, fields: Mapping[str, str], signature_parameters: str) -> bytes | None:
    """Return the octets that are signed, or None where something is not of the plain form.

    `fields` are by lower-case name, trimmed; `signature_parameters` covers pragma where `fields` have it.
    """
    target = _URL.match(url)
    if target is None or not _METHOD.match(method):
        return None
    covered = ["content-digest", "p2pmail-node"] + ["pragma"] * ("pragma" in fields)
    lines = [f'"@method": {method}', f'"@path": {target["path"] or "/"}', f'"@query": ?{target["query"] or ""}']
    for name in covered:
        value = fields.get(name, "")
        if not _VALUE.match(value):
            return None
        lines.append(f'"{name}": {value}')
    lines.append(f'"@signature-params": {signature_parameters}')
    return "\n".join(lines).encode("ascii")


def read_own(fields: Mapping[str, str]) -> OwnSignature | None:
    """Return the signature in `fields` (by lower-case name, trimmed); None where it is not of our form."""
    given = _INPUT.match(fields.get("signature-input", ""))
    signature = _SIGNATURE.match(fields.get("signature", ""))
    if given is None or signature is None or bool(given["pragma"]) != ("pragma" in fields):
        return None
    return OwnSignature(
        parameters=given["parameters"],
        created=int(given["created"]),
        key_id=bytes.fromhex(given["key_id"]),
        nonce=bytes.fromhex(given["nonce"]),
        signature=base64.b64decode(signature[1]),
    )
