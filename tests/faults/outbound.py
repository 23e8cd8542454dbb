"""From alice's mail reader over her outbox: to bob on the network, and over a gateway's queue to another domain's MX.

Her reader submits again when its dot got no reply, or 451 for an exception put behind the outbox's commit: that is a
message of its own for everybody after it. And a gateway that dies after the remote's dot and before it has noted the
reply sends again (RFC 1047). So many more copies there may be, and no more.
"""

from collections.abc import Sequence
from pathlib import Path

from tests.faults.domain import Domain
from tests.faults.loop import FaultLoop
from tests.faults.machines import AgentMachine, Machine
from tests.faults.mta import Mta
from tests.faults.runs import Message, Outcome, Run
from tests.faults.senders import PASSWORD, RelayingGateway, SendingAgent
from tests.support.fake_mta import FakeMta

STRANGER = "stranger@remote.example"


class Outgoing(Run):
    """Two gateways with queues, the agents of alice and bob, and another domain's MX host."""

    def __init__(self, domain: Domain, directory: Path, loop: FaultLoop, host: str) -> None:
        super().__init__(domain, directory, loop, host)
        self._remote = self.endpoint()
        self.gateways = [
            RelayingGateway(
                name := f"gateway{number}",
                directory / name,
                member,
                self.surroundings,
                self.endpoint(),
                self.endpoint(),
                self._remote,
            )
            for number, member in enumerate(domain.gateways)
        ]
        self.agent = SendingAgent("agent", directory / "agent", domain.alice, self.surroundings, self.endpoint())
        self.agent.gateways = self.gateways
        self.other = AgentMachine("other agent", directory / "other agent", domain.bob, self.surroundings, self._remote)

    @property
    def clients(self) -> Sequence[Machine]:
        return [*self.gateways, self.agent, self.other]

    async def journey(self, message: Message) -> Outcome:
        await self.start()
        alice, bob = (user.certificate.primary_address for user in (self.domain.alice, self.domain.bob))
        content, agent, remote = message.content(alice), self.other, FakeMta()
        await remote.start(self._remote.host, self._remote.port)
        reader = Mta([self.agent.listen], alice, (alice, PASSWORD))
        self.watcher.open = True
        await reader.deliver(content, bob, STRANGER)
        if await self.until(lambda: bool(agent.shown() and remote.taken)):
            await self.until(lambda: not agent.owed() and not self.kept())
        owed = agent.owed() + self.kept() > 0
        self.watcher.open = False
        await self.read_again(agent)
        found = agent.shown()
        shown = sum(octets.endswith(content) for octets in found)
        taken = [each for each in remote.taken if each.content.endswith(content)]
        await remote.stop()
        fault = self.watcher.fault
        behind_commit = fault is not None and fault.kind == "exception" and fault.point.machine == self.agent.name
        once = 1 + reader.unanswered + (behind_commit and len(reader.replies) > 1)
        return Outcome(
            message=message,
            fault=fault,
            struck=self.watcher.struck,
            acknowledged=reader.taken,
            shown=(shown, len(taken)),
            most=(once, once + (fault is not None)),
            others=len(found) - shown + len(remote.taken) - len(taken),
            owed=owed,
            left=sum(node.left() for node in self.nodes),
            replies=tuple(reader.replies),
            reached=tuple(self.watcher.reached),
        )

    def kept(self) -> int:
        """Return how many messages alice's outbox and the gateways' queues still keep."""
        return self.agent.kept() + sum(gateway.kept() for gateway in self.gateways)


MESSAGES = (Message("sent", True, 500, Outgoing), Message("sent, large", True, 200 << 10, Outgoing))
