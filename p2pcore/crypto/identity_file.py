"""One role's private keys on disk, and the recovery kit that holds a copy under a passphrase.

| file | content | crash while saving |
|---|---|---|
| identity | an encoded records.Identity, mode 0600 | the old file or the new one, whole (see `files`) |
| recovery kit | octets that the caller writes | the caller's |

Recovery kit = "p2pmail kit 1\\n" ‖ Argon2id memory in KiB, passes, lanes (4 octets each, big-endian) ‖ salt (16) ‖
nonce (12) ‖ AES-256-GCM of an encoded records.Identity under the stretched passphrase; what precedes the ciphertext is
its associated data.
"""

import secrets
import struct
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from p2pcore.crypto.files import replace_file
from p2pcore.crypto.passwords import SALT_SIZE, Stretching
from p2pcore.errors import Malformed, Tampered
from p2pcore.records import Identity, decode, encode

_KIT_MAGIC = b"p2pmail kit 1\n"
_KIT_PARAMETERS = struct.Struct(f">III{SALT_SIZE}s")
_NONCE_SIZE = 12


def save_identity(path: Path, identity: Identity) -> None:
    """Replace `path` with `identity`, mode 0600; durable on return. Raises OSError."""
    replace_file(path, encode(identity))


def load_identity(path: Path) -> Identity:
    """Return the identity in `path`. Raises OSError, Malformed (which names the file)."""
    try:
        return decode(Identity, path.read_bytes())
    except Malformed as error:
        raise Malformed(f"{path}: {error}") from error


def seal_kit(identity: Identity, passphrase: str) -> bytes:
    """Return a recovery kit with `identity` under `passphrase`. Takes about 0.1 s."""
    stretching = Stretching.fresh()
    head = _KIT_MAGIC + _KIT_PARAMETERS.pack(stretching.memory, stretching.passes, stretching.lanes, stretching.salt)
    head += secrets.token_bytes(_NONCE_SIZE)
    cipher = AESGCM(stretching.key(passphrase))
    return head + cipher.encrypt(head[-_NONCE_SIZE:], encode(identity), head)


def open_kit(kit: bytes, passphrase: str) -> Identity:
    """Return the identity in a recovery kit. Raises Malformed (no kit), Tampered (wrong passphrase, or altered)."""
    head = kit[: len(_KIT_MAGIC) + _KIT_PARAMETERS.size + _NONCE_SIZE]
    if not kit.startswith(_KIT_MAGIC) or len(kit) == len(head):
        raise Malformed("not a recovery kit")
    memory, passes, lanes, salt = _KIT_PARAMETERS.unpack_from(head, len(_KIT_MAGIC))
    cipher = AESGCM(Stretching(salt, memory, passes, lanes).key(passphrase))
    try:
        return decode(Identity, cipher.decrypt(head[-_NONCE_SIZE:], kit[len(head) :], head))
    except InvalidTag as error:
        raise Tampered("recovery kit does not open: wrong passphrase, or damaged") from error
