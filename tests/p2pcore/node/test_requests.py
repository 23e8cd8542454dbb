"""Whose requests a node takes: signed, by somebody admitted, for this node, now and once (RFC 9421)."""

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator, Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from p2pcore import params
from p2pcore.client.framing import TIME_HEADER
from p2pcore.client.pinning import PinnedNode
from p2pcore.crypto.requests import sign_request
from p2pcore.records import AskInbox, Batch, BatchReply, Revocation, decode, encode
from tests.support.identities import Member, World
from tests.support.nodes import Running, body, client_of, running_node

BATCH = encode(Batch((), (AskInbox(bytes(32)),)))


@dataclass
class Wire:
    """Requests as they are on the wire, to one node."""

    world: World
    running: Running
    session: aiohttp.ClientSession

    def signed(
        self,
        member: Member,
        method: str = "POST",
        path: str = "/v1/batch",
        body: bytes = BATCH,
        *,
        node_id: bytes = b"",
        now: int = 0,
        certificate: bool = True,
        pragma: str = "",
    ) -> dict[str, str]:
        """Header fields of a request of `member`."""
        headers: dict[str, str] = {"Pragma": pragma} if pragma else {}
        sign_request(
            method,
            self.url(path),
            headers,
            hashlib.sha256(body).digest(),
            node_id or self.running.contact.node_id,
            member.signer,
            now or self.world.clock(),
            include_certificate=certificate,
        )
        return headers

    def url(self, path: str) -> str:
        return f"https://127.0.0.1:{self.running.node.port}{path}"

    async def send(
        self, headers: MutableMapping[str, str], method: str = "POST", path: str = "/v1/batch", body: bytes = BATCH
    ) -> tuple[int, str, int]:
        """Status, the failure class named in the answer ("" for none), and the node's time."""
        pin = PinnedNode(self.running.contact.node_id)
        async with self.session.request(method, self.url(path), data=body, headers=headers, ssl=pin) as response:
            octets = await response.read()
            name = "" if response.status == 200 else octets.decode().partition(":")[0]
            return response.status, name, int(response.headers.get(TIME_HEADER, "0"))


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Wire]:
    world = World()
    async with running_node(world, tmp_path / "node") as running, aiohttp.ClientSession() as session:
        yield Wire(world, running, session)


async def test_every_role_may_ask(wire: Wire) -> None:
    """Whoever the authority admitted is answered; the certificate need be sent only once."""
    for member in (wire.world.user("alice"), wire.world.gateway(), wire.world.node(), wire.world.directory()):
        assert (await wire.send(wire.signed(member)))[0] == 200
        assert (await wire.send(wire.signed(member, certificate=False)))[0] == 200


async def test_unknown_certificate_is_said(wire: Wire) -> None:
    """Who was never seen is told to send the certificate along."""
    status, name, _ = await wire.send(wire.signed(wire.world.user("alice"), certificate=False))
    assert (status, name) == (428, "UnknownCertificate")


async def test_strangers_are_refused(wire: Wire) -> None:
    """A certificate of another authority admits nobody, even for the same domain."""
    status, name, _ = await wire.send(wire.signed(World().user("alice")))
    assert (status, name) == (401, "CertificateRefused")


async def test_no_signature_no_answer(wire: Wire) -> None:
    """A request without a signature is refused before its body is looked at."""
    digest = base64.b64encode(hashlib.sha256(BATCH).digest()).decode()
    headers = {"Content-Digest": f"sha-256=:{digest}:", "P2pmail-Node": wire.running.contact.node_id.hex()}
    assert (await wire.send(headers))[:2] == (401, "SignatureRefused")
    assert (await wire.send({}))[:2] == (400, "Malformed")


async def test_a_request_is_taken_once(wire: Wire) -> None:
    """The same signed request again is a replay."""
    headers = wire.signed(wire.world.user("alice"))
    assert (await wire.send(headers))[0] == 200
    assert (await wire.send(headers))[:2] == (409, "Replayed")


async def test_a_request_to_another_node_is_refused(wire: Wire) -> None:
    """The addressed node is signed, so one node cannot pass a request on as its own."""
    status, name, _ = await wire.send(wire.signed(wire.world.user("alice"), node_id=bytes(32)))
    assert (status, name) == (403, "NotAuthorised")


async def test_the_body_is_signed(wire: Wire) -> None:
    """Another body under the same signature is refused."""
    headers = wire.signed(wire.world.user("alice"))
    assert (await wire.send(headers, body=encode(Batch((), ()))))[:2] == (422, "Tampered")


async def test_method_path_and_pragma_are_signed(wire: Wire) -> None:
    """What was signed for one request does for no other."""
    alice = wire.world.user("alice")
    path = f"/v1/{alice.certificate.inbox_key.hex()}"
    headers = wire.signed(alice, "GET", path, b"", pragma="read-inbox")
    for other in (path + "?cursor=1", "/v1/" + "0" * 64):
        assert (await wire.send(headers, "GET", other, b""))[:2] == (401, "SignatureRefused")
    assert (await wire.send(headers, "DELETE", path, b""))[:2] == (401, "SignatureRefused")
    del headers["Pragma"]
    assert (await wire.send(headers, "GET", path, b""))[0] == 401


