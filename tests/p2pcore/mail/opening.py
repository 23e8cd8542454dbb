"""Notifications to somebody, and the keys that an identity opens them with."""

from p2pcore.crypto.certificates import Certificate
from p2pcore.crypto.keys import HpkeKey
from p2pcore.records import Identity, Notification, Verdicts
from tests.support.identities import START, Member


def notification_to(certificate: Certificate, sender: Member) -> Notification:
    """A well-formed notification to the user of `certificate`."""
    return Notification(
        inbox_key=certificate.inbox_key,
        signer=sender.signer.fingerprint,
        reverse_path="eve@outside.example",
        forward_path=certificate.primary_address,
        trace=b"Received: here\r\n",
        body_identifier="<1@example.org>",
        session_key=bytes(32),
        digest=bytes(32),
        sealed_size=1,
        content_size=1,
        received=START,
        verdicts=Verdicts(),
        delete_secret=bytes(32),
    )


def keys_of(identity: Identity) -> list[HpkeKey]:
    """What the agent of `identity` opens with."""
    return [HpkeKey.from_bytes(key) for key in identity.hpke_keys]
