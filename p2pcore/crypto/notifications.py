"""Sealing notifications and the domain's address list with HPKE to those who may read them (docs/formats.md §7)."""

import secrets
from collections.abc import Sequence
from functools import lru_cache
from weakref import ref

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from p2pcore import params
from p2pcore.crypto.keys import HpkeKey, HpkePublic
from p2pcore.errors import Malformed, Tampered, TooLarge
from p2pcore.records import (
    AddressList,
    DomainRecord,
    HpkeAlgorithm,
    Notification,
    SealedKey,
    SealedNotification,
    SingleNotification,
    decode,
    decode_either,
    encode,
)

_LENGTH_SIZE = 4
_NONCE_SIZE = 12
_KEY_SIZE = 32
_OPENED_KEYS = 64  # kept ready for use: what was sealed in one moment is mostly read in one moment too
_SHARED_KEYS = 1_000  # of one sealer


class NotificationSealer:
    """Seals notifications; those of one inbox share a key, which travels with each of them, while this object lives.

    Encapsulating a key takes ten times as long as sealing a notification with it. The shorter a sealer lives, the less
    its memory opens: `mail.send` takes a new one every second. For one thread at a time.
    """

    def __init__(self) -> None:
        self._keys: dict[tuple[bytes, bytes], tuple[SealedKey, AESGCM]] = {}

    def seal(self, notification: Notification, recipient: bytes) -> bytes:
        """Return the encoded SealedNotification for the holder of the HPKE key `recipient`.

        The plaintext is padded to the smallest of NOTIFICATION_CLASSES that holds it. Raises TooLarge, Malformed.
        """
        plaintext = _padded(encode(notification))
        info = _keys_info(notification.inbox_key, notification.signer)
        found = self._keys.get((info, recipient))
        if found is None:
            found = self._keys[info, recipient] = _new_key(info, recipient)
            if len(self._keys) > _SHARED_KEYS:
                del self._keys[next(iter(self._keys))]
        sealed_key, key = found
        return encode(SealedNotification(sealed_key, _encrypt(key, plaintext, b"")))


def _new_key(info: bytes, recipient: bytes) -> tuple[SealedKey, AESGCM]:
    key = secrets.token_bytes(_KEY_SIZE)
    return _sealed_key(key, info, HpkePublic.from_bytes(recipient)), AESGCM(key)


def _sealed_key(key: bytes, info: bytes, recipient: HpkePublic) -> SealedKey:
    return SealedKey(recipient.algorithm, recipient.fingerprint, recipient.seal(info, key))


def _keys_info(inbox_key: bytes, signer: bytes) -> bytes:
    return b"p2pmail notifications 1\x00" + inbox_key + signer


def _padded(octets: bytes) -> bytes:
    needed = _LENGTH_SIZE + len(octets)
    size = next((size for size in params.NOTIFICATION_CLASSES if size >= needed), None)
    if size is None:
        raise TooLarge(f"notification of {needed} octets, over {params.NOTIFICATION_CLASSES[-1]}")
    return len(octets).to_bytes(_LENGTH_SIZE, "big") + octets + bytes(size - needed)


def open_notification(octets: bytes, keys: Sequence[HpkeKey], inbox_key: bytes, signer: bytes) -> Notification:
    """Return the notification in an entry of `inbox_key` that `signer` (a certificate's fingerprint) signed.

    Raises Tampered: sealed to none of `keys`, or not for this inbox and signer, or altered.
    """
    try:
        sealed = decode_either(SealedNotification, SingleNotification, octets)
    except Malformed as error:
        raise Tampered(f"sealed notification: {error}") from error
    if isinstance(sealed, SealedNotification):
        plaintext = _open_shared(sealed, keys, _keys_info(inbox_key, signer))
    else:
        info = b"p2pmail notification 1\x00" + inbox_key + signer
        plaintext = _key_for(sealed.recipient, sealed.algorithm, keys).open(info, sealed.ciphertext)
    end = _LENGTH_SIZE + int.from_bytes(plaintext[:_LENGTH_SIZE], "big")
    if len(plaintext) not in params.NOTIFICATION_CLASSES or end > len(plaintext):
        raise Tampered("notification is not padded to a size class")
    if plaintext.count(0, end) != len(plaintext) - end:
        raise Tampered("notification's padding is not zero")
    try:
        notification = decode(Notification, plaintext[_LENGTH_SIZE:end])
    except Malformed as error:
        raise Tampered(f"notification: {error}") from error
    if notification.inbox_key != inbox_key or notification.signer != signer:
        raise Tampered("notification names another inbox or signer than its entry")
    return notification


