"""A node in a process of its own, to be killed.

`python -m tests.p2pcore.node.node_process IDENTITY DIRECTORY NOW DISK_RESERVE`; prints its port once it answers.
"""

import asyncio
import sys
from pathlib import Path

from p2pcore.crypto.key_files import KeyFiles
from p2pcore.crypto.keys import SigningKey
from p2pcore.crypto.statements import Signer
from p2pcore.crypto.trust import Trust
from p2pcore.endpoint import Endpoint
from p2pcore.node.node import Node
from p2pcore.node.settings import Limits, NodeSettings
from tests.support.fixed_substrate import FixedSubstrate
from tests.support.identities import ManualClock


async def serve(identity_file: Path, directory: Path, now: int, disk_reserve: int) -> None:
    """Run until killed."""
    identity = KeyFiles().read_identity(identity_file)
    trust = Trust(identity.authority, identity.domain)
    signer = Signer(SigningKey.from_bytes(identity.signing_key), trust.add(identity.certificate))
    settings = NodeSettings(directory, Endpoint("127.0.0.1", 0), 1 << 30, Limits(disk_reserve=disk_reserve))
    node = Node(settings, identity, signer, trust, FixedSubstrate(), ManualClock(now))
    await node.start()
    print(node.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
