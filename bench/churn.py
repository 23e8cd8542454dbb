"""What repair achieves and costs in weeks of churn: `python -m bench.churn` (docs/repair.md; minutes for each).

Prints a table and writes docs/figures/repair.json. Everything is drawn from the seed.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table as Printed

from p2pcore import params
from p2pcore.sim.sessions import Sessions
from p2pcore.sim.week import Plan, simulate

FIGURES: Final = Path(__file__).parent.parent / "docs" / "figures"
_WEEK: Final = Plan(nodes=12, users=3, early=5, late=10, sleepers=2, k=5, w=3)
_NOBODY_LEAVES: Final = Sessions(median_up=10_000 * params.DAY, shape=0.6, cycle=40_000 * params.DAY, turnover=1e-6)

PLANS: Final[Mapping[str, Plan]] = {
    "bounded": _WEEK,
    "month": replace(_WEEK, days=30.0),
    "unrepaired": replace(_WEEK, repair=False),
    "unbounded": replace(_WEEK, bounded=False),
    "patient": replace(_WEEK, settling=10 * params.MINUTE, newcomer=30 * params.MINUTE),
    "larger": replace(_WEEK, nodes=24, days=0.3),
    "still": replace(_WEEK, sessions=_NOBODY_LEAVES, days=1.0, sleepers=0),
}


def per_node_hour(report: Mapping[str, Any], purpose: str) -> float:
    """Return the octets that a node sent for this purpose in an hour, on average over the hours of churn."""
    hours = report["hours"]
    total: int = sum(hour["octets"].get(purpose, 0) for hour in hours)
    node_hours: int = sum(hour["up"] for hour in hours)
    return total / node_hours


def show(console: Console, reports: Mapping[str, Mapping[str, Any]]) -> None:
    """Print one row per plan."""
    columns = ("plan", "late mail read", "fewest copies", "replaced", "risen", "rounds", "lookup B/s", "repair B/s")
    table = Printed(*columns, title="A week of churn; octets per second and node")
    for name, report in reports.items():
        table.add_row(
            name,
            f"{report['late_read']} of {report['plan']['late']}",
            str(min(hour["copies"] for hour in report["hours"])),
            f"{1 - report['hours'][-1]['original']:.0%}",
            f"{report['risen']} of {report['brought_back']}",
            str(report["rounds"]),
            f"{per_node_hour(report, 'lookup') / 3_600:.0f}",
            f"{per_node_hour(report, 'repair') / 3_600:.0f}",
        )
    console.print(table)


def main() -> None:
    """Simulate, print, write; plans that are not named keep the figures they have."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plans", nargs="*", metavar="PLAN", help=f"of {', '.join(PLANS)}; default: all")
    parser.add_argument("--output", type=Path, default=FIGURES / "repair.json")
    options = parser.parse_args()
    if unknown := set(options.plans) - PLANS.keys():
        parser.error(f"no such plan: {', '.join(sorted(unknown))}")
    known = json.loads(options.output.read_text())["plans"] if options.output.exists() else {}
    for name in options.plans or PLANS:
        known[name] = asdict(simulate(PLANS[name]))
        reports = {each: known[each] for each in PLANS if each in known}
        options.output.write_text(json.dumps({"command": "python -m bench.churn", "plans": reports}, indent=1) + "\n")
    show(Console(), {each: known[each] for each in PLANS if each in known})


if __name__ == "__main__":
    main()
