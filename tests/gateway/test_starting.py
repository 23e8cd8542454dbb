"""starting: what is done once everything is up."""

import gc

from gateway.starting import settle_memory


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
