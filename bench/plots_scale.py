"""Pictures of docs/scale.md: lookups against the size of the network, and greedy routing by Hamming distance."""

from collections.abc import Mapping
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.plots import Draw

_COLOURS: Final = {1: "tab:green", 5: "tab:blue", 20: "tab:red"}
_RULES: Final = (
    ("hamming-few", "Hamming, 20 nearest", "tab:red", "-"),
    ("hamming-table", "Hamming, Kademlia's table", "tab:red", "--"),
    ("hamming-many", "Hamming, as many nearest", "tab:red", ":"),
    ("xor-few", "XOR, 20 nearest", "tab:blue", ":"),
    ("xor-table", "XOR, Kademlia's table", "tab:blue", "-"),
)


def draw_scale(values: Any, figure: Figure) -> None:
    """Draw hops, messages and table size against n."""
    hops, messages, table = figure.subplots(1, 3)
    for k, colour in _COLOURS.items():
        for down, style in ((0.0, "-"), (0.3, ":")):
            rows = [row for row in values["rows"] if row["k"] == k and row["down"] == down]
            nodes = [row["nodes"] for row in rows]
            label = f"k = {k}" if not down else None
            hops.plot(nodes, [row["hops"] for row in rows], style, color=colour, label=label)
            messages.plot(nodes, [row["messages"] for row in rows], style, color=colour, label=label)
    rows = [row for row in values["rows"] if row["k"] == 1 and not row["down"]]
    table.plot([row["nodes"] for row in rows], [row["table"] for row in rows], color="black")
    for axes, title in ((hops, "hops"), (messages, "messages per lookup"), (table, "contacts in the table")):
        axes.set_title(title)
        axes.set_xscale("log")
        axes.set_xlabel("nodes (dotted: 30 % down)" if axes is not table else "nodes")
        axes.set_ylim(bottom=0)
    hops.legend()


def draw_hamming(values: Any, figure: Figure) -> None:
    """Draw the share that arrives against n and against the bits of an ID, and how many neighbours it would take."""
    arrived, needed, bits = figure.subplots(1, 3)
    sizes = values["sizes"]
    for name, label, colour, style in _RULES:
        arrived.plot([row["nodes"] for row in sizes], [row[name]["arrived"] for row in sizes], style, color=colour)
        arrived.lines[-1].set_label(label)
    figure.legend(handles=arrived.lines, loc="outside lower center", ncols=len(_RULES), fontsize=7)
    _share(arrived, "share that arrives")
    arrived.set_xscale("log")
    arrived.set_xlabel("nodes, IDs of 256 bits")
    known = [row for row in sizes if row["needed"] is not None]
    needed.plot([row["nodes"] for row in known], [row["needed"] for row in known], color="tab:red", label="Hamming")
    needed.plot([row["nodes"] for row in sizes], [row["search"] for row in sizes], "--", color="tab:red")
    needed.lines[-1].set_label("asked, 20 kept, turning back")
    needed.plot([row["nodes"] for row in sizes], [row["table"] for row in sizes], color="tab:blue")
    needed.lines[-1].set_label("Kademlia's table")
    needed.set_xscale("log")
    needed.set_yscale("log")
    needed.set_ylim(1, 10_000)
    needed.set_title("neighbours for 95 %")
    needed.set_xlabel("nodes")
    needed.legend(fontsize=7)
    bits.plot([row["bits"] for row in values["bits"]], [row["arrived"] for row in values["bits"]], color="tab:red")
    bits.set_xscale("log", base=2)
    bits.set_xlabel("bits of an ID, 1,024 nodes")
    _share(bits, "Hamming, 20 nearest")


def _share(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.set_ylim(0, 1.05)


PLOTS: Final[Mapping[str, Draw]] = {"scale": draw_scale, "hamming": draw_hamming}
