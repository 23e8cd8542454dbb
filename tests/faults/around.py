"""What a process that makes runs needs around them: chance that repeats itself, silence, a directory, no thread."""

import functools
import logging
import random
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import structlog
from publicsuffixlist import PublicSuffixList

from gateway.smtp import lookups, sender_policy
from tests.support.store_thread import OnLoop

_MEMORY = Path("/dev/shm")  # where there is one: thousands of small databases are synced


@contextmanager
def seeded(seed: str) -> Iterator[None]:
    """Have chance repeat itself where it decides about order: keys of bodies, pauses."""
    chance = random.Random(seed)
    random.seed(seed)
    with mock.patch.multiple(secrets, token_bytes=chance.randbytes, token_hex=lambda n: chance.randbytes(n).hex()):
        yield


@contextmanager
def spared() -> Iterator[None]:
    """Read the list of public suffixes once for all runs, and answer pyspf's questions where it asks, with nothing.

    Mailboxes have no thread of their own.
    """
    once = functools.cache(PublicSuffixList)
    with (
        mock.patch.object(lookups, "PublicSuffixList", once),
        mock.patch.object(sender_policy._Query, "dns", return_value=[]),
        mock.patch("gateway.mailbox.store.StoreThread", OnLoop),
    ):
        yield


@contextmanager
def silent() -> Iterator[None]:
    """Drop log lines and warnings: every run is full of failures."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")  # the dead leave coroutines and connections behind
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield


@contextmanager
def a_directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="p2pmail-faults-", dir=_MEMORY if _MEMORY.is_dir() else None))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)
