"""What was measured of both servers: rows of seconds that are compared, and rows of other figures."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table

from bench.imap_servers import OURS, THEIRS


@dataclass
class Sheet:
    """One server's figures, one list per row with an entry per run; filled in the order of the rows."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    figures: dict[str, list[float]] = field(default_factory=dict)  # MiB, KiB: not part of the mean

    def time(self, row: str, work: Callable[[], object]) -> None:
        """Do the work and note what it took."""
        begin = time.perf_counter()
        work()
        self.seconds.setdefault(row, []).append(time.perf_counter() - begin)

    def note(self, row: str, seconds: float) -> None:
        self.seconds.setdefault(row, []).append(seconds)

    def figure(self, row: str, value: float) -> None:
        self.figures.setdefault(row, []).append(value)

    def add(self, other: "Sheet") -> None:
        """Take another run of the same rows."""
        for mine, its in ((self.seconds, other.seconds), (self.figures, other.figures)):
            for row, values in its.items():
                mine.setdefault(row, []).extend(values)


def ratios(sheets: dict[str, Sheet]) -> dict[str, float]:
    """Our time by theirs, of the medians, for every row that both have."""
    ours, theirs = sheets.get(OURS, Sheet()).seconds, sheets.get(THEIRS, Sheet()).seconds
    return {
        row: statistics.median(values) / statistics.median(theirs[row]) for row, values in ours.items() if row in theirs
    }


def to_values(sheets: dict[str, Sheet]) -> dict[str, object]:
    """Everything, for JSON."""
    return {"runs": {name: asdict(sheet) for name, sheet in sheets.items()}, "ratios": ratios(sheets)}


def show(console: Console, sheets: dict[str, Sheet]) -> None:
    """Print medians, ratios and their geometric mean, then the other figures."""
    compared = ratios(sheets)
    table = Table("ms, median (least to most)", *sheets, "ratio")
    for row in dict.fromkeys(row for sheet in sheets.values() for row in sheet.seconds):
        cells = [_cell(sheet.seconds.get(row, []), 1_000) for sheet in sheets.values()]
        table.add_row(row, *cells, f"{compared[row]:.2f}" if row in compared else "")
    if compared:
        mean = math.exp(statistics.fmean(math.log(ratio) for ratio in compared.values()))
        table.add_section()
        table.add_row("geometric mean", *("" for _ in sheets), f"{mean:.2f}")
    console.print(table)
    if any(sheet.figures for sheet in sheets.values()):
        others = Table("others", *sheets)
        for row in dict.fromkeys(row for sheet in sheets.values() for row in sheet.figures):
            others.add_row(row, *(_cell(sheet.figures.get(row, []), 1) for sheet in sheets.values()))
        console.print(others)


def _cell(values: list[float], scale: float) -> str:
    if not values:
        return ""
    middle, least, most = (scale * value for value in (statistics.median(values), min(values), max(values)))
    cell = _number(middle)
    return f"{cell} ({_number(least)} to {_number(most)})" if len(values) > 1 else cell


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
