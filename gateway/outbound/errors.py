"""How one try for a recipient can fail before, or beside, the remote's reply.

NotDelivered            a whole delivery has one outcome: no host, no connection, refused at MAIL
QueueUnusable           the queue's files cannot be read or written
"""

from p2pcore.errors import TemporaryFailure


class NotDelivered(Exception):
    """`status` (RFC 3463) begins with 5 where trying again cannot help. `reply` is the remote's, else our reason."""

    def __init__(self, status: str, reply: str, remote: str = "") -> None:
        super().__init__(f"{status} {reply}")
        self.status = status
        self.reply = reply
        self.remote = remote

    @property
    def permanent(self) -> bool:
        """Whether trying again cannot help."""
        return self.status.startswith("5")


class QueueUnusable(TemporaryFailure):
    """The queue's database or a body cannot be read or written now."""

    status = "4.3.0"
