"""Draws every picture in docs/figures anew from the JSON figures beside it: `python -m bench.plots [NAME …]`.

A topic is a module `bench/plots_<topic>.py` with `PLOTS`: picture name → function that is given the content of
`docs/figures/<name>.json` and an empty figure, and draws. The same figures give the same file, octet for octet.
"""

import argparse
import importlib
import json
import pkgutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib
from matplotlib.figure import Figure

import bench

FIGURES: Final = Path(__file__).parent.parent / "docs" / "figures"
Draw = Callable[[Any, Figure], None]

_STYLE: Final[dict[Any, Any]] = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.figsize": (9.0, 3.6),
    "font.size": 9,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "p2pmail",  # else the identifiers inside differ from run to run
}


def registry() -> dict[str, Draw]:
    """Return every picture that the topics have. Raises ValueError where two of them claim one name."""
    plots: dict[str, Draw] = {}
    for module in pkgutil.iter_modules(bench.__path__):
        if not module.name.startswith("plots_"):
            continue
        own: Mapping[str, Draw] = importlib.import_module(f"bench.{module.name}").PLOTS
        if taken := plots.keys() & own.keys():
            raise ValueError(f"bench/{module.name}.py: {', '.join(taken)} is another's")
        plots.update(own)
    return plots


def draw(name: str, plot: Draw, directory: Path = FIGURES) -> Path:
    """Draw one picture into `directory` from the figures there and return its path. Raises OSError."""
    values = json.loads((directory / f"{name}.json").read_text())
    with matplotlib.rc_context(_STYLE):
        figure = Figure(layout="constrained")
        plot(values, figure)
        path = directory / f"{name}.svg"
        figure.savefig(path, metadata={"Date": None})
    return path


def main() -> None:
    """Draw the pictures named, or all."""
    plots = registry()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(plots)}; default: all")
    names: list[str] = parser.parse_args().names
    if unknown := set(names) - plots.keys():
        parser.error(f"no such picture: {', '.join(sorted(unknown))}")
    for name in names or plots:
        print(draw(name, plots[name]))


if __name__ == "__main__":
    main()
