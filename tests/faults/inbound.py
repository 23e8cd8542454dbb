"""From an outside MTA over one of two gateways to alice's mailbox."""

from collections.abc import Sequence
from pathlib import Path

from p2pcore import params
from tests.faults.domain import Domain
from tests.faults.loop import FaultLoop
from tests.faults.machines import AgentMachine, GatewayMachine, Machine
from tests.faults.mta import SENDER, Mta
from tests.faults.runs import Message, Outcome, Run

_ANY = 1 << 30


class Inbound(Run):
    """Two gateways and alice's agent."""

    def __init__(self, domain: Domain, directory: Path, loop: FaultLoop, host: str) -> None:
        super().__init__(domain, directory, loop, host)
        self.gateways = [
            GatewayMachine(name := f"gateway{number}", directory / name, member, self.surroundings, self.endpoint())
            for number, member in enumerate(domain.gateways)
        ]
        self.agent = AgentMachine("agent", directory / "agent", domain.alice, self.surroundings, self.endpoint())

    @property
    def clients(self) -> Sequence[Machine]:
        return [*self.gateways, self.agent]

    async def journey(self, message: Message) -> Outcome:
        await self.start()
        content, agent = message.content(SENDER), self.agent
        mta = Mta([gateway.listen for gateway in self.gateways])
        self.watcher.open = True
        await mta.deliver(content, self.domain.alice.certificate.primary_address)
        if await self.until(lambda: bool(agent.shown())):
            await self.until(lambda: not agent.owed())
        owed = agent.owed() > 0
        self.watcher.open = False
        await self.read_again(agent)
        found = agent.shown()
        shown = sum(octets.endswith(content) for octets in found)
        return Outcome(
            message=message,
            fault=self.watcher.fault,
            struck=self.watcher.struck,
            acknowledged=mta.taken,
            shown=(shown,),
            most=(1 if message.identified else _ANY,),
            others=len(found) - shown,
            owed=owed,
            left=sum(node.left() for node in self.nodes),
            replies=tuple(mta.replies),
            reached=tuple(self.watcher.reached),
        )


MESSAGES = (
    Message("small", True, 500, Inbound),
    Message("small without Message-ID", False, 500, Inbound),
    Message("large", True, params.INLINE_BODY + (200 << 10), Inbound),
)