def _open_shared(sealed: SealedNotification, keys: Sequence[HpkeKey], info: bytes) -> bytes:
    opener = _key_for(sealed.key.recipient, sealed.key.algorithm, keys)
    key = _opened_key(ref(opener), info, sealed.key.ciphertext)
    try:
        return _decrypt(key, sealed.ciphertext, b"")
    except (InvalidTag, ValueError) as error:
        raise Tampered("notification does not open with its key") from error


@lru_cache(_OPENED_KEYS)
def _opened_key(opener: "ref[HpkeKey]", info: bytes, ciphertext: bytes) -> AESGCM:
    """Return what `opener` opens; by a weak reference, so that no private key outlives its owner here.

    Two of them are the same while they refer to the same living key, and no others.
    """
    private = opener()
    assert private is not None  # the caller has it
    key = private.open(info, ciphertext)
    if len(key) != _KEY_SIZE:
        raise Tampered(f"sealed key of {len(key)} octets, not {_KEY_SIZE}")
    return AESGCM(key)


def seal_addresses(
    addresses: AddressList, domain: str, readers: Sequence[bytes]
) -> tuple[tuple[SealedKey, ...], bytes]:
    """Return DomainRecord's `address_keys` and `addresses` for the gateways whose HPKE keys are `readers`."""
    key = secrets.token_bytes(_KEY_SIZE)
    info = _addresses_info(domain)
    sealed_keys = tuple(_sealed_key(key, info, HpkePublic.from_bytes(reader)) for reader in readers)
    return sealed_keys, _encrypt(AESGCM(key), encode(addresses), domain.encode())


def open_addresses(record: DomainRecord, keys: Sequence[HpkeKey]) -> AddressList:
    """Return the address list of `record`. Raises Tampered: sealed to none of `keys`, or altered."""
    ours = {key.fingerprint for key in keys}
    sealed = next((sealed for sealed in record.address_keys if sealed.recipient in ours), None)
    if sealed is None:
        raise Tampered(f"address list of {record.domain} is sealed to none of our keys")
    opener = _key_for(sealed.recipient, sealed.algorithm, keys)
    key = _opened_key(ref(opener), _addresses_info(record.domain), sealed.ciphertext)
    try:
        return decode(AddressList, _decrypt(key, record.addresses, record.domain.encode()))
    except (InvalidTag, ValueError, Malformed) as error:
        raise Tampered(f"address list of {record.domain} does not open") from error


def _addresses_info(domain: str) -> bytes:
    return b"p2pmail addresses 1\x00" + domain.encode()


def _encrypt(key: AESGCM, plaintext: bytes, associated: bytes) -> bytes:
    nonce = secrets.token_bytes(_NONCE_SIZE)
    return nonce + key.encrypt(nonce, plaintext, associated)


def _decrypt(key: AESGCM, octets: bytes, associated: bytes) -> bytes:
    return key.decrypt(octets[:_NONCE_SIZE], octets[_NONCE_SIZE:], associated)


def _key_for(recipient: bytes, algorithm: HpkeAlgorithm, keys: Sequence[HpkeKey]) -> HpkeKey:
    for key in keys:
        if key.fingerprint == recipient:
            if key.algorithm != algorithm:
                raise Tampered(f"sealed with {algorithm} to a key of {key.algorithm}")
            return key
    raise Tampered("sealed to a key that is not ours")
