"""Every first holder leaves for good, one after the other, and new nodes come: real processes."""

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.harness.machines import DOMAIN, Domain, Machine
from tests.harness.mail import Reader, message, new_token, send, wait_until_accepting
from tests.harness.network import Held, copies, held
from tests.harness.sending import wait_until

K, W = 3, 2
FIRST = 4  # nodes that run when mail is sent; one more than k, so that holders differ from mail to mail
NOTICED = 180  # seconds within which the death of a node is noticed and repaired, on a busy machine too
NOTHING = Held(objects=0, entries=0)


@dataclass(frozen=True)
class Churning:
    """`first` run, `later` are admitted and have never been started; neither has the agent."""

    first: list[Machine]
    later: list[Machine]
    gateway: Machine
    agent: Machine
    address: str


@pytest.fixture
def churning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Churning]:
    """A domain of its own, since its nodes do not come back."""
    domain = Domain(tmp_path_factory.mktemp("churn"), K, W, first_host=150)
    for _ in range(2 * FIRST - 1):  # beside the founder
        domain.add_node()
    gateway = domain.add_gateway()
    agent = domain.add_user("carol")
    first, later = domain.nodes[:FIRST], domain.nodes[FIRST:]
    address = f"carol@{DOMAIN}"
    try:
        for machine in (*first, gateway):
            machine.launch()
        for machine in (*first, gateway):
            machine.wait_until_up()
        wait_until_accepting(gateway, address)
        wait_until(lambda: all(_goes_by(machine, K, W) for machine in (*first, gateway)), "an old k", timeout=NOTICED)
        yield Churning(first, later, gateway, agent, address)
    finally:
        domain.kill_all()


@pytest.mark.timeout(600)  # four nodes replaced, each waited for; two to three minutes on a busy machine
def test_mail_outlives_every_node_that_first_held_it_and_stays_deleted(churning: Churning) -> None:
    """Nodes leave for good one at a time, others come, and each time repair brings everything back to k.

    No first holder is left when the agent starts, and it has every message once. A node that returns with its old disk
    brings nothing back. One that returns with an empty one is given what it should have, long before the hour is over.
    """
    running = list(churning.first)
    tokens = [new_token() for _ in range(6)]
    for number, token in enumerate(tokens):
        body = ("x" * 62 + "\r\n") * (2 << 14) if number == 0 else ""  # 2 MiB: one travels in a request of its own
        send(churning.gateway, message(token, body=body), churning.address)
    wait_until(lambda: _is_whole(running, 2 * len(tokens)), "not on k nodes though all run", timeout=NOTICED)
    sent = set(copies(running))

    emptied = running[0]  # a node whose disk is lost, and that is back before anybody misses it
    emptied.kill()
    shutil.rmtree(emptied.site.node)
    emptied.start()
    wait_until(lambda: _is_whole(running, len(sent)), "a store that began anew is not filled", timeout=NOTICED)

    for leaving, coming in zip(churning.first, churning.later, strict=True):
        leaving.kill()
        running.remove(leaving)
        running.append(coming)
        coming.start()
        wait_until(lambda: _is_whole(running, len(sent)), f"{leaving.directory.name} is not replaced", timeout=NOTICED)
        assert set(copies(running)) == sent

    churning.agent.start()
    with Reader(churning.agent, churning.address) as reader:
        reader.wait_for(len(tokens))
        assert reader.tokens() == Counter(dict.fromkeys(tokens, 1))
    wait_until(lambda: set(held(running).values()) == {NOTHING}, "what was read is still held", timeout=NOTICED)

    returned = churning.first[1]
    assert copies([returned])  # its disk is as it was when it was killed
    returned.start()
    wait_until(lambda: held([returned])[returned] == NOTHING, "what was read is held again", timeout=NOTICED)
    assert set(held(running).values()) == {NOTHING}
    churning.agent.kill()
    churning.agent.start()  # it reads everything from the beginning
    tokens.append(new_token())
    send(churning.gateway, message(tokens[-1]), churning.address)
    with Reader(churning.agent, churning.address) as reader:
        reader.wait_for(len(tokens))
        assert reader.tokens() == Counter(dict.fromkeys(tokens, 1))


def _goes_by(machine: Machine, k: int, w: int) -> bool:
    return bool(machine.status()["replication"] == {"k": k, "w": w})


def _is_whole(nodes: list[Machine], count: int) -> bool:
    """Return whether `count` objects and entries are there, each on k of `nodes` at least."""
    found = copies(nodes)
    return len(found) == count and min(found.values()) >= K
