"""Who is asking: every request's signature (RFC 9421), before anything of its body is read."""

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import web

from p2pcore.crypto.certificates import Certificate
from p2pcore.crypto.requests import CERTIFICATE_HEADER, Fields, content_digest, fields_of, verify_request
from p2pcore.errors import Tampered, UnknownCertificate
from p2pcore.node.nonces import Receipt
from p2pcore.node.service import Service

_FINGERPRINT = re.compile(r"\b[0-9a-f]{64}\b")


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request it is, when it was signed (ms), and the SHA-256 that its body must have."""

    certificate: Certificate
    created: int
    digest: bytes

    def check(self, digest: bytes) -> None:
        """Return if the body had the digest that was signed. Raises Tampered."""
        if digest != self.digest:
            raise Tampered("the body does not match its Content-Digest")


class Gate:
    """Verifies requests to the node `node_id`."""

    def __init__(self, node_id: bytes, service: Service) -> None:
        self._node_id = node_id
        self._service = service

    async def enter(self, request: web.BaseRequest) -> Caller:
        """Return who signed this request. Raises what requests.verify_request does, and RateLimited.

        What goes beyond its signer's rate is not remembered: one signer cannot use up the memory for nonces.
        """
        url = f"https://node{request.raw_path}"  # the host is not signed, the node's ID is
        caller, receipt = await self._known(request.method, url, fields_of(request.headers))
        self._service.rates.take(caller.certificate, 1)
        receipt.count(self._service.nonces)
        return caller

    async def _known(self, method: str, url: str, headers: Fields) -> tuple[Caller, Receipt]:
        if CERTIFICATE_HEADER.lower() not in headers:
            # A thread's two wake-ups would cost more than one signature; a certificate is another matter
            with suppress(UnknownCertificate):
                return self._verify(method, url, headers)
        return await asyncio.get_running_loop().run_in_executor(
            self._service.threads, self._verify_with_recall, method, url, headers
        )

    def _verify(self, method: str, url: str, headers: Fields) -> tuple[Caller, Receipt]:
        receipt = Receipt()
        trust = self._service.admission.trust
        now = self._service.nonces.time()  # as clients are told it, also where our clock is behind what it was
        certificate = verify_request(method, url, headers, self._node_id, trust, receipt, now)
        return Caller(certificate, receipt.created, content_digest(headers)), receipt

    def _verify_with_recall(self, method: str, url: str, headers: Fields) -> tuple[Caller, Receipt]:
        """The same for a signer whose certificate comes along or is in the database. On a thread."""
        try:
            return self._verify(method, url, headers)
        except UnknownCertificate as failure:
            named = _FINGERPRINT.search(str(failure))
            if named is None:
                raise
            self._service.admission.recall(bytes.fromhex(named.group()))
            return self._verify(method, url, headers)
