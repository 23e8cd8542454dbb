"""Passphrases that are stretched so little that nobody waits for it; each file says how much itself."""

import pytest

from p2pcore import params


@pytest.fixture
def weak_passphrases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(params, "PASSPHRASE_MEMORY", 64)
    monkeypatch.setattr(params, "PASSPHRASE_PASSES", 1)
