"""What of a passing content is judged later: its header section, and its body's hashes for the signatures in that."""

from gateway.smtp.body_hashes import BodyHashes
from gateway.smtp.data import HeaderScanner
from gateway.smtp.signatures import hashes_for


class Examined:
    """Is shown a content block by block. `verified`: whether its signatures will be looked at."""

    def __init__(self, *, verified: bool) -> None:
        self.header = HeaderScanner()
        self._verified = verified
        self._hashes: BodyHashes | None = None

    def feed(self, block: bytes) -> None:
        """Take the next block, which does not end between CR and LF; CPU for a thread where it is large."""
        body = self.header.feed(block)
        if self._verified and self.header.is_complete:
            if self._hashes is None:
                self._hashes = hashes_for(self.header.octets)
            self._hashes.update(body)

    def finish(self) -> BodyHashes:
        """The content has ended: return what its body hashed to."""
        hashes = self._hashes or hashes_for(self.header.octets)
        hashes.finish()
        return hashes
