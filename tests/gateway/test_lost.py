"""lost: a database that was here and is gone."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.lost import tell_if_lost


@pytest.mark.parametrize(
    ("there", "told"), [((), False), (("q/",), True), (("q/", "q/queue.db"), False)], ids=["new", "lost", "there"]
)
def test_tell_if_lost(tmp_path: Path, there: tuple[str, ...], told: bool) -> None:
    """Its directory without it is told, with what it held and what to do; a new one and one that is there are not."""
    for name in there:
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    with capture_logs() as logs:
        tell_if_lost(tmp_path / "q" / "queue.db", "mail on its way out", "nothing")
    assert [(entry["event"], entry["held"]) for entry in logs] == [("lost", "mail on its way out")] * told
