"""Sealing notifications and the domain's address list with HPKE to those who may read them (docs/formats.md §7)."""

import secrets
from collections.abc import Sequence

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
    decode,
    encode,
)

_LENGTH_SIZE = 4
_NONCE_SIZE = 12
_KEY_SIZE = 32


def _notification_info(inbox_key: bytes, signer: bytes) -> bytes:
    return b"p2pmail notification 1\x00" + inbox_key + signer


def seal_notification(notification: Notification, recipient: bytes) -> bytes:
    """Return the encoded SealedNotification for the holder of the HPKE key `recipient`.

    The plaintext is padded to the smallest of NOTIFICATION_CLASSES that holds it. Raises TooLarge, Malformed.
    """
    octets = encode(notification)
    needed = _LENGTH_SIZE + len(octets)
    size = next((size for size in params.NOTIFICATION_CLASSES if size >= needed), None)
    if size is None:
        raise TooLarge(f"notification of {needed} octets, over {params.NOTIFICATION_CLASSES[-1]}")
    public = HpkePublic.from_bytes(recipient)
    plaintext = len(octets).to_bytes(_LENGTH_SIZE, "big") + octets + bytes(size - needed)
    ciphertext = public.seal(_notification_info(notification.inbox_key, notification.signer), plaintext)
    return encode(SealedNotification(public.algorithm, public.fingerprint, ciphertext))


def open_notification(octets: bytes, keys: Sequence[HpkeKey], inbox_key: bytes, signer: bytes) -> Notification:
    """Return the notification in an entry of `inbox_key` that `signer` (a certificate's fingerprint) signed.

    Raises Tampered: sealed to none of `keys`, or not for this inbox and signer, or altered.
    """
    try:
        sealed = decode(SealedNotification, octets)
    except Malformed as error:
        raise Tampered(f"sealed notification: {error}") from error
    key = _key_for(sealed.recipient, sealed.algorithm, keys)
    plaintext = key.open(_notification_info(inbox_key, signer), sealed.ciphertext)
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


def seal_addresses(
    addresses: AddressList, domain: str, readers: Sequence[bytes]
) -> tuple[tuple[SealedKey, ...], bytes]:
    """Return DomainRecord's `address_keys` and `addresses` for the gateways whose HPKE keys are `readers`."""
    key = secrets.token_bytes(_KEY_SIZE)
    nonce = secrets.token_bytes(_NONCE_SIZE)
    info = b"p2pmail addresses 1\x00" + domain.encode()
    publics = [HpkePublic.from_bytes(reader) for reader in readers]
    sealed_keys = tuple(SealedKey(public.algorithm, public.fingerprint, public.seal(info, key)) for public in publics)
    return sealed_keys, nonce + AESGCM(key).encrypt(nonce, encode(addresses), domain.encode())


def open_addresses(record: DomainRecord, keys: Sequence[HpkeKey]) -> AddressList:
    """Return the address list of `record`. Raises Tampered: sealed to none of `keys`, or altered."""
    ours = {key.fingerprint for key in keys}
    sealed = next((sealed for sealed in record.address_keys if sealed.recipient in ours), None)
    if sealed is None:
        raise Tampered(f"address list of {record.domain} is sealed to none of our keys")
    info = b"p2pmail addresses 1\x00" + record.domain.encode()
    key = _key_for(sealed.recipient, sealed.algorithm, keys).open(info, sealed.ciphertext)
    nonce, ciphertext = record.addresses[:_NONCE_SIZE], record.addresses[_NONCE_SIZE:]
    try:
        octets = AESGCM(key).decrypt(nonce, ciphertext, record.domain.encode())
        return decode(AddressList, octets)
    except (InvalidTag, ValueError, Malformed) as error:
        raise Tampered(f"address list of {record.domain} does not open") from error


def _key_for(recipient: bytes, algorithm: HpkeAlgorithm, keys: Sequence[HpkeKey]) -> HpkeKey:
    for key in keys:
        if key.fingerprint == recipient:
            if key.algorithm != algorithm:
                raise Tampered(f"sealed with {algorithm} to a key of {key.algorithm}")
            return key
    raise Tampered("sealed to a key that is not ours")
