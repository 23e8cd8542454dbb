"""How a machine becomes part of the domain: invitation → request → answer → identity (docs/formats.md §10).

    directory: Admissions.invite  →  Invitation   who it may become, the CA, contacts, a one-time code
    newcomer:  new_identity       →  Identity     fresh private keys, saved before anything is sent
    newcomer:  make_request       →  JoinRequest  public keys and endpoint, authenticated with the code
    directory: Admissions.accept  →  JoinAnswer   the code is used up in the transaction that lists the newcomer
    newcomer:  install            →  Identity     with the certificate, which is checked

Private keys never leave the newcomer. The invitation and the answer travel over a channel the operator trusts.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

import msgspec

from p2pcore import names, params
from p2pcore.crypto.keys import HpkeKey, SigningKey, verify
from p2pcore.crypto.trust import Trust
from p2pcore.directory.directory import Directory
from p2pcore.directory.errors import InvitationRefused, NameTaken
from p2pcore.directory.invitations import GivenInvitation
from p2pcore.directory.machines import machine_name
from p2pcore.directory.record import bootstrap
from p2pcore.endpoint import Endpoint
from p2pcore.errors import CertificateRefused, Malformed, NotAuthorised
from p2pcore.records import ContactInfo, Identity, Invitation, JoinAnswer, JoinRequest, Role, encode

CODE_SIZE: Final = 16  # octets: 128 random bits
_CONTEXT: Final = b"p2pmail join 1\x00"
_SEALED_TO: Final = ("user", "gateway")  # roles with an HPKE key


class Admissions:
    """The directory's side of joining. Calls block, as the directory's do."""

    def __init__(self, directory: Directory, authority: bytes) -> None:
        """`authority` is the CA's certificate (DER), which invitations show."""
        self._directory = directory
        self._authority = authority

    def invite(self, role: Role, name: str, contacts: Sequence[ContactInfo] = ()) -> Invitation:
        """Return an invitation good for INVITATION_LIFETIME and one use; its code is in the book on return.

        `name`: a user's address, a gateway's host name, a node's name for people. `contacts` are nodes to begin with,
        before those listed. Raises AddressTaken, NameTaken, NotOurDomain, Malformed, NotAuthorised (a directory).
        """
        directory = self._directory
        now = directory.clock()
        code, expires = secrets.token_bytes(CODE_SIZE), now + params.INVITATION_LIFETIME
        with directory.book.transaction():
            name = self._free_name(role, name)
            directory.book.invitations.forget_expired(now)
            directory.book.invitations.add(code, role, name, expires)
            record = encode(directory.current_record())
            known = {contact.node_id for contact in contacts}
            listed = [node for node in bootstrap(directory.book) if node.node_id not in known]
            begin = (*contacts, *listed)[: params.MAX_BOOTSTRAP]
        return Invitation(directory.domain, role, name, self._authority, begin, record, code, expires)

    def _free_name(self, role: Role, name: str) -> str:
        directory = self._directory
        if role == "directory":
            raise NotAuthorised("a directory is made with the domain, not invited")
        if role == "user":
            directory.check_address_free(name)
            return names.canonical_address(name)
        name = names.canonical_domain(name) if role == "gateway" else machine_name(name)
        if any(machine.name == name for machine in directory.book.machines.active(role)):
            raise NameTaken(f"{role} {name} is listed already")
        return name

    def accept(self, request: JoinRequest) -> JoinAnswer:
        """List the newcomer, use the code up and return the answer; all of it is in the book on return, or nothing.

        The same request again gets the same certificate again. Raises InvitationRefused, SignatureRefused, and what
        the directory raises for a name, key or CA that will not do.
        """
        directory = self._directory
        if request.domain != directory.domain:
            raise InvitationRefused(f"the request is for {request.domain}, this is {directory.domain}")
        verify(request.signing_key, request.signature, _signed(request))
        digest = hashlib.sha256(encode(request)).digest()
        with directory.book.transaction():
            invitation = self._invitation_of(request)
            if invitation.request is not None and invitation.certificate is not None:
                certificate = self._again(invitation, digest)
            else:
                if directory.clock() > invitation.expires:
                    raise InvitationRefused(f"the invitation of {invitation.role} {invitation.name} has expired")
                certificate = self._list(request)
                fingerprint = hashlib.sha256(certificate).digest()
                directory.book.invitations.use(invitation.code, digest, fingerprint)
            record = encode(directory.current_record())
        return JoinAnswer(certificate, record, directory.signer.certificate.der)

    def _invitation_of(self, request: JoinRequest) -> GivenInvitation:
        """Return the invitation whose code made the request's proof; every code is tried, in constant time each."""
        content = _proven(request)
        found = None
        for invitation in self._directory.book.invitations.all():
            if hmac.compare_digest(_proof(invitation.code, content), request.proof):
                found = invitation
        if found is None:
            raise InvitationRefused("the request's proof fits no code given out by this directory")
        if (found.role, found.name) != (request.role, request.name):
            raise InvitationRefused(
                f"the code was given to {found.role} {found.name}, the request is for {request.role} {request.name}"
            )
        return found

    def _again(self, invitation: GivenInvitation, request: bytes) -> bytes:
        if invitation.request != request or invitation.certificate is None:
            raise InvitationRefused(f"the code of {invitation.role} {invitation.name} was used by another request")
        if self._directory.is_revoked(invitation.certificate):
            raise InvitationRefused(f"the certificate of {invitation.role} {invitation.name} is revoked since")
        issued = self._directory.book.issued.get(invitation.certificate)
        assert issued is not None  # invitations reference certificates (foreign key)
        return issued.der

    def _list(self, request: JoinRequest) -> bytes:
        directory, endpoint = self._directory, Endpoint(request.host, request.port)
        match request.role:
            case "user":
                return directory.add_user(request.name, request.signing_key, request.hpke_key)
            case "gateway":
                return directory.add_gateway(request.name, endpoint, request.signing_key, request.hpke_key)
            case "node":
                if request.hpke_key:
                    raise Malformed("a node has no HPKE key")
                return directory.add_node(request.name, endpoint, request.signing_key)
            case "directory":
                raise NotAuthorised("a directory is made with the domain, not invited")


