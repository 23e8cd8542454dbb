"""A queue item as it goes over the wire: trace, DKIM signature, content; dot-stuffed; pure CPU (RFC 5321 §4.5.2)."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from gateway.mail.dsn import utf8_address
from gateway.mail.envelope import Body
from gateway.mail.outgoing import Ret
from gateway.mail.seven_bit import to_seven_bit
from gateway.outbound import params
from gateway.outbound.bodies import open_content
from gateway.outbound.dkim import DkimSigner
from gateway.outbound.model import QueuedRecipient, Unit, destination_of
from p2pcore.errors import Malformed


@dataclass(frozen=True, slots=True)
class Message:
    """For MAX_TRANSACTION_RECIPIENTS at most.

    `stuffed` ends in CRLF and lacks only the final dot; `size` is of the octets before stuffing (RFC 1870 §5).
    """

    reverse_path: str
    recipients: tuple[QueuedRecipient, ...]
    stuffed: bytes
    size: int
    body: Body
    utf8_header: bool
    ret: Ret = ""
    envelope_id: str = ""

    def needs_utf8(self, recipient: QueuedRecipient) -> bool:
        """Return whether this recipient can be reached with SMTPUTF8 only (RFC 6531 §3.4)."""
        return self.utf8_header or not (self.reverse_path.isascii() and wire_address(recipient).isascii())

    def blocks(self) -> Iterator[memoryview]:
        """Yield the stuffed octets in pieces of BLOCK."""
        view = memoryview(self.stuffed)
        for start in range(0, len(view), params.BLOCK):
            yield view[start : start + params.BLOCK]


def compose(unit: Unit, signer: DkimSigner | None, *, eight_bit: bool = True) -> Message:
    """Open the content and make what is sent; for a thread. Raises Tampered, Malformed (no From to sign), OSError.

    Where the host does not take `eight_bit`, content is converted before it is signed.
    """
    item = unit.item
    content = sendable(open_content(item.sealed), eight_bit=eight_bit)
    signature = signer.sign(content, item.accepted) if signer else b""
    return written(
        item.trace + signature + content, item.reverse_path, unit.recipients, ret=item.ret, envelope_id=item.envelope_id
    )


def sendable(content: bytes, *, eight_bit: bool) -> bytes:
    """Return `content` with a CRLF at its end, and in 7 bits where the host does not take `eight_bit` (RFC 6152 §3).

    What cannot be converted keeps its 8-bit octets, and the session refuses it.
    """
    if not eight_bit:
        with suppress(Malformed):
            content = to_seven_bit(content)
    return content if content.endswith(b"\r\n") else content + b"\r\n"


def written(
    octets: bytes, reverse_path: str, recipients: tuple[QueuedRecipient, ...], *, ret: Ret, envelope_id: str
) -> Message:
    """Return `octets`, trace and content, as a message."""
    stuffed = octets.replace(b"\r\n.", b"\r\n..")
    if stuffed.startswith(b"."):
        stuffed = b"." + stuffed
    header_end = octets.find(b"\r\n\r\n")
    header = octets[:header_end] if header_end >= 0 else octets
    return Message(
        reverse_path=_for_the_wire(reverse_path, destination_of(reverse_path)),
        recipients=recipients,
        stuffed=stuffed,
        size=len(octets),
        body="7BIT" if octets.isascii() else "8BITMIME",
        utf8_header=not header.isascii(),
        ret=ret,
        envelope_id=envelope_id,
    )


def wire_address(recipient: QueuedRecipient) -> str:
    """Return the forward-path as it is sent."""
    return _for_the_wire(recipient.forward_path, recipient.domain)


def _for_the_wire(path: str, domain_in_dns: str) -> str:
    """Return `path` in ASCII where that can be: with an ASCII local part, A-labels do for SMTPUTF8 (RFC 6531 §3.2)."""
    local, at, domain = path.rpartition("@")
    if domain.isascii() or not local.isascii() or not domain_in_dns:
        return path
    return f"{local}{at}{domain_in_dns}"


def xtext(text: str) -> str:
    """Return `text` in RFC 3461 §4's encoding."""
    plain = (0x21 <= octet <= 0x7E and octet not in b"+=" for octet in text.encode())
    return "".join(chr(octet) if ok else f"+{octet:02X}" for octet, ok in zip(text.encode(), plain, strict=True))


def orcpt_value(original: str) -> str:
    """Return ORCPT's value for "addr-type;address" as it is kept (RFC 3461 §4.2, RFC 6533 §3)."""
    kind, _, address = original.partition(";")
    return f"{kind};{utf8_address(address) if kind == 'utf-8' else xtext(address)}"
