"""gateway.outbox: an error that nobody foresaw costs a pause, and never the work that comes after it."""

from pathlib import Path

import pytest

from gateway.outbox import owed, rows
from tests.gateway.outbox.world import CONTENT, bench, submission


@pytest.mark.parametrize(("module", "question"), [(rows, "due"), (owed, "first")])
async def test_looking_for_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: object, question: str
) -> None:
    """What is due is sent, and what is owed is filed, at the next look, which new mail brings about."""
    async with bench(tmp_path) as it:
        asked, broken = getattr(module, question), 1

        def sometimes(*arguments: object) -> object:
            nonlocal broken
            if broken:
                broken -= 1
                raise ZeroDivisionError
            return asked(*arguments)

        monkeypatch.setattr(module, question, sometimes)
        for _ in range(2):
            await it.outbox.accept(submission("bob@example.org"))
            await it.settled()
        assert not broken
        assert len(it.entries_of(it.bob)) == 2
        assert list(it.mailbox.sent.values()) == [CONTENT, CONTENT]