def new_identity(invitation: Invitation) -> Identity:
    """Return fresh private keys for the invited role, without certificate; save them before sending a request."""
    hpke_keys = (HpkeKey.generate().private_bytes,) if invitation.role in _SEALED_TO else ()
    return Identity(
        role=invitation.role,
        domain=invitation.domain,
        name=invitation.name,
        signing_key=SigningKey.generate().private_bytes,
        hpke_keys=hpke_keys,
        certificate=b"",
        authority=invitation.authority,
    )


def make_request(invitation: Invitation, keys: Identity, endpoint: Endpoint | None) -> JoinRequest:
    """Return the request of the machine that holds `keys`; the same arguments make the same octets.

    `endpoint`: a node's, or where a gateway takes submissions; None for a user's agent.
    """
    signing_key = SigningKey.from_bytes(keys.signing_key)
    hpke_key = HpkeKey.from_bytes(keys.hpke_keys[0]).public_bytes if keys.hpke_keys else b""
    request = JoinRequest(
        domain=invitation.domain,
        role=invitation.role,
        name=invitation.name,
        host=endpoint.host if endpoint else "",
        port=endpoint.port if endpoint else 0,
        signing_key=signing_key.public_bytes,
        hpke_key=hpke_key,
        proof=b"",
        signature=b"",
    )
    request = msgspec.structs.replace(request, proof=_proof(invitation.code, _proven(request)))
    return msgspec.structs.replace(request, signature=signing_key.sign(_signed(request)))


def install(answer: JoinAnswer, identity: Identity, invitation: Invitation) -> Identity:
    """Return `identity` with the certificate of `answer`; the caller saves it.

    Raises CertificateRefused: not signed by the CA of the invitation, for another key, role, name or domain.
    """
    certificate = Trust(invitation.authority, invitation.domain).add(answer.certificate)
    expected = "address" if invitation.role == "user" else "host"
    if certificate.public_key != SigningKey.from_bytes(identity.signing_key).public_bytes:
        raise CertificateRefused("the certificate is for another key than this machine's")
    if certificate.role != invitation.role:
        raise CertificateRefused(f"the certificate is for a {certificate.role}, not for a {invitation.role}")
    name = {"user": certificate.addresses[:1], "gateway": (certificate.host,)}.get(certificate.role)
    if name is not None and name != (invitation.name,):
        raise CertificateRefused(f"the certificate's {expected} is not {invitation.name}")
    sealed_to = HpkeKey.from_bytes(identity.hpke_keys[0]).public_bytes if identity.hpke_keys else None
    if certificate.hpke_key != sealed_to:
        raise CertificateRefused("the certificate names another HPKE key than this machine's")
    return msgspec.structs.replace(identity, certificate=answer.certificate, authority=invitation.authority)


def _proven(request: JoinRequest) -> bytes:
    return encode(msgspec.structs.replace(request, proof=b"", signature=b""))


def _proof(code: bytes, content: bytes) -> bytes:
    return hmac.digest(code, content, "sha256")


def _signed(request: JoinRequest) -> bytes:
    return _CONTEXT + encode(msgspec.structs.replace(request, signature=b""))
