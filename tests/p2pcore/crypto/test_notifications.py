"""notifications: sealed to one reader, padded to size classes, bound to inbox and signer."""

import json
import weakref
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from p2pcore import params, records
from p2pcore.crypto.hpke_suites import MLKEM768_X25519
from p2pcore.crypto.keys import HpkeKey, seal_to
from p2pcore.crypto.sealing import NotificationSealer, open_addresses, open_notification, seal_addresses
from p2pcore.errors import Malformed, Tampered, TooLarge
from p2pcore.records import AddressList, SealedKey, SealedNotification, SingleNotification, decode, encode
from tests.support.record_values import fixed

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "sealing.json").read_text())
KEY = HpkeKey.from_bytes(bytes(range(96)))
NOTIFICATION: Any = fixed(records.Notification)
SMALL = len(encode(replace(NOTIFICATION, trace=b"")))


def reopened(octets: bytes, keys: list[HpkeKey] | None = None) -> records.Notification:
    return open_notification(octets, keys or [KEY], NOTIFICATION.inbox_key, NOTIFICATION.signer)


def sealed_plaintext(
    plaintext: bytes, purpose: bytes = b"p2pmail notifications 1\x00", key: bytes = bytes(32)
) -> bytes:
    """An encoded SealedNotification with any plaintext."""
    info = purpose + NOTIFICATION.inbox_key + NOTIFICATION.signer
    sealed_key = SealedKey(MLKEM768_X25519.algorithm, KEY.fingerprint, seal_to(KEY.public_bytes, info, key))
    return encode(SealedNotification(sealed_key, bytes(12) + AESGCM(key).encrypt(bytes(12), plaintext, b"")))


def single(plaintext: bytes, purpose: bytes = b"p2pmail notification 1\x00") -> bytes:
    """An encoded SingleNotification with any plaintext."""
    info = purpose + NOTIFICATION.inbox_key + NOTIFICATION.signer
    ciphertext = seal_to(KEY.public_bytes, info, plaintext)
    return encode(SingleNotification(MLKEM768_X25519.algorithm, KEY.fingerprint, ciphertext))


def padded(octets: bytes, size: int) -> bytes:
    return len(octets).to_bytes(4, "big") + octets + bytes(size - 4 - len(octets))


@pytest.mark.parametrize(
    ("name", "of"),
    [("notification", "hpke_key"), ("notification_1024", "hpke_key_1024"), ("single_notification", "hpke_key")],
)
def test_vector(name: str, of: str) -> None:
    """A frozen sealed notification opens with its key, of either suite, and so does one of the layout before."""
    vector = VECTORS[name]
    key = HpkeKey.from_bytes(bytes.fromhex(VECTORS[of]["private"]))
    assert key.fingerprint.hex() == VECTORS[of]["fingerprint"]
    opened = open_notification(
        bytes.fromhex(vector["sealed"]), [key], bytes.fromhex(vector["inbox_key"]), bytes.fromhex(vector["signer"])
    )
    assert encode(opened).hex() == vector["plaintext"]


def test_round_trip_with_old_keys() -> None:
    """A notification opens with whichever of the reader's keys it was sealed to."""
    octets = NotificationSealer().seal(NOTIFICATION, KEY.public_bytes)
    assert reopened(octets, [HpkeKey.generate(), KEY]) == NOTIFICATION


def test_not_sealed_to_us() -> None:
    """Sealed to another key: Tampered, as is an empty list of keys."""
    octets = NotificationSealer().seal(NOTIFICATION, HpkeKey.generate().public_bytes)
    with pytest.raises(Tampered):
        reopened(octets)
    with pytest.raises(Tampered):
        open_notification(octets, [], NOTIFICATION.inbox_key, NOTIFICATION.signer)


def test_bound_to_inbox_and_signer() -> None:
    """Nobody can pass a sealed notification off as another signer's, or in another inbox."""
    octets = NotificationSealer().seal(NOTIFICATION, KEY.public_bytes)
    for inbox_key, signer in ((bytes(32), NOTIFICATION.signer), (NOTIFICATION.inbox_key, bytes(32))):
        with pytest.raises(Tampered):
            open_notification(octets, [KEY], inbox_key, signer)


@pytest.mark.parametrize("size", params.NOTIFICATION_CLASSES)
def test_size_classes(size: int) -> None:
    """Whatever fits a class has the sealed size of that class, and the next octet goes to the next class."""
    room = size - 4 - SMALL
    largest = replace(NOTIFICATION, trace=b"t" * (room - 2 if room > 257 else room - 1))  # bin 16 has a longer head
    assert len(encode(largest)) <= size - 4
    octets = NotificationSealer().seal(largest, KEY.public_bytes)
    sealed = decode(SealedNotification, octets)
    assert len(sealed.ciphertext) == 12 + size + 16  # nonce and tag
    assert len(sealed.key.ciphertext) == 32 + MLKEM768_X25519.overhead
    assert len(octets) <= params.MAX_NOTIFICATION
    assert reopened(octets) == largest


def test_too_large() -> None:
    """A notification over the largest class is TooLarge before anything is sealed."""
    largest = params.NOTIFICATION_CLASSES[-1]
    with pytest.raises(TooLarge):
        NotificationSealer().seal(replace(NOTIFICATION, trace=bytes(largest - 4 - SMALL + 1)), KEY.public_bytes)


def test_recipient_key_is_checked() -> None:
    """A certificate's HPKE key that is none is Malformed."""
    with pytest.raises(Malformed):
        NotificationSealer().seal(NOTIFICATION, bytes(1_216))


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
    """A sealer that pads badly, or names another inbox or signer inside, is refused, in either layout."""
    for sealed in (sealed_plaintext(plaintext), single(plaintext)):
        with pytest.raises(Tampered):
            reopened(sealed)


