"""TLS pinned to a node ID: whoever answers must hold the key that the ID is the digest of."""

import asyncio

import aiohttp

from p2pcore.crypto.certificates import parse_certificate
from p2pcore.errors import CertificateRefused


class PinnedNode(aiohttp.Fingerprint):
    """Accepts exactly the TLS certificates whose public key has the SHA-256 `node_id` (32 octets).

    aiohttp calls `check` after the handshake and before the first request octet. Equal pins share pooled connections.
    """

    def __init__(self, node_id: bytes) -> None:
        super().__init__(node_id)

    def check(self, transport: asyncio.Transport) -> None:
        """Raise aiohttp.ServerFingerprintMismatch where the peer's key is not the pinned one."""
        ssl_object = transport.get_extra_info("ssl_object")
        der = ssl_object.getpeercert(binary_form=True) if ssl_object is not None else None
        try:
            shown = parse_certificate(der or b"").node_id
        except CertificateRefused:
            shown = b""
        if shown != self.fingerprint:
            host, port, *_ = transport.get_extra_info("peername") or ("", 0)
            raise aiohttp.ServerFingerprintMismatch(self.fingerprint, shown, host, port)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PinnedNode) and other.fingerprint == self.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)
