"""What has expired goes: in small transactions, so that nobody waits long behind it."""

from typing import Final

from p2pcore.node import certificates, inboxes, objects, versioned
from p2pcore.node.service import Service
from p2pcore.node.storage import Transaction

_PORTION: Final = 500  # items of one kind in one transaction


async def sweep(service: Service) -> int:
    """Drop what is past its expiry, then certificates that nothing needs; return how many items went."""
    total = 0
    while True:
        gone, files = await service.storage.write(_portion)
        await service.bodies.remove(files)
        total += gone
        if not gone:
            break
    if total:
        await service.storage.write(certificates.drop_unused)
    await service.heads.load()
    return total


def _portion(transaction: Transaction) -> tuple[int, tuple[str, ...]]:
    gone, files = objects.drop_expired(transaction, _PORTION)
    gone += inboxes.drop_expired(transaction, _PORTION)
    gone += versioned.drop_expired(transaction, _PORTION)
    return gone, files
