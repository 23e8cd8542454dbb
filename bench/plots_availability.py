"""Pictures of docs/availability.md: equation (6) as the paper's Figure 2, and Monte-Carlo runs beside the equations."""

from collections.abc import Mapping
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.availability import COPIES, JOINED_COPIES, NODES, share
from bench.plots import Draw
from p2pcore import availability
from p2pcore.client.placement import widened

_COLOURS: Final = ("tab:red", "tab:orange", "tab:green", "tab:blue")


def draw_copies(values: Any, figure: Figure) -> None:
    """Draw k against the target: one panel for each number of operations."""
    panels = figure.subplots(1, len(values["panels"]), sharey=True)
    losses = [1 - target for target in values["targets"]]
    for axes, panel in zip(panels, values["panels"], strict=True):
        for (up, copies), colour in zip(panel["copies"].items(), _COLOURS, strict=True):
            axes.plot(losses, copies, color=colour, label=f"p = {up}")
        axes.set_xscale("log")
        axes.invert_xaxis()
        axes.set_title(f"n = {panel['operations']:,}")
        axes.set_xlabel("1 − target")
    panels[0].set_ylabel("k by equation (6)")
    panels[0].legend()


def draw_losses(values: Any, figure: Figure) -> None:
    """Draw what is lost against k (k asked, twice k asked), and what newcomers hide."""
    up_panel, wide_panel, joined_panel = figure.subplots(1, 3, sharey=True)
    rows = values["losses"]
    for name, axes, title, width in (
        ("k_asked", up_panel, "k closest asked", lambda k: k),
        ("widened_asked", wide_panel, "2k closest asked", widened),
    ):
        ups = sorted({row["up"] for row in rows if not row["joining"]})
        for up, colour in zip(ups, _COLOURS, strict=True):
            _points(axes, [row for row in rows if row["up"] == up and not row["joining"]], name, colour)
            exact = [availability.read_fails(up, k, width(k)) for k in COPIES]
            axes.plot(COPIES, exact, color=colour, label=f"p = {up}")
            axes.plot(COPIES, [availability.all_down(up, k) for k in COPIES], ":", color=colour)
        axes.set_title(f"{title}; dotted: (1)")
        axes.set_xlabel("k")
    up_panel.legend()
    for joining, colour in zip(sorted({row["joining"] for row in rows if row["joining"]}), _COLOURS, strict=False):
        _points(joined_panel, [row for row in rows if row["joining"] == joining], "asked_in_vain", colour)
        exact = [availability.newcomers_closest(NODES, joining, k) for k in JOINED_COPIES]
        joined_panel.plot(JOINED_COPIES, exact, color=colour, label=f"{joining} join {NODES}")
        printed = [availability.joined_closer(k, NODES, joining) for k in JOINED_COPIES]
        joined_panel.plot(JOINED_COPIES, printed, ":", color=colour)
    joined_panel.set_title("newcomers closest; dotted: (3)")
    joined_panel.set_xlabel("k")
    joined_panel.set_xticks(JOINED_COPIES)
    joined_panel.legend()
    up_panel.set_yscale("log")
    up_panel.set_ylabel("reads that fail")


def _points(axes: Axes, rows: list[dict[str, Any]], name: str, colour: str) -> None:
    """Draw Monte-Carlo shares with two standard errors, where anything was counted."""
    counted = [row for row in rows if row[name]["count"]]
    shares = [share(row[name]) for row in counted]
    errors = [2 * (each * (1 - each) / row[name]["trials"]) ** 0.5 for each, row in zip(shares, counted, strict=True)]
    low = [min(error, 0.9 * each) for error, each in zip(errors, shares, strict=True)]
    axes.errorbar([row["k"] for row in counted], shares, yerr=[low, errors], fmt="o", color=colour, markersize=3)


PLOTS: Final[Mapping[str, Draw]] = {"availability": draw_losses, "availability_copies": draw_copies}
