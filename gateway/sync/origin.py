"""What the agent itself says above a message about where it came from; pure.

A gateway's trace block is taken as it is. A user of the domain has none to give: what stands above her message is made
here, from what her signature proves. Whether a user signed is a method of its own in Authentication-Results
(RFC 8601 §2.7.7 leaves "x-" names to implementations).
"""

from gateway.mail.trace import MethodResult, authentication_results, received_from_network, return_path
from p2pcore.crypto.certificates import Certificate
from p2pcore.records import Notification

METHOD = "x-p2pmail"


def trace_of(notification: Notification, signer: Certificate, domain: str, *, unverified: bool) -> bytes:
    """Return the fields to prepend; `unverified`: From names a user of `domain` who has not signed it."""
    if signer.role == "user":
        return _signed(notification, signer, domain).encode()
    if unverified:
        result = MethodResult(METHOD, "fail", comment=f"From names {domain} and no user of it signed")
        return notification.trace + authentication_results(domain, [result]).encode()
    return notification.trace


def _signed(notification: Notification, signer: Certificate, domain: str) -> str:
    received = received_from_network(
        domain, notification.body_identifier, notification.forward_path, notification.received
    )
    result = MethodResult(METHOD, "pass", (("smtp.mailfrom", signer.primary_address),), "signed by this user")
    return return_path(notification.reverse_path) + received + authentication_results(domain, [result])
