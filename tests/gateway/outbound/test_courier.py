"""Which TLS a host must show before it gets mail: MTA-STS policies (RFC 8461 §4, §5) and the smarthost's login."""

import asyncio
import ssl
from pathlib import Path

import pytest

from gateway.outbound.courier import SUBMISSIONS_PORT, Courier, Login
from gateway.outbound.errors import NotDelivered
from gateway.outbound.mx import Target
from gateway.outbound.session import Timeouts
from gateway.outbound.sts_policy import Mode, Policy
from p2pcore.crypto.tls import make_server_certificate, server_context
from tests.support.fake_mta import FakeMta

TIMEOUTS = Timeouts(connect=2_000, command=5_000, data=5_000, block=5_000, final=5_000, quit=500)
LOGIN = Login("relayer", "secret")


class OneHost:
    """Exchangers: one host under a name of its own."""

    def __init__(self, port: int, host: str = "mx.remote.example", address: str = "127.0.0.1") -> None:
        self.target = Target(host, address, port)

    async def targets(self, domain: str) -> tuple[Target, ...]:
        return (self.target,)


class OnePolicy:
    """The policy of every domain."""

    def __init__(self, mode: Mode, *mx: str) -> None:
        self.found = Policy(mode, mx or ("mx.remote.example",), 86_400)

    async def policy(self, domain: str) -> Policy | None:
        return self.found


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context for mx.remote.example, and a client's that trusts it."""
    directory: Path = tmp_path_factory.mktemp("mx")
    for name, octets in zip(("cert", "key"), make_server_certificate(["mx.remote.example"]), strict=True):
        (directory / name).write_bytes(octets)
    trusting = ssl.create_default_context(cafile=str(directory / "cert"))
    return server_context(directory / "cert", directory / "key"), trusting


async def connected(courier: Courier) -> str:
    """Connect, say goodbye, return the cipher."""
    session = await courier.connect("remote.example")
    await session.quit()
    return session.cipher


