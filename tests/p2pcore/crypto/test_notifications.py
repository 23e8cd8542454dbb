"""notifications: sealed to one reader, padded to size classes, bound to inbox and signer."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from p2pcore import params, records
from p2pcore.crypto.hpke_suites import MLKEM768_X25519
from p2pcore.crypto.keys import HpkeKey, seal_to
from p2pcore.crypto.sealing import open_addresses, open_notification, seal_addresses, seal_notification
from p2pcore.errors import Malformed, Tampered, TooLarge
from p2pcore.records import AddressList, SealedKey, SealedNotification, decode, encode
from tests.support.record_values import fixed

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "sealing.json").read_text())
KEY = HpkeKey.from_bytes(bytes(range(96)))
NOTIFICATION: Any = fixed(records.Notification)
SMALL = len(encode(replace(NOTIFICATION, trace=b"")))


def reopened(octets: bytes, keys: list[HpkeKey] | None = None) -> records.Notification:
    return open_notification(octets, keys or [KEY], NOTIFICATION.inbox_key, NOTIFICATION.signer)


def sealed_plaintext(plaintext: bytes, algorithm_info: bytes = b"p2pmail notification 1\x00") -> bytes:
    """An encoded SealedNotification with any plaintext."""
    info = algorithm_info + NOTIFICATION.inbox_key + NOTIFICATION.signer
    ciphertext = seal_to(KEY.public_bytes, info, plaintext)
    return encode(SealedNotification("hpke-mlkem768x25519-hkdf-sha256-aes-256-gcm", KEY.fingerprint, ciphertext))


def padded(octets: bytes, size: int) -> bytes:
    return len(octets).to_bytes(4, "big") + octets + bytes(size - 4 - len(octets))


def test_vector() -> None:
    """A frozen sealed notification opens with its key."""
    vector = VECTORS["notification"]
    key = HpkeKey.from_bytes(bytes.fromhex(VECTORS["hpke_key"]["private"]))
    assert key.fingerprint.hex() == VECTORS["hpke_key"]["fingerprint"]
    opened = open_notification(
        bytes.fromhex(vector["sealed"]), [key], bytes.fromhex(vector["inbox_key"]), bytes.fromhex(vector["signer"])
    )
    assert encode(opened).hex() == vector["plaintext"]


def test_round_trip_with_old_keys() -> None:
    """A notification opens with whichever of the reader's keys it was sealed to."""
    octets = seal_notification(NOTIFICATION, KEY.public_bytes)
    assert reopened(octets, [HpkeKey.generate(), KEY]) == NOTIFICATION


def test_not_sealed_to_us() -> None:
    """Sealed to another key: Tampered, as is an empty list of keys."""
    octets = seal_notification(NOTIFICATION, HpkeKey.generate().public_bytes)
    with pytest.raises(Tampered):
        reopened(octets)
    with pytest.raises(Tampered):
        open_notification(octets, [], NOTIFICATION.inbox_key, NOTIFICATION.signer)


def test_bound_to_inbox_and_signer() -> None:
    """Nobody can pass a sealed notification off as another signer's, or in another inbox."""
    octets = seal_notification(NOTIFICATION, KEY.public_bytes)
    for inbox_key, signer in ((bytes(32), NOTIFICATION.signer), (NOTIFICATION.inbox_key, bytes(32))):
        with pytest.raises(Tampered):
            open_notification(octets, [KEY], inbox_key, signer)


@pytest.mark.parametrize("size", params.NOTIFICATION_CLASSES)
def test_size_classes(size: int) -> None:
    """Whatever fits a class has the sealed size of that class, and the next octet goes to the next class."""
    room = size - 4 - SMALL
    largest = replace(NOTIFICATION, trace=b"t" * (room - 2 if room > 257 else room - 1))  # bin 16 has a longer head
    assert len(encode(largest)) <= size - 4
    octets = seal_notification(largest, KEY.public_bytes)
    sealed = decode(SealedNotification, octets)
    assert len(sealed.ciphertext) in {other + MLKEM768_X25519.overhead for other in params.NOTIFICATION_CLASSES}
    assert len(sealed.ciphertext) == size + MLKEM768_X25519.overhead
    assert len(octets) <= params.MAX_NOTIFICATION
    assert reopened(octets) == largest


