"""Stores work on the loop of a test: in virtual time no thread is waited for."""

from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")


class AtOnce:
    """A store's thread whose jobs are done when they are asked for."""

    async def run(self, job: Callable[[], T]) -> T:
        return job()

    def end(self) -> None:
        return


@pytest.fixture(autouse=True)
def stores_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.mailbox.store.StoreThread", AtOnce)
