"""What of a passing content is judged later: its header section, and the signatures in that with its body's hashes."""

from gateway.smtp.data import HeaderScanner
from gateway.smtp.signatures import Signatures


class Examined:
    """Is shown a content block by block. `verified`: whether its signatures will be looked at."""

    def __init__(self, *, verified: bool) -> None:
        self.header = HeaderScanner()
        self._verified = verified
        self._signatures: Signatures | None = None

    def feed(self, block: bytes) -> None:
        """Take the next block, which does not end between CR and LF; CPU for a thread where it is large."""
        body = self.header.feed(block)
        if self._verified and self.header.is_complete:
            if self._signatures is None:
                self._signatures = Signatures(self.header.octets)
            self._signatures.body.update(body)

    @property
    def held(self) -> int:
        """Octets of the content that are kept."""
        return self.header.size

    def close(self) -> None:
        """Let go of what is kept."""
        self.header = HeaderScanner()
        self._signatures = None

    def finish(self) -> Signatures:
        """The content has ended: return its signatures, which have seen the whole body."""
        signatures = self._signatures
        if signatures is None:
            signatures = Signatures(self.header.octets)
        signatures.body.finish()
        return signatures
