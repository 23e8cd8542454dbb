"""The gateway's storage key: 32 octets in a file of mode 0600, under which its queue is sealed."""

import secrets
from pathlib import Path

from gateway.outbound.errors import QueueUnusable
from p2pcore.crypto.key_files import KeyFiles

_SIZE = 32


def load_storage_key(keys: KeyFiles, path: Path, queue: Path) -> bytes:
    """Return the key in `path`; it is made, durably, where there is neither it nor a queue yet.

    Raises QueueUnusable (a queue without its key, a file of another size), OSError, Malformed, Tampered.
    """
    try:
        octets = keys.read(path)
    except FileNotFoundError:
        if queue.exists():
            raise QueueUnusable(f"{path}: missing, and {queue} cannot be opened without it") from None
        octets = secrets.token_bytes(_SIZE)
        keys.write(path, octets)
    if len(octets) != _SIZE:
        raise QueueUnusable(f"{path}: {len(octets)} octets, not {_SIZE}")
    return octets
