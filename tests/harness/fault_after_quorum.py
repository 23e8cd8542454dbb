"""p2pmail with one fault: it dies, as by a power cut, between the quorum of its first mail and the 250."""

import os
import signal

from gateway.cli import main
from p2pcore.mail.injection import Injection
from p2pcore.mail.send import Sender, Stored

_inject = Sender.inject


async def _inject_and_die(self: Sender, injection: Injection) -> Stored:
    stored = await _inject(self, injection)
    os.kill(os.getpid(), signal.SIGKILL)
    return stored


if __name__ == "__main__":
    Sender.inject = _inject_and_die  # type: ignore[method-assign]
    main()
