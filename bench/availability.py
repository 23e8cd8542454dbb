"""Monte-Carlo runs beside the paper's equations (docs/availability.md); the same numbers in every run."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from p2pcore import availability
from p2pcore.client.placement import widened
from p2pcore.sim.availability import Churn, Share, failed_reads, losses

SEED = 2005
NODES = 100
TRIALS = 20_000
UPS = (0.3, 0.5, 0.75, 0.9)
COPIES = tuple(range(1, 7))
JOINING = (25, 100)  # of nodes that are all up, for term (3) alone
JOINED_COPIES = (3, 4, 5)
CHURN_TRIALS = 10_000
CHURN_NODES = 20
CHURN_HOURS = 24
CHURN_COPIES = 2
MEAN_UP = MEAN_DOWN = 8.0  # hours
REPAIRS = (0.0, 1.0, 2.0, 4.0)  # hours
OPERATIONS = (2, 100, 10_000)  # Figure 2's panels
TARGETS = tuple(round(1 - 10 ** -(2 + step / 10), 12) for step in range(31))  # 99 % to 99.999 %
FIGURE_UPS = (0.3, 0.5, 0.75, 0.9)
_STEPS = 1_000  # of the mean over a repair interval


def figures() -> dict[str, Any]:
    """Return every run's figures as plain values."""
    return {
        "seed": SEED,
        "nodes": NODES,
        "trials": TRIALS,
        "losses": [
            {"up": up, "joining": joining, **asdict(loss)}
            for up, joining, copies in (*((up, 0, COPIES) for up in UPS), *((1.0, n, JOINED_COPIES) for n in JOINING))
            for loss in losses(up, copies, nodes=NODES, joining=joining, trials=TRIALS, seed=SEED)
        ],
        "churn": {
            "k": CHURN_COPIES,
            "nodes": CHURN_NODES,
            "hours": CHURN_HOURS,
            "mean_up": MEAN_UP,
            "mean_down": MEAN_DOWN,
            "trials": CHURN_TRIALS,
            "repairs": [
                {"every": every, "failed": asdict(_churned(every)), "by_equations": by_equations(every)}
                for every in REPAIRS
            ],
        },
    }


def copies() -> dict[str, Any]:
    """Return equation (6) as Figure 2 of the paper has it: a panel for each number of operations."""
    return {
        "targets": TARGETS,
        "panels": [
            {
                "operations": operations,
                "copies": {
                    str(up): [availability.copies(up, target, operations) for target in TARGETS] for up in FIGURE_UPS
                },
            }
            for operations in OPERATIONS
        ],
    }


def _churned(every: float) -> Share:
    churn = Churn(MEAN_UP, MEAN_DOWN, every)
    return failed_reads(churn, CHURN_COPIES, nodes=CHURN_NODES, hours=CHURN_HOURS, trials=CHURN_TRIALS, seed=SEED)


def by_equations(every: float, k: int = CHURN_COPIES) -> float:
    """Return the probability by the equations that a read at a random moment after the last repair fails.

    They see the k holders of that round only: not the rounds before it that found no holder up, nor nodes that come
    back with a copy from before. Without repair (0) it is read CHURN_HOURS after it was written.
    """
    churn = Churn(MEAN_UP, MEAN_DOWN, every)
    moments = [every * (step + 0.5) / _STEPS for step in range(_STEPS)] if every else [CHURN_HOURS]
    stays = [availability.still_up(churn.up, churn.cycle, moment) for moment in moments]
    return sum(availability.read_fails(churn.up, k, widened(k), stays=stay) for stay in stays) / len(stays)


def main(
    directory: Annotated[Path | None, typer.Option("--figures", help="Write the figures into this directory.")] = None,
) -> None:
    """Run every world, print what was lost beside the exact probabilities, and write the figures."""
    measured = figures()
    _show(measured)
    if directory is not None:
        for name, values in (("availability", measured), ("availability_copies", copies())):
            (directory / f"{name}.json").write_text(json.dumps(values, indent=1) + "\n")


def _show(measured: dict[str, Any]) -> None:
    table = Table("p (up)", "N", "k", "all down", "asked in vain", "k asked", "2k asked", "exact: 2k asked")
    for loss in measured["losses"]:
        shares = (share(loss[name]) for name in ("all_down", "asked_in_vain", "k_asked", "widened_asked"))
        exact = availability.read_fails(loss["up"], loss["k"], widened(loss["k"]), loss["joining"] / NODES)
        cells = (loss["up"], loss["joining"], loss["k"], *(f"{each:.2g}" for each in shares))
        table.add_row(*map(str, cells), f"{exact:.2g}")
    churned = Table("repair every", "failed", "by the equations")
    for repair in measured["churn"]["repairs"]:
        every = f"{repair['every']:g} h" if repair["every"] else "never"
        churned.add_row(every, f"{share(repair['failed']):.2g}", f"{repair['by_equations']:.2g}")
    Console().print(table, churned)


def share(counted: dict[str, int]) -> float:
    """Return a Share that was made plain as a number."""
    return counted["count"] / counted["trials"]


if __name__ == "__main__":
    typer.run(main)
