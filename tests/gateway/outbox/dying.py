"""An outbox in a process of its own that dies, as by a power cut, at one commit; what it did outside stays in files."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.mailbox.database import Database, Transaction
from gateway.outbox.outbox import Outbox
from gateway.outbox.params import OutboxLimits
from p2pcore.crypto.certificates import parse_certificate
from p2pcore.crypto.keys import SigningKey
from p2pcore.crypto.statements import Signer
from p2pcore.mail.injection import Injection
from p2pcore.mail.send import Outcome
from p2pcore.records import EntryStatement, GatewayInfo, Identity, decode, identity
from tests.gateway.outbox.world import KEY, OUTSIDE, FakeNames, FakeSender, submission
from tests.support.identities import ManualClock

CONTENT = b"Message-ID: <1@example.org>\r\n\r\n" + b"x\r\n" * 250_000
PROMISED = "promised"


@dataclass(frozen=True)
class Plan:
    """`identity`: alice's, encoded. `commit`: which one to die at, 0 for none; `after` it or just before."""

    directory: Path
    identity: bytes
    bob: bytes
    port: int
    gateway: bytes
    submit: bool
    commit: int = 0
    after: bool = False


class FileSender(FakeSender):
    """Appends entries to a file that outlives the process."""

    log: Path

    async def inject_each(self, injection: Injection) -> Outcome:
        with self.log.open("a") as file:
            for signed in injection.entries:
                assert isinstance(signed.statement, EntryStatement)
                file.write(f"{identity(signed.statement).hex()}\n")
        return await super().inject_each(injection)


def run(plan: Plan) -> None:
    """Submit if the plan says so, deliver all that can be, and exit; unless it dies."""
    asyncio.run(_run(plan))


async def _run(plan: Plan) -> None:
    commits = _die_at(plan)
    alice = decode(Identity, plan.identity)
    signer = Signer(SigningKey.from_bytes(alice.signing_key), parse_certificate(alice.certificate))
    sender = FileSender(signer, ManualClock())
    sender.log = plan.directory / "appended"

    async def file(identity: bytes, content: bytes | Path, time: int) -> None:
        """As the mail store does it: once for one identity."""
        octets = content if isinstance(content, bytes) else await asyncio.to_thread(content.read_bytes)
        (plan.directory / f"filed-{identity.hex()}").write_bytes(octets)

    outbox = Outbox(
        plan.directory / "outbox",
        KEY,
        alice,
        FakeNames({"bob@example.org": parse_certificate(plan.bob)}),
        sender,
        lambda: [GatewayInfo("localhost", plan.port, plan.gateway, bytes(32))],
        file,
        file,
        ManualClock(),
        OutboxLimits(sent_grace=0),
        plan.directory,
    )
    await outbox.start()
    if plan.submit:
        await outbox.accept(submission("bob@example.org", OUTSIDE, "nobody@example.org", content=CONTENT))
        (plan.directory / PROMISED).touch()
    await outbox.settled()
    assert (await outbox.status()).messages == 0
    await outbox.stop()
    (plan.directory / "commits").write_text(str(len(commits)))


def _die_at(plan: Plan) -> list[int]:
    """Count the commits, and kill this process at the one that the plan names."""
    commits: list[int] = []
    transaction = Database.transaction

    @contextmanager
    def dying(self: Database) -> Iterator[Transaction]:
        with transaction(self) as opened:
            yield opened
            commits.append(1)
            if len(commits) == plan.commit and not plan.after:
                os.kill(os.getpid(), signal.SIGKILL)
        if len(commits) == plan.commit:
            os.kill(os.getpid(), signal.SIGKILL)

    Database.transaction = dying  # type: ignore[method-assign]
    return commits
