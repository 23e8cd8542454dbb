"""recovery_kit: a copy of a user's keys under a passphrase."""

import json
from pathlib import Path

import pytest

from p2pcore.crypto.recovery_kit import open_kit, seal_kit
from p2pcore.errors import Malformed, Tampered
from p2pcore.records import encode
from tests.support.identities import World

VECTOR = json.loads((Path(__file__).parents[2] / "vectors" / "kit.json").read_text())


def test_recovery_kit() -> None:
    """A kit opens with its passphrase only, and holds no key in clear."""
    identity = World().user("bob").identity
    kit = seal_kit(identity, "one two three")
    assert identity.signing_key not in kit
    assert identity.hpke_keys[0] not in kit
    assert open_kit(kit, "one two three") == identity
    with pytest.raises(Tampered):
        open_kit(kit, "one two four")


@pytest.mark.parametrize("passphrase", VECTOR["passphrases"])
def test_frozen_kit(passphrase: str) -> None:
    """A kit that somebody has kept opens for ever, however her keyboard composes the passphrase."""
    assert encode(open_kit(bytes.fromhex(VECTOR["kit"]), passphrase)).hex() == VECTOR["identity"]


def test_damaged_kit() -> None:
    """A kit with any part changed or cut does not open, and other octets are no kit."""
    kit = seal_kit(World().user("bob").identity, "pass")
    for position in (len(kit) - 1, 40, 60):
        with pytest.raises((Tampered, Malformed)):
            open_kit(kit[:position] + bytes([kit[position] ^ 1]) + kit[position + 1 :], "pass")
    with pytest.raises(Tampered):
        open_kit(kit[:-1], "pass")
    for octets in (b"", b"no kit", kit[:20], kit[:54]):
        with pytest.raises(Malformed):
            open_kit(octets, "pass")
