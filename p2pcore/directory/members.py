"""The domain's rules about machines: which gateways and nodes it lists, under which key, and where they are."""

import hashlib

from p2pcore import names
from p2pcore.crypto.certificates import parse_certificate
from p2pcore.crypto.keys import HpkePublic
from p2pcore.directory.base import Base
from p2pcore.directory.errors import NameTaken
from p2pcore.directory.issued import IssuedCertificate
from p2pcore.directory.machines import Machine, MachineRole, check_endpoint, machine_name
from p2pcore.directory.targets import machine_meant
from p2pcore.endpoint import Endpoint
from p2pcore.errors import TooLarge

MAX_GATEWAYS = 1_000  # records.DomainRecord


class MachineListing(Base):
    """Gateways and nodes."""

    def machines(self) -> tuple[Machine, ...]:
        """Return every gateway and node there ever was, oldest first."""
        return self.book.machines.all()

    def add_gateway(self, name: str, endpoint: Endpoint, signing_key: bytes, hpke_key: bytes) -> bytes:
        """List a gateway and return its certificate (DER).

        `name` is its host name (the certificate's host), `endpoint` is where agents submit (port 0: nowhere).
        The same name and key again only move it. Raises NameTaken, Malformed, CertificateRefused, AuthorityLocked.
        """
        HpkePublic.from_bytes(hpke_key)
        return self._add_machine("gateway", names.canonical_domain(name), endpoint, signing_key, hpke_key)

    def add_node(self, name: str, endpoint: Endpoint, signing_key: bytes) -> bytes:
        """List a node and return its certificate (DER). The same name and key again only move it.

        Raises NameTaken, Malformed, CertificateRefused, AuthorityLocked.
        """
        return self._add_machine("node", machine_name(name), endpoint, signing_key, None)

    def _add_machine(
        self, role: MachineRole, name: str, endpoint: Endpoint, signing_key: bytes, hpke_key: bytes | None
    ) -> bytes:
        check_endpoint(role, name, endpoint)
        node_id = hashlib.sha256(signing_key).digest()
        with self.book.transaction():
            for machine in self.book.machines.active(role):
                if machine.name == name or machine.node_id == node_id:
                    held = parse_certificate(self._issuer.issued(machine.certificate).der)
                    if (machine.name, held.public_key, held.hpke_key) == (name, signing_key, hpke_key):
                        self.book.machines.move(role, node_id, endpoint)
                        self.book.touch()
                        return held.der
                    raise NameTaken(f"{role} {machine.name} with key {machine.node_id.hex()[:16]}… is listed already")
            if self.book.machines.count("gateway") >= MAX_GATEWAYS and role == "gateway":
                raise TooLarge(f"{MAX_GATEWAYS} gateways are listed, more do not fit the domain record")
            certificate = self._issuer.issue(role, name, signing_key, hpke_key, host=name if role == "gateway" else "")
            self.book.machines.add(role, name, node_id, endpoint, certificate.fingerprint)
            self.book.touch()
        return certificate.der

    def move_machine(self, name: str, endpoint: Endpoint, role: MachineRole | None = None) -> Machine:
        """Note where a listed machine (its name or node ID) is reached now; return it as it was listed.

        Raises NotListed (also where `role` must say which of two is meant), Malformed.
        """
        with self.book.transaction():
            machine = machine_meant(self.book, name, role)
            check_endpoint(machine.role, machine.name, endpoint)
            self.book.machines.move(machine.role, machine.node_id, endpoint)
            self.book.touch()
        return machine

    def certificate_of(self, machine: Machine) -> IssuedCertificate:
        """Return the machine's newest certificate."""
        return self._issuer.issued(machine.certificate)