def test_domain_separation() -> None:
    """What was sealed for another purpose does not open as a notification."""
    good = padded(encode(NOTIFICATION), 2_048)
    assert reopened(sealed_plaintext(good)) == reopened(single(good)) == NOTIFICATION
    for other in (
        sealed_plaintext(good, b"p2pmail addresses 1\x00"),
        sealed_plaintext(good, b"p2pmail notification 1\x00"),
        single(good, b"p2pmail addresses 1\x00"),
        single(good, b"p2pmail notifications 1\x00"),
    ):
        with pytest.raises(Tampered):
            reopened(other)


def test_the_key_of_a_notification_has_256_bits() -> None:
    """A shorter one, which AES-GCM would take, is refused."""
    with pytest.raises(Tampered, match="sealed key of 16 octets, not 32"):
        reopened(sealed_plaintext(padded(encode(NOTIFICATION), 2_048), key=bytes(16)))


def test_altered() -> None:
    """No octet of what was sealed can be changed, none cut off."""
    octets = NotificationSealer().seal(NOTIFICATION, KEY.public_bytes)
    sealed = decode(SealedNotification, octets)
    for ciphertext in (b"", sealed.ciphertext[:11], sealed.ciphertext[:-1], bytes(12) + sealed.ciphertext[12:]):
        with pytest.raises(Tampered):
            reopened(encode(replace(sealed, ciphertext=ciphertext)))
    for place in range(0, len(octets), 97):
        with pytest.raises(Tampered):
            reopened(octets[:place] + bytes([octets[place] ^ 1]) + octets[place + 1 :])


# --- The keys that notifications share (decision 35) ---


def test_notifications_of_one_inbox_share_a_key_and_nothing_else() -> None:
    """The key's encapsulation is the same, nonces and ciphertexts never are, and each opens by itself."""
    sealer = NotificationSealer()
    octets = [sealer.seal(NOTIFICATION, KEY.public_bytes) for _ in range(3)]
    sealed = [decode(SealedNotification, each) for each in octets]
    assert len({each.key.ciphertext for each in sealed}) == 1
    assert len({each.ciphertext[:12] for each in sealed}) == len({each.ciphertext[12:] for each in sealed}) == 3
    assert [reopened(each) for each in reversed(octets)] == [NOTIFICATION] * 3


@pytest.mark.parametrize("changed", [{"inbox_key": bytes(32)}, {"signer": bytes(32)}], ids=["inbox", "signer"])
def test_another_inbox_or_signer_has_another_key(changed: dict[str, bytes]) -> None:
    """What opens the notifications of one inbox opens no other's."""
    sealer, other = NotificationSealer(), replace(NOTIFICATION, **changed)
    first, second = (decode(SealedNotification, sealer.seal(each, KEY.public_bytes)) for each in (NOTIFICATION, other))
    assert first.key.ciphertext != second.key.ciphertext
    with pytest.raises(Tampered):
        reopened(encode(replace(second, key=first.key)))


def test_a_rotated_key_is_sealed_to_at_once() -> None:
    """The recipient's new HPKE key does not wait until the sealer's keys are forgotten."""
    sealer, new = NotificationSealer(), HpkeKey.generate()
    sealer.seal(NOTIFICATION, KEY.public_bytes)
    assert reopened(sealer.seal(NOTIFICATION, new.public_bytes), [new]) == NOTIFICATION


def test_a_sealer_keeps_a_bounded_number_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes first; whoever it was for gets a new one."""
    monkeypatch.setattr("p2pcore.crypto.notifications._SHARED_KEYS", 2)
    sealer = NotificationSealer()

    def key_for(inbox: int) -> bytes:
        sealed = sealer.seal(replace(NOTIFICATION, inbox_key=bytes([inbox]) * 32), KEY.public_bytes)
        return decode(SealedNotification, sealed).key.ciphertext

    first, second = key_for(1), key_for(2)
    assert (key_for(2), key_for(1)) == (second, first)
    third = key_for(3)
    assert (key_for(2), key_for(3)) == (second, third)
    assert key_for(1) != first


def test_opened_keys_keep_no_private_key() -> None:
    """What is kept ready opens what was read; whose private key is gone, a user's removed or an old one, it is gone."""
    octets = NotificationSealer().seal(NOTIFICATION, KEY.public_bytes)
    key = HpkeKey.from_bytes(KEY.private_bytes)
    assert reopened(octets, [key]) == reopened(octets, [key]) == NOTIFICATION
    alive = weakref.ref(key)
    del key
    assert alive() is None
    assert reopened(octets, [HpkeKey.from_bytes(KEY.private_bytes)]) == NOTIFICATION


def test_a_key_is_opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By each HPKE key, for each inbox and signer; what does not open is tried again each time."""
    opened: list[bytes] = []

    def counting(key: HpkeKey, info: bytes, ciphertext: bytes) -> bytes:
        opened.append(ciphertext)
        return opens(key, info, ciphertext)

    opens = HpkeKey.open
    monkeypatch.setattr(HpkeKey, "open", counting)
    sealer, account = NotificationSealer(), HpkeKey.generate()
    first, second = (sealer.seal(NOTIFICATION, account.public_bytes) for _ in range(2))
    for octets in (first, second, first):
        assert reopened(octets, [account]) == NOTIFICATION
    assert len(opened) == 1
    for _ in range(2):
        with pytest.raises(Tampered):
            open_notification(first, [account], NOTIFICATION.inbox_key, bytes(32))
    assert reopened(first, [HpkeKey.from_bytes(account.private_bytes)]) == NOTIFICATION
    assert len(opened) == 4


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
