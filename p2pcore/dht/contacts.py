"""The contacts file: JSON, replaced whole, read at start so that a machine finds its network again.

| state on disk | crash outcome |
|---|---|
| no file | first start, or crash before the first contact: only the configured bootstrap nodes are asked |
| a file | the contacts of the last save; those that have gone since are asked in vain |
| a temporary file beside it | crash while saving: the old file counts, the next save overwrites the temporary one |

The file is a hint and never evidence: what it names is verified like any contact heard of from others.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from p2pcore import params
from p2pcore.crypto.files import sync_directory
from p2pcore.dht.contact import Contact
from p2pcore.errors import Malformed
from p2pcore.networks import numeric


def save_contacts(path: Path, contacts: Iterable[Contact]) -> None:
    """Write up to MAX_SAVED_CONTACTS `contacts` to `path`; durable on return. Raises OSError."""
    listed = [
        {"node_id": contact.node_id.hex(), "host": contact.host, "port": contact.port}
        for contact in list(contacts)[: params.MAX_SAVED_CONTACTS]
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    with temporary.open("w", encoding="ascii") as file:
        json.dump({"contacts": listed}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def load_contacts(path: Path) -> tuple[Contact, ...]:
    """Return the contacts saved at `path`; none where there is no file. Raises OSError, Malformed."""
    try:
        octets = path.read_bytes()
    except FileNotFoundError:
        return ()
    try:
        listed = json.loads(octets)["contacts"]
        contacts = tuple(_contact(entry) for entry in listed[: params.MAX_SAVED_CONTACTS])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Malformed(f"contacts file {path}: {error}") from error
    return contacts


def _contact(entry: dict[str, object]) -> Contact:
    node_id, host, port = bytes.fromhex(str(entry["node_id"])), numeric(str(entry["host"])), entry["port"]
    if len(node_id) != params.KEY_SIZE or host is None or not isinstance(port, int) or not 0 < port <= 65_535:
        raise ValueError(f"no contact: {entry!r}"[:200])
    return Contact(node_id, host, port)
