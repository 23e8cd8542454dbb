"""New keys for a user whose agent is here; old HPKE keys stay until nothing sealed to them can live.

| file of the account | holds | the process dies after it was written |
|---|---|---|
| `identity.next` | the new keys, before anybody hears of them | the same command again: the same keys |
| `retired-keys` | until when the old HPKE keys are kept | the same |
| `identity` | the new keys with their certificate, the old HPKE keys behind | in use; `identity.next` is void |
"""

import hashlib
from pathlib import Path

import msgspec

from gateway.errors import OperatorError
from gateway.site import Site, write_private
from p2pcore import params
from p2pcore.crypto.keys import HpkeKey, SigningKey
from p2pcore.directory.directory import Directory
from p2pcore.directory.rotation import make_key_request, new_keys, with_certificate
from p2pcore.records import Identity, KeyRequest, RetiredKey, RetiredKeys, decode, encode

# An entry may be sealed under a certificate that its sender cannot ask for anew, and then lives as long as any
KEPT = params.STALE_CERTIFICATE + params.MAX_LIFETIME

_NEXT = "identity.next"
_RETIRED = "retired-keys"


def request(site: Site, address: str) -> KeyRequest:
    """Return the request for new keys of the account of `address`; the keys are on disk."""
    held = site.user_identity(address)
    return make_key_request(held, _waiting(site, held))


def admitted(site: Site, address: str, book: Directory, *, compromised: bool) -> bytes:
    """Have the directory on this machine list new keys of the account; return their certificate (DER)."""
    fresh = _waiting(site, site.user_identity(address))
    signing, hpke = SigningKey.from_bytes(fresh.signing_key), HpkeKey.from_bytes(fresh.hpke_keys[0])
    return book.rotate_user(address, signing.public_bytes, hpke.public_bytes, compromised=compromised)


def install(site: Site, address: str, certificate: bytes, now: int) -> Identity:
    """Let the account have the keys that wait, under `certificate` (DER); durable on return.

    Raises OperatorError (none wait), CertificateRefused.
    """
    directory = site.account_directory(address)
    held = site.user_identity(address)
    path = directory / _NEXT
    if not path.exists():
        raise OperatorError(f"{address}: no new keys wait for this answer; begin with `p2pmail user rotate {address}`")
    identity = with_certificate(_waiting(site, held), certificate)
    _note_retired(directory, held.hpke_keys, now + KEPT)
    site.keys.write_identity(directory / "identity", identity)
    path.unlink()
    return identity


def add_old_keys(site: Site, held: Identity, hpke_keys: tuple[bytes, ...], now: int) -> bool:
    """Let the account open with `hpke_keys` as well, as long as anything sealed to them may live; False: it could.

    Durable on return.
    """
    missing = tuple(key for key in hpke_keys if key not in held.hpke_keys)
    if missing:
        directory = site.account_directory(held.name)
        _note_retired(directory, missing, now + KEPT)
        longer = msgspec.structs.replace(held, hpke_keys=(*held.hpke_keys, *missing))
        site.keys.write_identity(directory / "identity", longer)
    return bool(missing)


def drop_old_keys(site: Site, address: str, now: int) -> None:
    """Forget the HPKE keys to which nothing that is sealed can live any more. Raises OSError, Failure."""
    directory = site.account_directory(address)
    retired = _retired(directory)
    over = {key.hpke_key for key in retired if key.until <= now}
    if not over:
        return
    held = site.keys.read_identity(directory / "identity")
    newest, *old = held.hpke_keys
    kept = tuple(key for key in old if _fingerprint(key) not in over)
    site.keys.write_identity(directory / "identity", msgspec.structs.replace(held, hpke_keys=(newest, *kept)))
    _write_retired(directory, [key for key in retired if key.hpke_key not in over])


def _waiting(site: Site, held: Identity) -> Identity:
    """Return the new keys that wait for the user who holds `held`, fresh ones where there are none."""
    path = site.account_directory(held.name) / _NEXT
    if path.exists():
        waiting = site.keys.read_identity(path)
        if waiting.signing_key != held.signing_key:
            return msgspec.structs.replace(waiting, hpke_keys=(waiting.hpke_keys[0], *held.hpke_keys))
    fresh = new_keys(held)
    site.keys.write_identity(path, fresh)
    return fresh


def _note_retired(directory: Path, hpke_keys: tuple[bytes, ...], until: int) -> None:
    retired = _retired(directory)
    known = {key.hpke_key for key in retired}
    added = [RetiredKey(_fingerprint(key), until) for key in hpke_keys if _fingerprint(key) not in known]
    _write_retired(directory, [*retired, *added])


def _retired(directory: Path) -> tuple[RetiredKey, ...]:
    try:
        return decode(RetiredKeys, (directory / _RETIRED).read_bytes()).keys
    except FileNotFoundError:
        return ()


def _write_retired(directory: Path, keys: list[RetiredKey]) -> None:
    write_private(directory / _RETIRED, encode(RetiredKeys(tuple(keys))))


def _fingerprint(private: bytes) -> bytes:
    return hashlib.sha256(HpkeKey.from_bytes(private).public_bytes).digest()
