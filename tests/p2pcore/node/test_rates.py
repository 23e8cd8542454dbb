"""Rates: one signer cannot take a node for itself."""

import pytest

from p2pcore import params
from p2pcore.errors import RateLimited
from p2pcore.node.rates import Rates
from p2pcore.node.settings import Limits
from tests.support.identities import World


def test_a_burst_then_the_rate() -> None:
    """A signer may burst, is then held to the rate, and does not spend another's."""
    world = World()
    alice, bob, gateway = world.user("alice"), world.user("bob"), world.gateway()
    rates = Rates(Limits(user_rate=1_000, burst=2), world.clock)
    rates.take(alice.certificate, 2_000)
    with pytest.raises(RateLimited):
        rates.take(alice.certificate, 1)
    rates.take(bob.certificate, 1_000)
    rates.take(gateway.certificate, 10_000)
    world.clock.advance(params.SECOND)
    rates.take(alice.certificate, 1_000)
    with pytest.raises(RateLimited):
        rates.take(alice.certificate, 1)