async def test_clock_skew_is_answered_with_the_time(wire: Wire) -> None:
    """Who signs in the past or future is told the node's time."""
    alice = wire.world.user("alice")
    now = wire.world.clock()
    for wrong in (now - params.REQUEST_SKEW - params.MINUTE, now + params.MINUTE):
        assert await wire.send(wire.signed(alice, now=wrong)) == (425, "ClockSkew", now)


async def test_revoked_certificates_are_refused(wire: Wire) -> None:
    """A revoked certificate admits nobody from then on."""
    alice = wire.world.user("alice")
    assert (await wire.send(wire.signed(alice)))[0] == 200
    wire.running.trust.set_revocations((Revocation(alice.certificate.serial, "retired", wire.world.clock()),))
    assert (await wire.send(wire.signed(alice)))[:2] == (401, "CertificateRefused")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("POST", "/v1/" + "0" * 64), ("GET", "/v1/" + "0" * 63), ("GET", "/v1/" + "A" * 64)],
)
async def test_what_is_no_primitive(wire: Wire, method: str, path: str) -> None:
    """Nothing but the routes of Table 3 is answered."""
    headers = wire.signed(wire.world.user("alice"), method, path, b"")
    assert (await wire.send(headers, method, path, b""))[:2] == (404, "NotFound")


async def test_who_holds_the_body_back_is_asked_for_it(wire: Wire) -> None:
    """Expect: 100-continue is answered once the signature is known to be good; any other expectation fails."""
    headers = wire.signed(wire.world.user("alice")) | {"Expect": "100-continue"}
    pin = PinnedNode(wire.running.contact.node_id)
    async with wire.session.post(
        wire.url("/v1/batch"), data=BATCH, headers=headers, ssl=pin, expect100=True
    ) as response:
        assert response.status == 200
        assert decode(BatchReply, await response.read()).results[0].status == 200
    headers = wire.signed(wire.world.user("alice")) | {"Expect": "miracles"}
    assert (await wire.send(headers))[:2] == (417, "Malformed")


@pytest.mark.parametrize(
    ("method", "query", "body", "pragma", "name"),
    [
        ("GET", "?digest=zz", b"", "", "Malformed"),
        ("GET", "?kind=inbox", b"", "", "Malformed"),
        ("GET", "?kind=certificate&identifier=x", b"", "", "Malformed"),
        ("GET", "?digest=" + "0" * 64 + "&digest=" + "0" * 64, b"", "", "Malformed"),
        ("GET", "", b"body", "", "TooLarge"),
        ("GET", "", b"", "append-inbox", "Malformed"),
        ("GET", "?cursor=-1", b"", "read-inbox", "Malformed"),
        ("PUT", "", b"", "", "Malformed"),
        ("PUT", "", b"\0\0\0\1x", "", "Malformed"),
        ("PUT", "", b"\xff\xff\xff\xffx", "", "Malformed"),
        ("PUT", "", b"x", "read-inbox", "Malformed"),
        ("DELETE", "", b"x", "", "Malformed"),
        ("DELETE", "", bytes(200_000), "", "TooLarge"),
    ],
)
async def test_bad_input_is_named(wire: Wire, method: str, query: str, body: bytes, pragma: str, name: str) -> None:
    """Every malformed request gets its failure's status and "ClassName: detail"."""
    path = "/v1/" + "0" * 64 + query
    headers = wire.signed(wire.world.user("alice"), method, path, body, pragma=pragma)
    status, said, _ = await wire.send(headers, method, path, body)
    assert said == name
    assert 400 <= status < 500


async def test_a_batch_that_does_not_parse(wire: Wire) -> None:
    """Octets that are no batch are Malformed."""
    headers = wire.signed(wire.world.user("alice"), body=b"\xc1")
    assert (await wire.send(headers, body=b"\xc1"))[:2] == (400, "Malformed")


async def test_replays_are_refused_across_restarts(tmp_path: Path) -> None:
    """A node that starts again takes no request that it may have answered before, and new ones at once."""
    world = World()
    alice, member = world.user("alice"), world.node()
    async with running_node(world, tmp_path / "node", member=member) as running, aiohttp.ClientSession() as session:
        wire = Wire(world, running, session)
        headers = wire.signed(alice)
        assert (await wire.send(headers))[0] == 200
    async with running_node(world, tmp_path / "node", member=member) as running, aiohttp.ClientSession() as session:
        wire = Wire(world, running, session)
        status, name, time = await wire.send(headers)
        assert (status, name) == (425, "ClockSkew")
        assert (await wire.send(wire.signed(alice, now=time)))[0] == 200


