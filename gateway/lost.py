"""A database that was here before and is gone: the log says so before another is begun in its place."""

from pathlib import Path

import structlog

log = structlog.get_logger("main")


def tell_if_lost(file: Path, held: str, remedy: str) -> None:
    """Warn where the directory of a database is there, which is made together with it, and the database is not."""
    if file.parent.is_dir() and not file.exists():
        log.warning("lost", file=str(file), held=held, then="an empty one is begun", remedy=remedy)
