"""IDLE (RFC 2177): news as it happens, from the mailbox's watch."""

import asyncio
from dataclasses import dataclass

from gateway.imap.errors import Bad
from gateway.imap.lexer import Lexer
from gateway.imap.session import Done, Session


@dataclass(frozen=True, slots=True)
class Idle:
    @classmethod
    def parse(cls, lexer: Lexer) -> "Idle":
        return cls()

    async def run(self, session: Session) -> Done:
        session.channel.write(b"+ idling\r\n")
        await session.sync(expunge=True)  # what came just before IDLE is news too
        await session.channel.flush()
        line = asyncio.create_task(session.channel.read_line(), name="imap idle: DONE")
        try:
            await _announce_until(line, session)
        finally:
            line.cancel()
            await asyncio.gather(line, return_exceptions=True)  # its error is raised below, or the other one is
        if line.result().upper() != b"DONE":
            raise Bad("IDLE ends with DONE")
        return Done()


async def _announce_until(line: asyncio.Task[bytes], session: Session) -> None:
    while not line.done():
        watch = session.selected.watch if session.selected is not None else None
        if watch is None or watch.gone:
            await asyncio.wait([line])
            return
        news = asyncio.create_task(watch.changed(), name="imap idle: news")
        try:
            await asyncio.wait([line, news], return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
            await asyncio.wait([news])
        await session.sync(expunge=True)
        await session.channel.flush()