def test_too_large() -> None:
    """A notification over the largest class is TooLarge before anything is sealed."""
    largest = params.NOTIFICATION_CLASSES[-1]
    with pytest.raises(TooLarge):
        seal_notification(replace(NOTIFICATION, trace=bytes(largest - 4 - SMALL + 1)), KEY.public_bytes)


def test_recipient_key_is_checked() -> None:
    """A certificate's HPKE key that is none is Malformed."""
    with pytest.raises(Malformed):
        seal_notification(NOTIFICATION, bytes(1_216))


@pytest.mark.parametrize(
    "plaintext",
    [
        padded(encode(NOTIFICATION), 2_047),
        padded(encode(NOTIFICATION), 2_048)[:-1] + b"\x01",
        (3_000).to_bytes(4, "big") + bytes(2_044),
        padded(b"no notification", 2_048),
        padded(encode(replace(NOTIFICATION, inbox_key=bytes(32))), 2_048),
        padded(encode(replace(NOTIFICATION, signer=bytes(32))), 2_048),
        b"",
    ],
    ids=["no size class", "padding not zero", "length", "no record", "another inbox", "another signer", "empty"],
)
def test_sealed_well_but_wrong_inside(plaintext: bytes) -> None:
    """A sealer that pads badly, or names another inbox or signer inside, is refused."""
    with pytest.raises(Tampered):
        reopened(sealed_plaintext(plaintext))


def test_domain_separation() -> None:
    """What was sealed for another purpose does not open as a notification."""
    good = padded(encode(NOTIFICATION), 2_048)
    assert reopened(sealed_plaintext(good)) == NOTIFICATION
    with pytest.raises(Tampered):
        reopened(sealed_plaintext(good, b"p2pmail addresses 1\x00"))


@given(st.binary(max_size=200))
def test_arbitrary_octets(octets: bytes) -> None:
    """Invariant: arbitrary octets as a sealed notification are Tampered, nothing else."""
    with pytest.raises(Tampered):
        reopened(octets)


# --- The address list ---

ADDRESSES = AddressList(("bob@example.org",), {"info@example.org": ("bob@example.org",)}, (), "bob@example.org")


def record_with(keys: tuple[SealedKey, ...], addresses: bytes, domain: str = "example.org") -> records.DomainRecord:
    record: records.DomainRecord = fixed(records.DomainRecord)
    return replace(record, domain=domain, address_keys=keys, addresses=addresses)


def test_addresses_vector() -> None:
    """A frozen address list opens with a gateway's key."""
    vector = VECTORS["addresses"]
    sealed_key = decode(SealedKey, bytes.fromhex(vector["key"]))
    record = record_with((sealed_key,), bytes.fromhex(vector["addresses"]), vector["domain"])
    assert encode(open_addresses(record, [KEY])).hex() == vector["plaintext"]


def test_addresses_for_every_gateway() -> None:
    """Each gateway opens the list with its own key, and no address is readable without one."""
    other = HpkeKey.generate()
    keys, octets = seal_addresses(ADDRESSES, "example.org", [KEY.public_bytes, other.public_bytes])
    record = record_with(keys, octets)
    assert open_addresses(record, [KEY]) == open_addresses(record, [other]) == ADDRESSES
    assert b"bob@" not in encode(record)
    with pytest.raises(Tampered):
        open_addresses(record, [HpkeKey.generate()])
    with pytest.raises(Tampered):
        open_addresses(record, [])


def test_addresses_of_a_domain_without_gateways() -> None:
    """A domain without gateways has a list that nobody opens."""
    keys, octets = seal_addresses(ADDRESSES, "example.org", [])
    assert keys == ()
    with pytest.raises(Tampered):
        open_addresses(record_with(keys, octets), [KEY])


def test_altered_addresses() -> None:
    """A list changed, cut, or moved to another domain does not open."""
    keys, octets = seal_addresses(ADDRESSES, "example.org", [KEY.public_bytes])
    for record in (
        record_with(keys, octets[:-1] + bytes([octets[-1] ^ 1])),
        record_with(keys, octets[:8]),
        record_with(keys, b""),
        record_with(keys, octets, domain="example.net"),
        record_with((replace(keys[0], ciphertext=b""),), octets),
    ):
        with pytest.raises(Tampered):
            open_addresses(record, [KEY])
