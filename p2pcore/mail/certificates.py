"""The certificate of a user, found in the network and judged for sealing to her (§3.1 step 1)."""

from p2pcore import names, params
from p2pcore.client.replicas import Replicas
from p2pcore.clock import Clock
from p2pcore.crypto.certificates import Certificate
from p2pcore.crypto.trust import Trust
from p2pcore.errors import CannotKnow, CertificateRefused, Refused
from p2pcore.mail.cache import FreshCache

_LIFETIME = 10 * params.MINUTE  # revocations arrive with the domain record, so this only finds renewed ones
_SIZE = 10_000


class CertificateBook:
    """Users' certificates by canonical primary address."""

    def __init__(self, replicas: Replicas, trust: Trust, clock: Clock) -> None:
        self._replicas = replicas
        self._trust = trust
        self._clock = clock
        self._cache: FreshCache[str, Certificate] = FreshCache(
            self._find, clock, lifetime=_LIFETIME, stale=params.STALE_CERTIFICATE, size=_SIZE
        )

    async def of(self, address: str) -> Certificate:
        """Return the certificate to seal to for the canonical primary `address`; still EXPIRED_USER_RECEIVES after
        its expiry. Raises CannotKnow: not found, no majority, or what was found may not be used.
        """
        certificate = await self._cache.get(address)
        try:
            return receivable(certificate, self._trust, self._clock())
        except Refused as failure:
            self._cache.forget(address)
            raise CannotKnow(f"certificate of {address}: {failure}") from failure

    def known(self, address: str) -> Certificate | None:
        """As `of` where that takes no question, else None. Raises CertificateRefused: `of` asks anew."""
        certificate = self._cache.fresh(address)
        return None if certificate is None else receivable(certificate, self._trust, self._clock())

    async def stop(self) -> None:
        await self._cache.stop()

    async def _find(self, address: str) -> Certificate:
        published = await self._replicas.resolve("certificate", names.certificate_identifier(address))
        if published is None:
            raise CannotKnow(f"certificate of {address}: no node has it")
        return self._trust.add(published.content)


def receivable(certificate: Certificate, trust: Trust, now: int) -> Certificate:
    """Return `certificate` if mail may be sealed to it at `now` (docs/formats.md §5). Raises CertificateRefused."""
    recently = now
    if certificate.not_after < now <= certificate.not_after + params.EXPIRED_USER_RECEIVES:
        recently = certificate.not_after
    trust.judge(certificate, recently, now, False)
    if trust.is_compromised(certificate) or certificate.hpke_key is None or certificate.role != "user":
        raise CertificateRefused(f"certificate of {certificate.name} is not to be sealed to")
    return certificate
