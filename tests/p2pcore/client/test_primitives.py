"""PeerClient: one node asked over TLS pinned to its ID, every trouble a Failure."""

import asyncio
import base64
import gc
import os
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from p2pcore import params
from p2pcore.client import answers, primitives
from p2pcore.client.primitives import PeerClient
from p2pcore.crypto.tls import node_server_context
from p2pcore.dht.contact import Contact
from p2pcore.errors import NotFound, Tampered, TooLarge, UnknownCertificate, Unreachable
from p2pcore.records import AskInbox, Fetch, Operation, Record, Resolve, Store, encode
from tests.support.identities import ManualClock, World
from tests.support.nodes import body, client_of, running_node

ASK = AskInbox(bytes(32))
NOBODY = Contact(bytes(32), "127.0.0.1", 1)


async def test_another_key_than_the_node_id_is_unreachable(tmp_path: Path) -> None:
    """Whoever answers must hold the key behind the node ID; nothing is sent to anybody else."""
    world = World()
    async with running_node(world, tmp_path / "node") as running, client_of(world, world.gateway()) as client:
        impostor = Contact(bytes(32), running.contact.host, running.contact.port)
        with pytest.raises(Unreachable):
            await client.call(impostor, [ASK])
        assert [result.status for result in await client.call(running.contact, [ASK])] == [200]


async def test_nobody_listening_is_unreachable(tmp_path: Path) -> None:
    """A refused connection is a temporary failure."""
    world = World()
    async with running_node(world, tmp_path / "node") as running:
        contact = running.contact
    async with client_of(world, world.gateway()) as client:
        with pytest.raises(Unreachable):
            await client.call(contact, [ASK])


async def test_a_restarted_node_is_reached_again(tmp_path: Path) -> None:
    """Pooled connections of a node's last life cost a repetition, not a failure."""
    world = World()
    member = world.node()
    async with client_of(world, world.gateway()) as client:
        async with running_node(world, tmp_path / "node", member=member) as running:
            contact = running.contact
            await client.call(contact, [ASK])
        async with running_node(world, tmp_path / "node", member=member, port=contact.port):
            assert [result.status for result in await client.call(contact, [ASK])] == [200]


async def test_clock_is_corrected_for_the_node_that_said_so(tmp_path: Path) -> None:
    """A node that finds our clock wrong gives its time, which then corrects requests to it; its difference is known."""
    world = World()
    member = world.gateway()
    wrong = ManualClock(world.clock() - params.HOUR)
    client = PeerClient(member.signer, world.trust(member), wrong)
    async with running_node(world, tmp_path / "node") as running:
        for _ in range(2):
            assert [result.status for result in await client.call(running.contact, [ASK])] == [200]
        assert client.clock_difference() == params.HOUR
    await client.close()


async def test_the_same_batch_is_encoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The k nodes get the same octets; other operations never get an earlier batch's."""
    encoded: list[Record] = []

    def noting(record: Record) -> bytes:
        encoded.append(record)
        return encode(record)

    monkeypatch.setattr(primitives, "encode", noting)
    world = World()
    gateway = world.gateway()
    stored = [body(gateway.signer, world.clock(), os.urandom(100)) for _ in range(2)]
    operations = [each.store for each in stored]
    async with (
        running_node(world, tmp_path / "one") as one,
        running_node(world, tmp_path / "other") as other,
        client_of(world, gateway) as client,
    ):
        for running in (one, other):
            assert [result.status for result in await client.call(running.contact, operations)] == [200, 200]
            assert running.node.counts().objects == 2
        assert len(encoded) == 1
        [result] = await client.call(one.contact, operations[:1])
        assert result.status == 200
        fetched = await client.call(one.contact, [Fetch(stored[1].statement.object_key, b"")])
        assert [result.status for result in fetched] == [200]
        assert len(encoded) == 3


async def test_certificates_are_sent_along_on_demand(tmp_path: Path) -> None:
    """A statement of a signer unknown to the node is repeated with the certificate, if our trust has it."""
    world = World()
    alice, repairing = world.user("alice"), world.node()
    small, large = (body(alice.signer, world.clock(), bytes(size)) for size in (100, 100_000))
    async with running_node(world, tmp_path / "node") as running:
        async with client_of(world, repairing) as ignorant:
            [result] = await ignorant.call(running.contact, [small.store])
            assert result.status == UnknownCertificate.http_status
            with pytest.raises(UnknownCertificate):
                await ignorant.put_body(running.contact, large.signed, large.octets)
        async with client_of(world, repairing, alice) as knowing:
            await knowing.put_body(running.contact, large.signed, large.octets)
            [result] = await knowing.call(running.contact, [small.store])
            assert result.status == 200


async def test_octets_other_than_the_digest_are_tampered(tmp_path: Path) -> None:
    """A node that answers with other octets than it promised is found out."""
    world = World()
    gateway = world.gateway()
    stored = body(gateway.signer, world.clock(), os.urandom(300_000))
    async with running_node(world, tmp_path / "node") as running, client_of(world, gateway) as client:
        await client.put_body(running.contact, stored.signed, stored.octets)
        [file] = (running.directory / "bodies").iterdir()
        file.write_bytes(bytes(300_000))
        with pytest.raises(Tampered):
            await client.get_body(running.contact, stored.statement.object_key, stored.statement.digest, _drop)
        file.write_bytes(stored.octets[:-1])
        with pytest.raises((Tampered, Unreachable)):
            await client.get_body(running.contact, stored.statement.object_key, stored.statement.digest, _drop)