async def test_a_clock_put_right_locks_nobody_out(tmp_path: Path) -> None:
    """A node whose clock was an hour ahead in its last life answers members, and each request once."""
    world = World()
    alice, member = world.user("alice"), world.node()
    world.clock.advance(params.HOUR)
    async with running_node(world, tmp_path / "node", member=member) as running, aiohttp.ClientSession() as session:
        wire = Wire(world, running, session)
        earlier = wire.signed(alice)
        assert (await wire.send(earlier))[0] == 200
    world.clock.advance(-params.HOUR)
    async with running_node(world, tmp_path / "node", member=member) as running, aiohttp.ClientSession() as session:
        wire = Wire(world, running, session)
        assert (await wire.send(earlier))[:2] == (425, "ClockSkew")
        for _ in range(3):
            _, name, time = await wire.send(wire.signed(alice))
            assert name == "ClockSkew"
            headers = wire.signed(alice, now=time)
            assert (await wire.send(headers))[0] == 200
            assert (await wire.send(headers))[1] == "Replayed"
            world.clock.advance(params.MINUTE)


async def test_ranges_of_large_and_small_bodies(wire: Wire) -> None:
    """A single range is served as 206 with its place; one outside the object is 416 (RFC 9110 §14)."""
    gateway = wire.world.gateway()
    async with client_of(wire.world, gateway) as client:
        for size in (1_000, 100_000):
            stored = body(gateway.signer, wire.world.clock(), os.urandom(size))
            await client.put_body(wire.running.contact, stored.signed, stored.octets)
            path = f"/v1/{stored.statement.object_key.hex()}"
            assert await ranged(wire, gateway, path, "bytes=10-19") == (
                206,
                f"bytes 10-19/{size}",
                stored.octets[10:20],
            )
            assert await ranged(wire, gateway, path, "bytes=-5") == (
                206,
                f"bytes {size - 5}-{size - 1}/{size}",
                stored.octets[-5:],
            )
            assert (await ranged(wire, gateway, path, f"bytes={size}-"))[:2] == (416, f"bytes */{size}")
            assert await ranged(wire, gateway, path, "lines=1-2") == (200, "", stored.octets)


async def test_every_refusal_has_its_class_and_the_nodes_time(wire: Wire) -> None:
    """Whatever is neither 200 nor 206 says what failed and when, a range that there is not too."""
    gateway = wire.world.gateway()
    stored = body(gateway.signer, wire.world.clock())
    path = f"/v1/{stored.statement.object_key.hex()}"
    async with client_of(wire.world, gateway) as client:
        await client.put_body(wire.running.contact, stored.signed, stored.octets)
    now = wire.world.clock()
    headers = wire.signed(gateway, "GET", path, b"") | {"Range": "bytes=100-"}
    assert await wire.send(headers, "GET", path, b"") == (416, "Malformed", now)
    assert await wire.send({}, "GET", "/", b"") == (404, "NotFound", now)
    assert await wire.send({}, "GET", path, b"") == (400, "Malformed", now)


async def ranged(wire: Wire, member: Member, path: str, field: str) -> tuple[int, str, bytes]:
    """Status, Content-Range and body of a GET with this Range."""
    headers = wire.signed(member, "GET", path, b"") | {"Range": field}
    pin = PinnedNode(wire.running.contact.node_id)
    async with wire.session.get(wire.url(path), headers=headers, ssl=pin) as response:
        return response.status, response.headers.get("Content-Range", ""), await response.read()


async def test_a_reader_that_goes_away_leaves_nothing(wire: Wire) -> None:
    """A long poll whose client is gone ends at once and is not watched any more."""
    alice = wire.world.user("alice")
    inbox = alice.certificate.inbox_key
    async with client_of(wire.world, alice) as client:
        reading = client.read_inbox(wire.running.contact, inbox, b"", 0, params.WATCH_WAIT)
        waiting = asyncio.create_task(reading)
        await until(lambda: wire.running.node.watched(inbox))
        waiting.cancel()
        await asyncio.wait([waiting])
    await until(lambda: not wire.running.node.watched(inbox))


async def until(condition: Callable[[], bool]) -> None:
    """Return once `condition` holds, well before a long poll would be answered."""
    async with asyncio.timeout(params.WATCH_WAIT / params.SECOND / 2):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)


async def test_a_stop_answers_who_waits(tmp_path: Path) -> None:
    """A node that stops answers its long polls, so that agents go on elsewhere at once."""
    world = World()
    alice = world.user("alice")
    inbox = alice.certificate.inbox_key
    async with client_of(world, alice) as client:
        async with running_node(world, tmp_path / "node") as running:
            reading = client.read_inbox(running.contact, inbox, b"", 0, params.WATCH_WAIT)
            waiting = asyncio.create_task(reading)
            await until(lambda: running.node.watched(inbox))
        assert not (await waiting).entries
