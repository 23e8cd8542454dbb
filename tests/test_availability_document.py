"""docs/availability.md: every number in it is computed here anew."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import availability as runs
from p2pcore import availability as a
from p2pcore import params
from p2pcore.client.plan import Question, plan

DOCS = Path(__file__).parent.parent / "docs"
PRINTED = {  # Table 2 of the paper: p_l1, then p_l2 for I = 100, 1,000, 10,000
    0.99: ("10^-10", "0", "10^-15", "10^-15"),
    0.9: ("10^-8", "10^-8", "10^-8", "10^-8"),
    0.5: ("0.03", "10^-4", "10^-4", "10^-4"),
    0.3: ("0.17", "10^-3", "10^-3", "10^-3"),
}
PRINTED_3 = ("10^-10", "10^-15", "10^-20")
NETWORKS = (100, 1_000, 10_000)
K = 5
NINES = (0.99, 0.999, 0.9999, 0.99999)
NO_NUMBERS = re.compile(  # names, and words of the paper
    r"""
    `[^`\n]*` | \[decision\ \d+ | \]\([^)]*\) | "[^"]*" | §\d | equation\ \(\d\) | \(\d\) | Table\ 2 | Figure\ 2
    | p_l\d | \b2k\b | \^k | \^2k | \b1\ -\ | \b1/[IudN] | \blog\ 10\b | \b451\b | <sup>\d
    """,
    re.VERBOSE,
)


def sci(value: float) -> str:
    return "0" if value == 0 else f"{value:.2g}"


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _alternative(up: float, nodes: int) -> float:
    """Equation (2) with 1/I in place of p(1-p)/I: what the printed cells agree with."""
    down = round((1 - up) * nodes)
    most = min(down, 30)  # later terms are below 1e-30
    return sum(math.comb(down, i) / float(nodes) ** i for i in range(K, most + 1))


def table_2() -> Iterator[str]:
    yield row("p_l3", "", *(f"{p} | {sci(a.joined_closer(K, i, K))}" for p, i in zip(PRINTED_3, NETWORKS, strict=True)))
    for up, (one, *two) in PRINTED.items():
        cells = (f"{p} | {sci(a.risen_closer(up, K, i))}" for p, i in zip(two, NETWORKS, strict=True))
        yield row(up, f"{one} | {sci(a.all_down(up, K))}", *cells)


def table_2_explained() -> Iterator[str]:
    for up, (_, *two) in PRINTED.items():
        cells = (f"{p} | {sci(_alternative(up, i))}" for p, i in zip(two, NETWORKS, strict=True))
        yield row(up, *cells, sci(a.asked_in_vain(up, K)))


def wrong() -> dict[tuple[float, int], float]:
    """Cells of p_l2 that are not equation (2)'s, and by what factor."""
    return {
        (up, nodes): 10.0 ** int(cell.removeprefix("10^")) / a.risen_closer(up, K, nodes)
        for up, (_, *cells) in PRINTED.items()
        for cell, nodes in zip(cells, NETWORKS, strict=True)
        if cell != "0"
    }


def newcomers() -> Iterator[str]:
    measured = {(each["joining"], each["k"]): each for each in figures()["losses"] if each["joining"]}
    for joining in runs.JOINING:
        for k in runs.JOINED_COPIES:
            exact = a.newcomers_closest(runs.NODES, joining, k)
            shown = runs.share(measured[joining, k]["asked_in_vain"])
            yield row(runs.NODES, joining, k, sci(a.joined_closer(k, runs.NODES, joining)), sci(exact), sci(shown))


def losses() -> Iterator[str]:
    for each in figures()["losses"]:
        up, k = each["up"], each["k"]
        if each["joining"] or k not in (2, 3, 5):
            continue
        names = ("all_down", "asked_in_vain", "k_asked", "widened_asked")
        shown = [sci(runs.share(each[name])) for name in names]
        exact = [a.all_down(up, k), a.asked_in_vain(up, k), a.read_fails(up, k, k), a.read_fails(up, k, 2 * k)]
        pairs = (f"{sci(value)} / {share}" for value, share in zip(exact, shown, strict=True))
        yield row(up, k, sci(a.risen_closer(up, k, runs.NODES)), *pairs)


def figure_2() -> Iterator[str]:
    for up in runs.FIGURE_UPS:
        cells = [
            ", ".join(str(a.copies_needed(up, target, operations)) for target in NINES)
            for operations in runs.OPERATIONS
        ]
        yield row(up, *cells, f"{a.copies_per_nine(up):.1f}")


def quorum() -> Iterator[str]:
    for k, w in ((1, 1), (3, 2), (3, 3), (5, 3), (5, 5)):
        cells = [
            f"{a.write_finds_quorum(up, k, w):.6g} | {sci(a.read_fails_after_quorum(up, k, w))}" for up in (0.9, 0.99)
        ]
        yield row(k, w, *cells)


def repair() -> Iterator[str]:
    for each in figures()["churn"]["repairs"]:
        every = f"{each['every']:g} h" if each["every"] else "never"
        yield row(every, sci(each["by_equations"]), sci(runs.share(each["failed"])))


def waits() -> Iterator[str]:
    for up in (0.5, 0.9):
        dead = (1 - up) / up
        yield row(up, f"{dead:.2g}", f"{dead * params.REQUEST_TIMEOUT:,.0f} ms", f"{dead * params.HEDGE_DELAY:,.0f} ms")


def phrases() -> Iterator[str]:
    churn = figures()["churn"]
    example = plan(Question(up=0.5, target=0.99999, operations=100))
    yield f"p = 0.9 and k = {K} give {sci(0.1**K)} with p as up and {sci(0.9**K)} with p as down"
    yield f"for k = {K}. The columns are I = {NETWORKS[0]:,}, {NETWORKS[1]:,} and {NETWORKS[2]:,}."
    yield f"N = {K} gives it"
    yield f"for p = 0.9** is printed as {PRINTED[0.9][0]}; equation (1) gives {sci(a.all_down(0.9, K))}"
    factors = sorted(wrong().values())
    yield f"by factors between {factors[0]:,.0f} and {factors[-1]:.1e}"
    explained, unexplained = [up for up in PRINTED if up < 0.95], [up for up in PRINTED if up > 0.95]
    yield f"The rows for p up to {max(explained)} are those"
    yield f"the row for {unexplained[0]} is neither"
    yield f"row for p = 0.9, where both are {PRINTED[0.9][0]}"
    exact, printed = a.newcomers_closest(100, K, K), a.joined_closer(K, 100, K)
    yield f"For I = 100 and N = {K} it is {sci(exact)}, not {sci(printed)}"
    yield f"about {K}! = {math.factorial(K)} times as much"
    yield f"targets of {', '.join(f'{target:.5g} %' for target in (100 * nine for nine in NINES[:-1]))} and 99.999 %"
    yield f"| p | {' | '.join(f'n = {operations:,}' for operations in runs.OPERATIONS)} | copies per nine |"
    yield f"from n = {runs.OPERATIONS[0]:,} to n = {runs.OPERATIONS[2]:,}"
    yield f"n = {runs.OPERATIONS[1]:,} and n = {runs.OPERATIONS[2]:,} are twice 50 and twice 5,000 recipients"
    yield "| k | w | p = 0.9: write succeeds | read fails | p = 0.99: write succeeds | read fails |"
    yield f"{runs.TRIALS:,} worlds of {runs.NODES} nodes, seed {runs.SEED}"
    yield f"k = {example.k}, more than the largest k of {params.MAX_K}"
    yield f"with which such an action reaches {example.with_most:.6f}"
    yield f"{churn['trials']:,} objects, k = {churn['k']}"
    yield f"up and down times with means of {churn['mean_up']:g} h, read {churn['hours']} h"
    copies = [a.copies_needed(0.5, target, 2) for target in (NINES[0], NINES[-1])]
    yield f"{copies[0]} to {copies[1]} copies for p = 0.5 and two operations"
    ups = [f"{a.copies_per_nine(up):.1f}" for up in (0.75, 0.9)]
    yield f"between {ups[0]} (p = 0.75) and {ups[1]} (p = 0.9)"
    yield f"{a.copies_per_nine(0.3):.1f} for p = 0.3"
    more = [f"{a.copies(up, 0.99, 10_000) - a.copies(up, 0.99, 2):.1f}" for up in (0.9, 0.75, 0.5, 0.3)]
    yield f"{more[0]}, {more[1]}, {more[2]} and {more[3]} more copies for p = 0.9, 0.75, 0.5 and 0.3"
    yield f"{params.UPTIME_NODES} nodes at most"
    yield f"the last {params.UPTIME_WINDOW // params.DAY} days"
    yield f"{params.UPTIME_SAMPLES} samples"
    yield f"target {params.AVAILABILITY_TARGET:g} for an action of {params.AVAILABILITY_OPERATIONS} operations"
    yield f"{params.HEDGE_DELAY} ms"
    yield f"{params.REQUEST_TIMEOUT // params.SECOND} s"
    yield f"the {params.VERSIONED_REPLICAS} closest nodes"
    yield f"With p = 0.9 two or three nodes of three are up {a.write_finds_quorum(0.9, 3, 2):.3g} of the time"


def figures() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCS / "figures" / "availability.json").read_text())
    return found


def text() -> str:
    return " ".join((DOCS / "availability.md").read_text().split())


TABLES = (table_2, table_2_explained, newcomers, losses, figure_2, quorum, repair, waits, phrases)


@pytest.mark.parametrize("part", TABLES, ids=lambda part: part.__name__)
def test_stated(part: Any) -> None:
    """What is computed stands in the document, digit for digit."""
    document = text()
    assert [line for line in part() if " ".join(line.split()) not in document] == []


def order(value: float) -> str:
    """The order of magnitude as Table 2 prints it."""
    return "0" if value == 0 else f"10^{math.floor(math.log10(value) + 1e-9)}"


def test_claims_on_table_2() -> None:
    """(1) agrees but for one cell, (3) with N = k; (2) agrees in one cell; (2) with 1/I does up to p = 0.9."""
    assert [order(a.joined_closer(K, nodes, K)) for nodes in NETWORKS] == ["10^-11", "10^-16", "10^-21"]
    assert [a.joined_closer(K, nodes, K) for nodes in NETWORKS] == pytest.approx([1e-10, 1e-15, 1e-20], rel=0.05)
    one = [sci(a.all_down(up, K)) for up in PRINTED]
    assert one == ["1e-10", "1e-05", "0.031", "0.17"]
    assert [printed[0] for printed in PRINTED.values()] == ["10^-10", "10^-8", "0.03", "0.17"]
    cells = {(up, nodes) for up in PRINTED for nodes in NETWORKS}
    assert cells - set(wrong()) == {(0.99, 100)}
    assert a.risen_closer(0.99, K, 100) == 0
    assert min(wrong().values()) > 300
    for up, (_, *printed) in PRINTED.items():
        assert ([order(_alternative(up, nodes)) for nodes in NETWORKS] == printed) == (up < 0.95)
        assert a.asked_in_vain(up, K) == pytest.approx(a.all_down(up, K))


def test_nothing_else() -> None:
    """The document has no number that is not computed here."""
    rest = text()
    for line in sorted((" ".join(line.split()) for part in TABLES for line in part()), key=len, reverse=True):
        rest = rest.replace(line, " ")
    rest = NO_NUMBERS.sub(" ", rest)
    left = [rest[max(0, found.start() - 40) : found.end() + 20] for found in re.finditer(r"\d+", rest)]
    assert left == []


def test_runs_again() -> None:
    """The Monte-Carlo figures beside the document come out again, and the curves are equation (6)."""
    measured = json.loads(json.dumps(runs.figures()))
    assert measured == figures()
    copies = json.loads((DOCS / "figures" / "availability_copies.json").read_text())
    assert json.loads(json.dumps(runs.copies())) == copies