async def test_uploads_of_one_body_share_the_pass_over_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """k uploads that begin together digest the body once; one that could not read it is no obstacle to the next."""
    world = World()
    gateway = world.gateway()
    stored = body(gateway.signer, world.clock(), os.urandom(300_000))
    file = tmp_path / "body"
    passes: list[object] = []

    def counted(prefix: bytes, source: Path | bytes) -> bytes:
        passes.append(source)
        return answers.framed_digest(prefix, source)

    monkeypatch.setattr(primitives, "framed_digest", counted)
    async with running_node(world, tmp_path / "node") as running, client_of(world, gateway) as client:
        with pytest.raises(FileNotFoundError):
            await client.put_body(running.contact, stored.signed, file)
        file.write_bytes(stored.octets)
        await asyncio.gather(*(client.put_body(running.contact, stored.signed, file) for _ in range(3)))
        assert len(passes) == 1 + 1
        [kept] = (running.directory / "bodies").iterdir()
        assert kept.read_bytes() == stored.octets


async def test_a_body_that_cannot_be_read_when_nobody_uploads_it_any_more_is_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its file goes with the upload that is cancelled, while a thread still digests it."""
    world = World()
    gateway = world.gateway()
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context["message"]))
    begun, cancelled = threading.Event(), threading.Event()

    def gone(_prefix: bytes, _source: Path | bytes) -> bytes:
        begun.set()
        cancelled.wait()
        raise FileNotFoundError

    monkeypatch.setattr(primitives, "framed_digest", gone)
    async with client_of(world, gateway) as client:
        upload = asyncio.create_task(client.put_body(NOBODY, body(gateway.signer, world.clock()).signed, b""))
        await asyncio.to_thread(begun.wait)
        upload.cancel()
        await asyncio.wait([upload])
        del upload
        cancelled.set()
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
        await asyncio.sleep(0)
        gc.collect()
    assert reported == []


async def test_what_the_sink_raises_passes_through(tmp_path: Path) -> None:
    """A full disk at home is not the node's failure."""
    world = World()
    gateway = world.gateway()
    stored = body(gateway.signer, world.clock())

    async def full(_piece: bytes) -> None:
        raise OSError("no space")

    async with running_node(world, tmp_path / "node") as running, client_of(world, gateway) as client:
        await client.call(running.contact, [stored.store])
        with pytest.raises(OSError, match="no space"):
            await client.get_body(running.contact, stored.statement.object_key, b"", full)


async def test_too_large_a_batch_is_not_sent() -> None:
    """What no node would take fails before anything is sent."""
    world = World()
    gateway = world.gateway()
    stored = body(gateway.signer, world.clock(), bytes(params.INLINE_BODY))
    async with client_of(world, gateway) as client:
        with pytest.raises(TooLarge):
            await client.call(NOBODY, [Store(stored.signed, stored.octets)] * 9)
        with pytest.raises(TooLarge):
            await client.call(NOBODY, [ASK] * (params.MAX_BATCH_OPERATIONS + 1))


async def test_results_are_in_order(tmp_path: Path) -> None:
    """One result per operation, in the operations' order."""
    world = World()
    async with running_node(world, tmp_path / "node") as running, client_of(world, world.gateway()) as client:
        operations: list[Operation] = [ASK, Fetch(bytes(32), b""), ASK, Resolve("domain", "x")]
        results = await client.call(running.contact, operations)
        assert [result.status for result in results] == [200, 404, 200, 404]
        assert await client.call(running.contact, []) == []
        with pytest.raises(NotFound):
            await client.get_body(running.contact, bytes(32), b"", _drop)


@asynccontextmanager
async def answering(world: World, octets: bytes) -> AsyncIterator[Contact]:
    """A TLS server under a node's key that answers every connection with these octets, then waits."""
    member = world.node()
    context: ssl.SSLContext = node_server_context(member.identity)
    over = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(octets)
        await writer.drain()
        await over.wait()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    try:
        yield Contact(member.certificate.node_id, "127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        over.set()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    "octets",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nxyz",
        b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nxyz",
        b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
        b"",
    ],
    ids=["no HTTP", "no reply", "cut short", "redirect", "silence"],
)
async def test_nonsense_is_a_failure(octets: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that cannot be understood, or none within the time limit, counts like no answer."""
    monkeypatch.setattr(params, "REQUEST_TIMEOUT", 300)
    world = World()
    async with answering(world, octets) as contact, client_of(world, world.gateway()) as client:
        with pytest.raises(Unreachable):
            await client.call(contact, [ASK])


async def test_a_body_larger_than_its_owner_expects_is_not_received() -> None:
    """A node may not fill the disk, or take all the time, with what it says belongs to a small body."""
    world = World()
    gateway = world.gateway()
    false = msgspec.structs.replace(body(gateway.signer, world.clock()).statement, size=1 << 40)
    [signed] = gateway.signer.sign([false])
    shown = base64.b64encode(encode(signed)).decode()
    header = f"HTTP/1.1 200 OK\r\nContent-Length: {1 << 40}\r\nP2pmail-Object: :{shown}:\r\n\r\n"
    received: list[bytes] = []

    async def sink(piece: bytes) -> None:
        received.append(piece)

    async with answering(world, header.encode() + bytes(100_000)) as contact, client_of(world, gateway) as client:
        with pytest.raises(Tampered):
            await client.get_body(contact, false.object_key, false.digest, sink, 2_000_000)
    assert not received


async def _drop(_piece: bytes) -> None:
    """A sink that keeps nothing."""
