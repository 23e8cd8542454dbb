"""The closest nodes of many keys, as lookups of each would name them, by few of them."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pcore import params
from p2pcore.dht.contact import Contact
from p2pcore.node.neighbourhoods import Neighbourhoods
from tests.support.fixed_substrate import FixedSubstrate


class CountingSubstrate(FixedSubstrate):
    """Counts its lookups."""

    lookups = 0

    async def lookup(self, key: bytes, k: int) -> tuple[Contact, ...]:
        self.lookups += 1
        return await super().lookup(key, k)


def _substrate(source: random.Random, nodes: int) -> CountingSubstrate:
    return CountingSubstrate(Contact(source.randbytes(params.KEY_SIZE), "192.0.2.1", 1 + n) for n in range(nodes))


def _keys_held_by(node: Contact, contacts: list[Contact], k: int, count: int, source: random.Random) -> list[bytes]:
    """Keys that have `node` among the k closest of all, from its eighth of all keys, where nearly all of them are."""
    own = int.from_bytes(node.node_id, "big")
    others = [int.from_bytes(contact.node_id, "big") for contact in contacts]
    keys: list[bytes] = []
    while len(keys) < count:
        key = own ^ source.getrandbits(8 * params.KEY_SIZE - 3)
        if sum(other ^ key < own ^ key for other in others) < k:
            keys.append(key.to_bytes(params.KEY_SIZE, "big"))
    return keys


@settings(max_examples=60)
@given(seed=st.integers(0, 1 << 32), nodes=st.integers(0, 300), k=st.integers(1, params.MAX_K), near=st.booleans())
@pytest.mark.asyncio
async def test_the_same_as_a_lookup_of_each(seed: int, nodes: int, k: int, near: bool) -> None:
    """For keys close together or anywhere, whatever the size of the network: exactly the k closest, nearest first."""
    source = random.Random(seed)
    substrate = _substrate(source, nodes)
    shared = source.randbytes(source.randrange(params.KEY_SIZE) if near else 0)
    keys = [shared + source.randbytes(params.KEY_SIZE - len(shared)) for _ in range(40)]
    neighbourhoods = Neighbourhoods(substrate)
    for some in (keys[:20], keys):
        found = await neighbourhoods.closest(some, k)
        assert found == {key: await FixedSubstrate.lookup(substrate, key, k) for key in some}


@pytest.mark.parametrize("nodes", [1, 3, 12])
async def test_a_small_network_is_looked_up_once(nodes: int) -> None:
    """Keys anywhere, and fewer nodes than k too: who is there does not depend on the key."""
    source = random.Random(nodes)
    substrate = _substrate(source, nodes)
    neighbourhoods = Neighbourhoods(substrate)
    for k in (3, 1):
        await neighbourhoods.closest([source.randbytes(params.KEY_SIZE) for _ in range(50)], k)
    assert substrate.lookups == 1


@pytest.mark.parametrize("k", [1, 3, 8, params.VERSIONED_REPLICAS])
async def test_lookups_do_not_grow_with_what_is_held(k: int) -> None:
    """What a node of a large network holds is in its own neighbourhood: 200 keys cost one or two lookups."""
    source = random.Random(k)
    substrate = _substrate(source, 400)
    keys = _keys_held_by(substrate.contacts[0], substrate.contacts, k, 200, source)
    await Neighbourhoods(substrate).closest(keys, k)
    assert substrate.lookups <= 2
