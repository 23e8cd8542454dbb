"""A submitted content on its way to its sink: the header is held until it is complete, checked, perhaps rewritten."""

from collections.abc import Callable

from gateway.mail.submission import HeaderRewriter
from gateway.smtp import params, replies
from gateway.smtp.data import HeaderScanner
from gateway.smtp.replies import Refusal
from p2pcore.errors import Malformed, NotAuthorised


class CheckedHeader:
    """A HeaderRewriter whose failures are refusals; it stops loops as well.

    `rewrite` raises Malformed or NotAuthorised where the header cannot be taken.
    """

    def __init__(self, rewrite: Callable[[bytes], bytes]) -> None:
        self._rewrite = rewrite
        self._rewriter = HeaderRewriter(self._checked)

    def feed(self, piece: bytes) -> bytes:
        """Return what passes on to the sink. Raises Refusal."""
        try:
            return self._rewriter.feed(piece)
        except (Malformed, NotAuthorised) as failure:
            raise Refusal(replies.at_header(failure), str(failure)) from failure

    def finish(self) -> bytes:
        """Return what is left at the end. Raises Refusal."""
        try:
            return self._rewriter.finish()
        except (Malformed, NotAuthorised) as failure:
            raise Refusal(replies.at_header(failure), str(failure)) from failure

    def _checked(self, header: bytes) -> bytes:
        scanner = HeaderScanner()
        scanner.feed(header)
        if scanner.begins_folded:
            raise Refusal(replies.HEADER_FOLDED)
        if scanner.received_fields() > params.MAX_RECEIVED_FIELDS:  # RFC 5321 §6.3
            raise Refusal(replies.MAIL_LOOP)
        return self._rewrite(header)
