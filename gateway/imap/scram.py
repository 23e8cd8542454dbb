"""The server's side of SCRAM-SHA-256 without I/O (RFC 5802, RFC 7677), without channel binding."""

import base64
import binascii
import re

from gateway.imap.errors import Bad, No
from p2pcore.crypto.passwords import ScramVerifier

# RFC 5802 §7: gs2-header, then username and nonce; extensions may follow. "p=" would be channel binding.
_FIRST = re.compile(rb"([ny]),(?:a=([^,]*))?,(n=([^,]*),r=([\x21-\x2b\x2d-\x7e]{1,256})(?:,[^\0]*)?)", re.DOTALL)
_FINAL = re.compile(rb"(c=([A-Za-z0-9+/=]*),r=([\x21-\x2b\x2d-\x7e]*)(?:,[^\0]*)?),p=([A-Za-z0-9+/=]*)", re.DOTALL)
_SAVED_NAME = re.compile(rb"=(?!2C|3D)")


class ScramExchange:
    """One authentication: `user` is known at once; then `challenge`, then `conclude`."""

    def __init__(self, client_first: bytes) -> None:
        """Raises Bad for what is not a client-first-message, No for acting as somebody else."""
        match = _FIRST.fullmatch(client_first)
        if match is None:
            raise Bad("this is not the first message of SCRAM without channel binding")
        self.user = _name(match[4])
        if match[2] is not None and _name(match[2]) not in ("", self.user):
            raise No("nobody may act for another user here", "AUTHORIZATIONFAILED")  # RFC 5530
        self._bare = match[3]
        self._header = client_first[: match.start(3)]
        self._nonce = match[5]
        self._challenge = b""

    def challenge(self, verifier: ScramVerifier, server_nonce: bytes) -> bytes:
        """Return the server-first-message; `server_nonce` is printable without commas and never used twice."""
        self._verifier = verifier
        self._nonce += server_nonce
        self._challenge = b"r=%b,s=%b,i=%d" % (self._nonce, base64.b64encode(verifier.salt), verifier.iterations)
        return self._challenge

    def conclude(self, client_final: bytes) -> bytes | None:
        """Return the server-final-message, None if the proof is wrong. Raises Bad for what is no final message."""
        match = _FINAL.fullmatch(client_final)
        if match is None:
            raise Bad("this is not the final message of SCRAM")
        try:
            binding, proof = (base64.b64decode(value, validate=True) for value in (match[2], match[4]))
        except binascii.Error:
            raise Bad("this is not the final message of SCRAM") from None
        # RFC 5802 §5.1: the header as it was sent, and the whole nonce
        if binding != self._header or match[3] != self._nonce:
            return None
        signature = self._verifier.server_signature(b",".join((self._bare, self._challenge, match[1])), proof)
        return None if signature is None else b"v=" + base64.b64encode(signature)


def _name(raw: bytes) -> str:
    """A saslname (RFC 5802 §5.1). Raises Bad."""
    if _SAVED_NAME.search(raw):
        raise Bad("a name has = only in =2C and =3D")
    try:
        return raw.replace(b"=2C", b",").replace(b"=3D", b"=").decode("utf-8")
    except UnicodeDecodeError:
        raise Bad("a name is UTF-8") from None
