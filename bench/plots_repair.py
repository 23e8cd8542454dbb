"""Picture of docs/repair.md: copies and traffic over a week of churn."""

from collections.abc import Mapping
from typing import Any, Final

from matplotlib.figure import Figure

from bench.plots import Draw

_SMOOTHED: Final = 6  # hours


def draw_repair(values: Any, figure: Figure) -> None:
    """Draw the fewest copies with and without repair, the first holders that are left, and octets per node."""
    copies, holders, traffic = figure.subplots(1, 3)
    for name, colour in (("bounded", "tab:blue"), ("unrepaired", "tab:red")):
        if name not in values["plans"]:
            continue
        hours = values["plans"][name]["hours"]
        days = [hour["hour"] / 24 for hour in hours]
        label = "with repair" if name == "bounded" else "without"
        copies.plot(days, [hour["copies"] for hour in hours], color=colour, label=label)
        holders.plot(days, [hour["original"] for hour in hours], color=colour, label=label)
    week = values["plans"]["bounded"]
    hours = week["hours"]
    for purpose, colour in (("lookup", "tab:green"), ("repair", "tab:blue")):
        rates = [hour["octets"].get(purpose, 0) / hour["up"] / 3_600 for hour in hours]
        smooth = [sum(rates[max(0, at - _SMOOTHED + 1) : at + 1]) / min(at + 1, _SMOOTHED) for at in range(len(rates))]
        traffic.plot([hour["hour"] / 24 for hour in hours], smooth, color=colour, label=purpose)
    copies.axhline(week["plan"]["w"], color="grey", linestyle=":", label="w")
    copies.set_title("fewest copies that are up")
    holders.set_title("first holders left")
    traffic.set_title("octets/s per node")
    for axes in (copies, holders, traffic):
        axes.set_xlabel("days")
        axes.set_ylim(bottom=0)
        axes.legend()


PLOTS: Final[Mapping[str, Draw]] = {"repair": draw_repair}
