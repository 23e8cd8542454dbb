"""starting: what is done once everything is up."""

import errno
import gc

import pytest

from gateway.errors import ConfigurationError
from gateway.mailbox.errors import StoreDamaged
from gateway.starting import settle_memory, starting


def test_settle_memory() -> None:
    """What lives already is not visited by later collections, which come rarely and still come."""
    thresholds = gc.get_threshold()
    try:
        settle_memory()
        assert gc.get_freeze_count() > 1_000
        assert gc.isenabled()
        assert gc.get_threshold()[0] > thresholds[0]
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)


def test_a_damaged_store_is_said_with_its_place() -> None:
    """One line for the operator and exit code 2, as for every file that cannot be used."""
    with (
        pytest.raises(ConfigurationError, match=r"accounts/alice: the outbox's database is damaged") as caught,
        starting("accounts/alice"),
    ):
        raise StoreDamaged("the outbox's database is damaged")
    assert caught.value.exit_code == 2


def test_a_port_that_is_taken_is_said_with_its_key() -> None:
    """Of a part with files and an endpoint, the fault names the one that has it."""
    taken = OSError(errno.EADDRINUSE, "address already in use")
    with (
        pytest.raises(ConfigurationError, match=r"^node\.listen: address already in use"),
        starting("n", "node.listen"),
    ):
        raise taken
    unreadable = PermissionError(errno.EACCES, "Permission denied", "n/node.db")
    with pytest.raises(ConfigurationError, match=r"^n/node\.db: Permission denied"), starting("n", "node.listen"):
        raise unreadable
