"""What the start and the end of the program need: signals, and errors that say what could not start."""

import asyncio
import errno
import gc
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager

import apsw
import structlog

from gateway.errors import ConfigurationError
from gateway.founding import make_tls_certificate
from gateway.mailbox.errors import MailboxError
from gateway.site import Site, placed
from gateway.tls_files import TlsFiles
from p2pcore.errors import Failure

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_OF_AN_ENDPOINT = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES, errno.EAFNOSUPPORT)

log = structlog.get_logger("main")


async def until_signalled(work: Coroutine[None, None, None]) -> None:
    """Run `work` until it ends or a signal cancels it, wherever it is. A second signal ends the process at once."""
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(work, name="everything")
    # under nohup the end of a terminal is no signal
    numbers = [one for one in SIGNALS if one != signal.SIGHUP or signal.getsignal(one) != signal.SIG_IGN]

    def stop() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)
        log.info("stopping")
        task.cancel()

    for number in numbers:
        loop.add_signal_handler(number, stop)
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


def settle_memory() -> None:
    """Call once everything is up: what has been imported and built stays, so the collector need not visit it again.

    A full collection visits every object that lives: 80,000 from the imports alone, which takes some 50 ms and comes
    again and again under load, when each message makes hundreds of objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)  # from 700, 10, 10: hardly anything here is in cycles, reference counts free it


@contextmanager
def starting(what: str, listening: str = "") -> Iterator[None]:
    """Say which key or file it was that a part could not start with; of a part with files, `listening` is its endpoint.

    Raises ConfigurationError.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError, apsw.Error, Failure, MailboxError) as error:
        if listening and isinstance(error, OSError) and error.errno in _OF_AN_ENDPOINT and not error.filename:
            what = listening
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        file = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        raise ConfigurationError(placed(what, f"{file}{reason}")) from error


def tls_context(site: Site) -> TlsFiles:
    """Return the context under the certificate that mail programs see, made now if there is none, and what replaces it.

    Raises ConfigurationError.
    """
    make_tls_certificate(site)
    with starting("tls.certificate and tls.key"):
        return TlsFiles(*site.tls_files())
