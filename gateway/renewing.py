"""The certificates that this machine speaks under: each is followed, put on disk when renewed, and judged for `status`.

A certificate is renewed by the directory from half of its life on (p2pcore.mail.successor finds it). A gateway's is in
the domain record as well, by which agents know it: a record that names another one is reason to ask at once. Beside the
directory's book nobody needs to be asked.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from gateway.errors import ConfigurationError
from gateway.network import Network
from gateway.site import Site
from p2pcore import params
from p2pcore.client.replicas import Replicas
from p2pcore.crypto.certificates import Certificate, parse_certificate
from p2pcore.crypto.key_files import KeyFiles
from p2pcore.crypto.keys import SigningKey
from p2pcore.crypto.statements import Signer
from p2pcore.directory.directory import Directory
from p2pcore.errors import CertificateRefused
from p2pcore.mail.successor import Successor
from p2pcore.records import DomainRecord, Identity, Role

WARNED_BEFORE = 30 * params.DAY  # of its end: by then the directory has had 170 days to renew it

WhenRenewed = Callable[[Identity], None]


def renew_from_book(site: Site, directory: Directory) -> None:
    """Put the certificates that `directory`, on this machine, has for its identities into them.

    A machine that was off past their end would be answered by nobody, and so could not ask. Durable on return.
    Raises ConfigurationError, OSError, Failure.
    """
    for path, identity in _identities(site):
        held = parse_certificate(identity.certificate)
        newest = directory.newest(held)
        if newest != held:
            _save_renewed(site.keys, path, newest)


def _identities(site: Site) -> Iterator[tuple[Path, Identity]]:
    roles: tuple[Role, ...] = ("node", "gateway")
    for role in roles:
        if role in site.config.domain.roles:
            yield site.identity_file(role), site.identity(role)
    for address in site.account_addresses():
        with suppress(ConfigurationError):  # said where the account is opened, which stops no other
            yield site.account_directory(address) / "identity", site.user_identity(address)


class Renewals:
    """Follows certificates for as long as their holders run."""

    def __init__(self, network: Network, keys: KeyFiles) -> None:
        self._network = network
        self._keys = keys
        self._followed: list[tuple[Signer, Successor]] = []
        names = network.names
        assert names is not None
        names.on_record(self._look_at)

    async def follow(
        self,
        stack: AsyncExitStack,
        replicas: Replicas,
        path: Path,
        identity: Identity,
        when_renewed: WhenRenewed | None = None,
    ) -> None:
        """Follow the certificate of `identity`, which lies in `path`, until `stack` is left.

        `when_renewed` is called with the identity under its new certificate when that is on disk.
        """
        signer = self._network.signers.of(identity)

        async def adopted(certificate: Certificate) -> None:
            renewed = await asyncio.to_thread(_save_renewed, self._keys, path, certificate)
            if when_renewed is not None:
                when_renewed(renewed)

        successor = Successor(replicas, signer, self._network.clock, adopted)
        followed = (signer, successor)
        self._followed.append(followed)
        stack.callback(self._followed.remove, followed)
        stack.push_async_callback(successor.stop)
        await successor.start()

    async def follow_machine(
        self, stack: AsyncExitStack, replicas: Replicas, site: Site, gateway_renewed: WhenRenewed | None
    ) -> None:
        """Follow the certificates of this machine's node and gateway; agents have their users', a directory its own."""
        roles: tuple[Role, ...] = ("node", "gateway")
        for role in roles:
            if role in site.config.domain.roles:
                when_renewed = gateway_renewed if role == "gateway" else None
                await self.follow(stack, replicas, site.identity_file(role), site.identity(role), when_renewed)

    def warnings(self) -> list[str]:
        """Return what is wrong with the certificates in use, for `status`."""
        now, trust = self._network.clock(), self._network.trust
        warnings = []
        for signer, successor in self._followed:
            certificate = signer.certificate
            what = f"the certificate of {certificate.name}"
            if successor.replaced:
                warnings.append(f"{what} was replaced by one for other keys: the agent with those reads her mail")
            elif trust.is_revoked(certificate):
                warnings.append(f"{what} is revoked: nobody accepts what it signs")
            elif now > certificate.not_after - WARNED_BEFORE:
                day = datetime.fromtimestamp(certificate.not_after / 1_000, UTC).date()
                if now > certificate.not_after + params.JUDGING_TOLERANCE:
                    # nobody answers what it signs, so it cannot ask for the renewed one either
                    cure = "`p2pmail user rotate`" if certificate.role == "user" else "revoke it and let it join anew"
                    warnings.append(f"{what} has expired on {day}: nobody answers it; {cure}")
                else:
                    warnings.append(f"{what} will expire on {day} and has not been renewed: is the directory running?")
        return warnings

    def _look_at(self, record: DomainRecord) -> None:
        for signer, successor in self._followed:
            if _names_another(record, signer.certificate):
                successor.wake()


def _names_another(record: DomainRecord, certificate: Certificate) -> bool:
    hpke_key = hashlib.sha256(certificate.hpke_key or b"").digest()
    listed = [gateway.certificate for gateway in record.gateways if gateway.hpke_key == hpke_key]
    return bool(listed) and certificate.fingerprint not in listed


def _save_renewed(keys: KeyFiles, path: Path, certificate: Certificate) -> Identity:
    """Put `certificate` into the identity in `path`; durable on return.

    Raises OSError, Malformed, Tampered, CertificateRefused.
    """
    held = keys.read_identity(path)
    if SigningKey.from_bytes(held.signing_key).public_bytes != certificate.public_key:
        raise CertificateRefused(f"{path}: holds another key by now")
    renewed = msgspec.structs.replace(held, certificate=certificate.der)
    keys.write_identity(path, renewed)
    return renewed
