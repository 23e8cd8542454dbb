"""Stores work on the loop of a test: in virtual time no thread is waited for."""

import pytest

from tests.support.store_thread import OnLoop


@pytest.fixture(autouse=True)
def stores_on_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.mailbox.store.StoreThread", OnLoop)
