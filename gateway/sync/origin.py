"""What the agent itself says above a message about where it came from; pure.

A gateway's trace block is taken as it is. A user of the domain has none to give: what stands above her message is made
here, from what her signature proves. Whether a user signed is a method of its own in Authentication-Results
(RFC 8601 §2.7.7 leaves "x-" names to implementations). That field is never the last above the content, whose first
line may be a continuation line.
"""

from gateway.mail.trace import MethodResult, authentication_results, received_from_network, return_path
from p2pcore.crypto.certificates import Certificate
from p2pcore.records import Notification

METHOD = "x-p2pmail"


def trace_of(
    notification: Notification, signer: Certificate, domain: str, *, unverified: bool, compromised: bool = False
) -> bytes:
    """Return the fields to prepend; `unverified`: From names a user of `domain` who has not signed it; `compromised`:
    the key that signed it is in other hands.
    """
    stolen = MethodResult(METHOD, "fail", comment="signed with a key that is in other hands")
    if signer.role == "user":
        signed = MethodResult(METHOD, "pass", (("smtp.mailfrom", signer.primary_address),), "signed by this user")
        return _by_user(notification, domain, stolen if compromised else signed).encode()
    if not (unverified or compromised):
        return notification.trace
    unsigned = MethodResult(METHOD, "fail", comment=f"From names {domain} and no user of it signed")
    ours = authentication_results(domain, [stolen if compromised else unsigned])
    return ours.encode() + (notification.trace or return_path(notification.reverse_path).encode())


def _by_user(notification: Notification, domain: str, result: MethodResult) -> str:
    received = received_from_network(
        domain, notification.body_identifier, notification.forward_path, notification.received
    )
    return return_path(notification.reverse_path) + authentication_results(domain, [result]) + received
