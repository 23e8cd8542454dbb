"""One message's FETCH response (RFC 3501 §7.4.2): what is small in one go, large bodies in pieces.

Nothing is parsed: values were made when the message was stored, bodies are octet ranges of it. A message that is gone
before the response is begun gives NoSuchMessage; once it is, another session's expunge takes nothing from it. Where
octets cannot be read after the first have left (a damaged file), the response cannot be ended, and the connection is
broken off; the log says of which message.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import structlog

from gateway.imap import params
from gateway.imap.errors import No
from gateway.imap.fetch_items import Binary, FetchItem, Item, Section
from gateway.imap.fetch_values import VALUES, partial, sendable, there
from gateway.imap.sections import locate, locate_part
from gateway.imap.session import Session
from gateway.mail.chosen_fields import choose_fields
from gateway.mail.structure import Part
from gateway.mailbox.errors import NoSuchMessage
from gateway.mailbox.model import Precomputed
from gateway.mailbox.transfer import Identity, transfer_decoder

_log = structlog.get_logger("imap")


class FetchResponse:
    """The response for one message of the session's view. `structure` is None if no item needs it, or it is gone."""

    def __init__(self, session: Session, uid: int, structure: Precomputed | None) -> None:
        self._session = session
        self._mailbox_id = session.selection.mailbox.id
        self._uid = uid
        self._structure = structure
        self._root: Part | None = None
        self._held: list[bytes] = []
        self._held_size = 0
        self._begun = False
        self._header: tuple[tuple[int, int], bytes] | None = None
        self._read_stored: Callable[[int, int], Awaitable[bytes]] | None = None  # where not all octets are at hand

    async def send(self, items: tuple[FetchItem, ...]) -> None:
        """Write the response. Raises NoSuchMessage and No (UNKNOWN-CTE), with nothing written."""
        view = self._session.selection.view
        seq = view.seq(self._uid)
        if seq is None or view.is_gone(self._uid):
            raise NoSuchMessage(f"message {self._uid} is gone")
        for item in items:
            if isinstance(item, Binary):
                self._require_known_encoding(item)
        if self._structure is None or self._structure.whole:
            await self._write(seq, items)
        else:
            async with self._session.store.open_content(self._mailbox_id, self._uid) as self._read_stored:
                await self._write(seq, items)
        if Item.FLAGS in items:
            view.told(view.rows[self._uid])

    async def _write(self, seq: int, items: tuple[FetchItem, ...]) -> None:
        view = self._session.selection.view
        self._put(b"* %d FETCH (" % seq)
        try:
            for place, item in enumerate(items):
                if place:
                    self._put(b" ")
                if isinstance(item, Section):
                    await self._section(item)
                elif isinstance(item, Binary):
                    await self._binary(item)
                else:
                    self._put(item.value + b" " + VALUES[item](view, view.rows[self._uid], self._structure))
        except ConnectionError:
            raise  # the client has gone
        except Exception as error:
            if not self._begun:
                raise
            self._log_damage(error)
            self._session.channel.abort()
            raise ConnectionResetError("a message could not be read while it was being sent") from error
        self._put(b")\r\n")
        self._session.channel.write(b"".join(self._held))

    def _log_damage(self, error: Exception) -> None:
        """For the operator: the reader sees only that the connection ends, each time that it asks."""
        _log.error(
            "imap message broken off",
            peer=self._session.channel.peer,
            mailbox=self._session.selection.mailbox.name,
            uid=self._uid,
            error=f"{type(error).__name__}: {error}",
        )

    def _put(self, data: bytes) -> None:
        self._held.append(data)
        self._held_size += len(data)

    async def _relieve(self) -> None:
        """Let what is held go out once it is much; from then on the response must be completed."""
        if self._held_size > params.BODY_PIECE:
            self._begun = True
            self._session.channel.write(b"".join(self._held))
            self._held.clear()
            self._held_size = 0
            await self._session.channel.flush()

    def _precomputed(self) -> Precomputed:
        return there(self._structure)

    def _tree(self) -> Part:
        if self._root is None:
            self._root = self._precomputed().structure
        return self._root

    async def _section(self, section: Section) -> None:
        structure = self._precomputed()
        place: tuple[int, int] | None
        if not section.part and not section.text:
            place = 0, structure.size
        elif not section.part and section.text.startswith("HEADER"):
            place = 0, structure.header_size
        else:
            place = locate(section, self._tree(), structure.size)
        if place is None:
            self._put(section.label + b" NIL")  # nstring: the message has no such part
        elif section.fields:
            data = partial(sendable(await self._chosen(section, await self._read_header(place))), section)
            self._put(b"%s {%d}\r\n%s" % (section.label, len(data), data))
        else:
            offset, length = place
            skipped, length = _partial_range(length, section.partial)
            await self._range(section.label + b" {%d}\r\n", offset + skipped, length, text=True)

    async def _chosen(self, section: Section, header: bytes) -> bytes:
        exclude = section.text == "HEADER.FIELDS.NOT"
        if len(header) <= params.BODY_PIECE:
            return choose_fields(header, section.fields, exclude=exclude)
        return await asyncio.to_thread(choose_fields, header, section.fields, exclude=exclude)

    async def _read_header(self, place: tuple[int, int]) -> bytes:
        if self._header is None or self._header[0] != place:
            self._header = place, await self._read(*place)
        return self._header[1]

    async def _range(self, start: bytes, offset: int, length: int, *, text: bool) -> None:
        """Put a range of the message behind `start`, at most BODY_PIECE of it in memory at a time."""
        self._put(start % length)
        end = offset + length
        while offset < end:
            piece = await self._read(offset, min(end - offset, params.BODY_PIECE))
            offset += len(piece)
            self._put(sendable(piece) if text else piece)
            await self._relieve()

    # ---- BINARY (RFC 3516)

    def _part_place(self, item: Binary) -> tuple[str, int, int] | None:
        return locate_part(item.part, self._tree(), self._precomputed().size)

    def _require_known_encoding(self, item: Binary) -> None:
        place = self._part_place(item)
        if place is not None and transfer_decoder(place[0]) is None:
            raise No("a part has a transfer encoding that is not known", "UNKNOWN-CTE")  # RFC 3516 §4.2

    async def _binary(self, item: Binary) -> None:
        place = self._part_place(item)
        if place is None:
            self._put(item.label + (b" 0" if item.size else b" NIL"))
            return
        encoding, offset, length = place
        plain = isinstance(transfer_decoder(encoding), Identity)
        size = length if plain else await self._decoded_size(place)
        if item.size:
            self._put(b"%s %d" % (item.label, size))
            return
        skipped, wanted = _partial_range(size, item.partial)
        start = item.label + b" ~{%d}\r\n"  # RFC 3516 §4.4: a literal8 may have NUL
        if plain:
            await self._range(start, offset + skipped, wanted, text=False)
            return
        self._put(start % wanted)
        async with aclosing(self._decoded(place)) as pieces:
            async for piece in pieces:
                chosen = piece[skipped : skipped + wanted]
                skipped, wanted = max(skipped - len(piece), 0), wanted - len(chosen)
                self._put(chosen)
                await self._relieve()
                if not wanted:
                    break

    async def _decoded_size(self, place: tuple[str, int, int]) -> int:
        size = 0
        async for piece in self._decoded(place):
            size += len(piece)
        return size

    async def _decoded(self, place: tuple[str, int, int]) -> AsyncGenerator[bytes, None]:
        """A part's body without its transfer encoding, in pieces."""
        encoding, offset, length = place
        decoder = transfer_decoder(encoding)
        assert decoder is not None, "the encodings were looked at before"
        end = offset + length
        while offset < end:
            piece = await self._read(offset, min(end - offset, params.BODY_PIECE))
            offset += len(piece)
            yield decoder.feed(piece)
        yield decoder.finish()

    async def _read(self, offset: int, length: int) -> bytes:
        at_hand = self._precomputed().octets(offset, length)
        if at_hand is not None and len(at_hand) == length:
            return at_hand
        assert self._read_stored is not None, "not all octets are at hand"
        data = await self._read_stored(offset, length)
        if len(data) != length:
            raise NoSuchMessage(f"message {self._uid} is shorter than its structure says")
        return data


def _partial_range(length: int, partial: tuple[int, int] | None) -> tuple[int, int]:
    """Octets to pass over and to send. RFC 3501 §6.4.5: a range beyond the end is an empty string."""
    if partial is None:
        return 0, length
    first, wanted = partial
    first = min(first, length)
    return first, min(wanted, length - first)
