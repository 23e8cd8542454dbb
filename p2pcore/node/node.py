"""A node: storage, the HTTP primitives, expiry and repair, started and stopped in order."""

import asyncio
import dataclasses
import fcntl
import logging
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import IO, Any, Final

import apsw

from p2pcore import params
from p2pcore.client.primitives import PeerClient
from p2pcore.clock import Clock
from p2pcore.crypto.statements import Signer, StatementVerifier
from p2pcore.crypto.tls import node_server_context
from p2pcore.crypto.trust import Trust
from p2pcore.dht.substrate import Substrate
from p2pcore.node import expiry, objects
from p2pcore.node.admission import Admission
from p2pcore.node.bodies import BodyFiles
from p2pcore.node.collection import Collector
from p2pcore.node.comparison import Round
from p2pcore.node.gate import Gate
from p2pcore.node.nonces import Nonces
from p2pcore.node.repair import Repair
from p2pcore.node.server import Server
from p2pcore.node.service import Service
from p2pcore.node.settings import NodeCounts, NodeSettings, RepairCounts
from p2pcore.node.storage import Storage
from p2pcore.records import Identity, Replication, SignedStatement

REPAIR_INTERVAL: Final = params.HOUR
REPAIR_SETTLING: Final = 5 * params.SECOND  # a starting network announces its contacts within a few seconds
SWEEP_INTERVAL: Final = 10 * params.MINUTE
READS_DELAY: Final = 10 * params.SECOND  # when owners last read is written down this late, many in one commit

_log = logging.getLogger(__name__)


class Node:
    """Holds what others store, under `settings.directory`; everything there survives SIGKILL at any moment."""

    def __init__(
        self,
        settings: NodeSettings,
        identity: Identity,
        signer: Signer,
        trust: Trust,
        substrate: Substrate,
        clock: Clock,
        replication: Callable[[], tuple[Replication, ...]] = tuple,
        *,
        repair_settling: int = REPAIR_SETTLING,
    ) -> None:
        """`replication`: k and its history as the domain record has them; without any there is no repair."""
        self._settings = settings
        self._identity = identity
        self._storage = Storage(settings.directory / "node.db", clock)
        self._bodies = BodyFiles(settings.directory)
        self._nonces = Nonces(self._storage, clock)
        admission = Admission(trust, StatementVerifier(trust, clock), self._storage)
        self._service = Service(settings, self._storage, self._bodies, admission, self._nonces, clock)
        self._node_id = signer.certificate.node_id
        self._server = Server(Gate(self._node_id, self._service), self._service)
        self._peers = PeerClient(signer, trust, clock)
        self._peers.on_heads(self._heard)
        self._repair = Repair(
            self._service,
            substrate,
            self._peers,
            replication,
            signer.certificate,
            interval=REPAIR_INTERVAL,
            settling=repair_settling,
        )
        self._collecting = PeerClient(signer, trust, clock)  # its traffic is not repair's
        self._collecting.on_heads(self._heard)
        self._collector = Collector(self._service, substrate, self._collecting, replication, self._node_id)
        self._tasks: set[asyncio.Task[None]] = set()
        self._lock: IO[bytes] | None = None  # held by one process at a time
        self.port = 0

    async def start(self) -> None:
        """Open the storage, bind the port, begin repair and expiry.

        Raises OSError (directory, also one in use by another process, or port), apsw.Error or RuntimeError (database),
        CertificateRefused (identity).
        """
        context = node_server_context(self._identity)
        try:
            files = await asyncio.to_thread(self._open)
            lost = await self._storage.write(lambda transaction: objects.match_files(transaction, files))
            if lost:
                _log.error("%d bodies are not held, since their files in %s are lost", lost, self._settings.directory)
            await self._service.heads.load()
            self.port = await self._server.start(self._settings.listen, context)
        except BaseException:
            await asyncio.to_thread(self._close)
            raise
        self._own("node-expiry", self._sweep_forever())
        self._own("node-repair", self._repair.run())
        self._own("node-collection", self._collector.run())
        self._own("node-reads", self._write_reads_forever())

    async def stop(self) -> None:
        """Answer what is under way, then close; idempotent."""
        if not self.port:
            return
        self.port = 0
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._collector.stop()
        await self._server.stop()
        await self._peers.close()
        await self._collecting.close()
        await self._service.drain()
        await self._write_reads()
        await asyncio.to_thread(self._close)

    def counts(self) -> NodeCounts:
        """Return what is held now."""
        return dataclasses.replace(self._storage.counts(), collected=self._collector.collected)

    def repaired(self) -> RepairCounts:
        """Return what repair has done since the start, and its traffic."""
        return self._repair.counts()

    def on_heads(self, callback: Callable[[Sequence[SignedStatement]], None]) -> None:
        """Call `callback` with the newest directory heads, verified, whenever the node was given a newer one."""
        self._service.heads.on_newer.append(callback)

    def watched(self, inbox_key: bytes) -> bool:
        """Return whether a read of this inbox waits for news."""
        return self._service.watchers.watched(inbox_key)

    async def repair(self) -> Round:
        """Compare with the other closest nodes now; returns when the round is done."""
        return await self._repair.round()

    async def collect(self, octets: int) -> bool:
        """Let garbage collection make room for `octets` more; return whether anything went."""
        return await self._collector.make_room(octets)

    async def sweep(self) -> int:
        """Drop what has expired now; return how many items went."""
        return await expiry.sweep(self._service)

    def _open(self) -> frozenset[str]:
        """Open what is on disk; return the files of bodies that are there."""
        self._settings.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _locked(self._settings.directory / "lock")
        self._storage.open()
        self._nonces.load()
        return self._bodies.open(self._storage.read_now(_files))

    def _close(self) -> None:
        self._service.threads.shutdown(wait=True)
        self._bodies.close()
        self._storage.close()
        if self._lock is not None:
            self._lock.close()

    def _own(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("task %s ended: %r", task.get_name(), error, exc_info=error)

    def _heard(self, heads: tuple[SignedStatement, ...]) -> None:
        if self.port:
            self._own("node-heads", self._service.heads.learn(heads))

    async def _sweep_forever(self) -> None:
        while True:
            try:
                await expiry.sweep(self._service)
            except Exception:  # noqa: BLE001 - logged; a full disk now must not end expiry for good
                _log.exception("expiry failed and will be tried again")
            await asyncio.sleep(SWEEP_INTERVAL / params.SECOND)

    async def _write_reads_forever(self) -> None:
        while True:
            await self._service.inbox_reads.recorded.wait()
            await asyncio.sleep(READS_DELAY / params.SECOND)
            await self._write_reads()

    async def _write_reads(self) -> None:
        try:
            await self._service.inbox_reads.write_down()
            await self._service.uses.write_down()
        except Exception:  # noqa: BLE001 - logged; reads of inboxes stay in memory for the next time, if there is one
            _log.exception("when inboxes and bodies were read could not be written down")


def _locked(path: Path) -> IO[bytes]:
    """Return the lock file, held until it is closed. Raises OSError where another process holds it."""
    file = path.open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise OSError(error.errno, "in use by another process", str(path)) from error
    return file


def _files(db: apsw.Connection) -> list[str]:
    return [str(file) for (file,) in db.execute("SELECT file FROM objects WHERE file <> ''")]
