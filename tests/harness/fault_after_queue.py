"""p2pmail with one fault: it dies, as by a power cut, between keeping its first submission and saying 250."""

import os
import signal

from gateway.cli import main
from gateway.mail.outgoing import NewItem
from gateway.outbound.queue import Queue

_accept = Queue.accept


async def _accept_and_die(self: Queue, item: NewItem) -> bool:
    new = await _accept(self, item)
    os.kill(os.getpid(), signal.SIGKILL)
    return new


if __name__ == "__main__":
    Queue.accept = _accept_and_die  # type: ignore[method-assign]
    main()