async def test_a_host_that_fits_its_policy_gets_mail(
    mta: FakeMta, roots: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """§4: it is named, and its certificate is one for its name that leads to an authority."""
    mta.tls = roots[0]
    exchangers = OneHost(mta.port)
    courier = Courier(exchangers, "us.example", TIMEOUTS, policies=OnePolicy("enforce"), verified=roots[1])
    assert await connected(courier)


@pytest.mark.parametrize("fault", ["not named", "no STARTTLS", "other name", "not trusted", "refused"])
@pytest.mark.parametrize("mode", ["enforce", "testing", "none"])
async def test_a_host_that_does_not_fit_gets_mail_only_while_testing(
    mta: FakeMta, roots: tuple[ssl.SSLContext, ssl.SSLContext], mode: Mode, fault: str
) -> None:
    """§5: enforce defers, in clear text nothing leaves; testing and none deliver all the same."""
    mta.tls = None if fault == "no STARTTLS" else roots[0]
    host = "mx2.remote.example" if fault in ("other name", "not named") else "mx.remote.example"
    patterns = ("mx.remote.example",) if fault == "not named" else ("*.remote.example",)
    if fault == "refused":
        mta.tls = None
        mta.extensions.append("STARTTLS")
        mta.refusals["STARTTLS"] = "454 4.7.0 not now"
    courier = Courier(
        OneHost(mta.port, host),
        "us.example",
        TIMEOUTS,
        policies=OnePolicy(mode, *patterns),
        verified=None if fault == "not trusted" else roots[1],
    )
    if mode != "enforce":
        await connected(courier)
        return
    with pytest.raises(NotDelivered) as refused:
        await courier.connect("remote.example")
    assert refused.value.status == "4.7.5"
    assert not any(line.startswith(("MAIL", "AUTH")) for line in mta.commands)


@pytest.mark.parametrize("mode", ["enforce", "none"])
async def test_a_name_that_no_certificate_can_have(
    mta: FakeMta, roots: tuple[ssl.SSLContext, ssl.SSLContext], mode: Mode
) -> None:
    """DNS has names that TLS has not: such a host is one without TLS, and its domain's others have their turn."""
    mta.tls = roots[0]
    host = f"{'x' * 64}.remote.example"
    courier = Courier(OneHost(mta.port, host), "us.example", TIMEOUTS, policies=OnePolicy(mode, host))
    if mode == "none":
        assert not await connected(courier)
        return
    with pytest.raises(NotDelivered) as refused:
        await courier.connect("remote.example")
    assert refused.value.status == "4.7.5"


async def test_a_host_that_is_down_is_unreachable_in_every_mode(mta: FakeMta) -> None:
    """A connection refused is no breach of a policy, and is not dialled a second time."""
    mta.drop_at = "connect"
    for mode in ("enforce", "testing"):
        with pytest.raises(NotDelivered) as refused:
            await courier_for(mta, mode).connect("remote.example")
        assert refused.value.status == "4.4.1"
    assert mta.connections == 2


def courier_for(mta: FakeMta, mode: Mode) -> Courier:
    return Courier(OneHost(mta.port), "us.example", TIMEOUTS, policies=OnePolicy(mode))


async def test_the_smarthost_on_loopback_is_logged_in_to(mta: FakeMta) -> None:
    """On loopback nobody listens, so the password may go without TLS."""
    mta.extensions.append("AUTH PLAIN")
    await connected(Courier(OneHost(mta.port), "us.example", TIMEOUTS, login=LOGIN))
    assert "AUTH PLAIN AHJlbGF5ZXIAc2VjcmV0" in mta.commands


async def test_a_refused_login_defers(mta: FakeMta) -> None:
    """A wrong password is put right by the operator, and the mail waits for it."""
    mta.extensions.append("AUTH PLAIN")
    mta.refusals["AUTH"] = "535 5.7.8 no"
    with pytest.raises(NotDelivered) as refused:
        await Courier(OneHost(mta.port), "us.example", TIMEOUTS, login=LOGIN).connect("remote.example")
    assert refused.value.status == "4.7.8"


async def test_a_refused_login_is_told_where_the_host_then_hangs_up() -> None:
    """The operator reads that the password is wrong, and not that a connection was lost, whatever else was offered."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in (b"220 hi", b"250-hi\r\n250 AUTH PLAIN LOGIN", b"535 5.7.8 no"):
            writer.write(reply + b"\r\n")
            await reader.readline()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host = OneHost(server.sockets[0].getsockname()[1])
        with pytest.raises(NotDelivered) as refused:
            await Courier(host, "us.example", TIMEOUTS, login=LOGIN).connect("remote.example")
    assert (refused.value.status, refused.value.reply) == ("4.7.8", "535 5.7.8 no")


async def test_another_way_to_log_in_is_tried(mta: FakeMta) -> None:
    """Hosts offer ways that they do not support."""
    mta.extensions.append("AUTH CRAM-MD5 PLAIN")
    mta.once["AUTH"] = "504 5.5.4 not here"
    await connected(Courier(OneHost(mta.port), "us.example", TIMEOUTS, login=LOGIN))
    assert mta.commands[1:3] == ["AUTH CRAM-MD5", "AUTH PLAIN AHJlbGF5ZXIAc2VjcmV0"]


async def test_without_a_way_to_log_in_mail_waits(mta: FakeMta) -> None:
    """Nothing is sent to a smarthost that does not know us."""
    mta.extensions.append("AUTH GSSAPI")
    with pytest.raises(NotDelivered) as refused:
        await Courier(OneHost(mta.port), "us.example", TIMEOUTS, login=LOGIN).connect("remote.example")
    assert not refused.value.permanent
    assert "offers no way to log in" in refused.value.reply


@pytest.mark.parametrize("fault", ["", "no STARTTLS", "not trusted"])
async def test_elsewhere_the_password_needs_verified_tls(
    mta: FakeMta, roots: tuple[ssl.SSLContext, ssl.SSLContext], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes to a host with a certificate for its name, and to no other."""
    monkeypatch.setattr("gateway.outbound.courier.is_loopback", lambda _: False)
    mta.extensions.append("AUTH PLAIN")
    mta.tls = None if fault == "no STARTTLS" else roots[0]
    verified = None if fault == "not trusted" else roots[1]
    courier = Courier(OneHost(mta.port), "us.example", TIMEOUTS, login=LOGIN, verified=verified)
    if not fault:
        assert await connected(courier)
        assert "AUTH PLAIN AHJlbGF5ZXIAc2VjcmV0" in mta.commands
        return
    with pytest.raises(NotDelivered) as refused:
        await courier.connect("remote.example")
    assert refused.value.status == "4.7.5"
    assert not any(line.startswith("AUTH") for line in mta.commands)


async def test_port_465_has_tls_from_the_first_octet(
    roots: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 8314 §3.3: nothing is said before the handshake, on loopback too."""
    mta = FakeMta()
    mta.extensions.append("AUTH PLAIN")
    await mta.start(tls=roots[0])
    try:
        monkeypatch.setattr("gateway.outbound.courier.SUBMISSIONS_PORT", mta.port)
        assert await connected(Courier(OneHost(mta.port), "us.example", TIMEOUTS, login=LOGIN, verified=roots[1]))
        with pytest.raises(NotDelivered) as refused:
            await Courier(OneHost(mta.port), "us.example", TIMEOUTS, login=LOGIN).connect("remote.example")
        assert refused.value.status == "4.7.5"
    finally:
        await mta.stop()
    assert SUBMISSIONS_PORT == 465
