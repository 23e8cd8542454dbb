"""What test doubles of `gateway.imap.session.Accounts` share that know passwords and no SCRAM."""

from gateway.mailbox.store import MailStore
from p2pcore.crypto.passwords import ScramVerifier


class PasswordsOnly:
    """SCRAM is not offered, and proves nothing."""

    scram = False

    def counted_as(self, user: str) -> str:
        return user

    def verifier(self, user: str) -> ScramVerifier:
        return ScramVerifier.decoy(user, b"")

    def proven(self, user: str, verifier: ScramVerifier) -> MailStore | None:
        return None
