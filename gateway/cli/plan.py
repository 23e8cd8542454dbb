"""`p2pmail plan`: how many copies a target calls for, by the paper's §4, and what they cost."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gateway.cli.options import plain_console
from p2pcore import params
from p2pcore.client.plan import Plan, Question, plan

_LEAST_UP, _MOST_UP = 0.001, 0.999999  # beyond, k is in the thousands, or 1 whatever is wanted
_MOST = 10**9


def register(app: typer.Typer) -> None:
    @app.command("plan")
    def plan_command(
        up: Annotated[float, typer.Option("--p", help="The probability that a node is up: what status estimates.")],
        target: Annotated[
            float, typer.Option(help="The probability that a whole action succeeds at the first attempt.")
        ] = params.AVAILABILITY_TARGET,
        operations: Annotated[
            int, typer.Option(help="Operations in one action: 2 for reading a message, 100 for 50 recipients.")
        ] = params.AVAILABILITY_OPERATIONS,
        nodes: Annotated[int, typer.Option(help="Nodes in the network (the paper's I).")] = 1_000,
        joining: Annotated[
            int, typer.Option(help="Nodes that join before the message is read (N); 0: as many as k.")
        ] = 0,
        size: Annotated[int, typer.Option(help="Octets of the message.")] = 8 << 10,
        recipients: Annotated[int, typer.Option(help="Recipients of the message.")] = 1,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    ) -> None:
        """Say how many copies (k) of every object a target calls for, what may be lost then, and what they cost."""
        _check("--p", up, _LEAST_UP, _MOST_UP)
        if not 0 < target < 1:
            raise typer.BadParameter(f"{target} is not between 0 and 1", param_hint="--target")
        _check("--operations", operations, 1, _MOST)
        _check("--nodes", nodes, 1, _MOST)
        _check("--joining", joining, 0, _MOST)
        _check("--size", size, 1, params.MAX_BODY)
        _check("--recipients", recipients, 1, params.MAX_DELETE_RIGHTS)
        answer = plan(Question(up, target, operations, nodes, joining, size, recipients))
        if as_json:
            print(json.dumps(asdict(answer), indent=2))
        else:
            show(answer, plain_console())


def _check(option: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:  # also for what is no number
        raise typer.BadParameter(f"{value} is not between {least} and {most}", param_hint=option)


def show(answer: Plan, console: Console) -> None:
    """Print a plan for a person."""
    asked = answer.question
    console.print(f"k = {answer.k} (equation (6): {answer.exact:.2f}), w = {answer.w}")
    console.print(
        f"An action of {asked.operations} operations then succeeds at the first attempt with {answer.reached:.8g}; "
        f"wanted: {asked.target:.8g}."
    )
    table = Table(box=None, show_header=False, pad_edge=False)
    for row in _rows(answer):
        table.add_row(*row)
    console.print(table)
    for line in _limits(answer):
        console.print(line)


def _rows(answer: Plan) -> list[tuple[str, str]]:
    asked, loss, cost = answer.question, answer.loss, answer.cost
    joining = asked.joining or answer.k
    recipients = f"{asked.recipients} recipient{'s' if asked.recipients > 1 else ''}"
    return [
        ("(1) all k holders down", f"{loss.all_down:.2g}"),
        (f"(2) risen nodes closer, of {asked.nodes}", f"{loss.risen_closer:.2g}"),
        (f"(3) new nodes closer, {joining} joining", f"{loss.joined_closer:.2g}"),
        ("read fails: all causes, exactly, k asked", f"{loss.k_asked:.2g}"),
        ("read fails: 2k asked, as is done here", f"{loss.widened_asked:.2g}"),
        (f"write finds {answer.w} of {asked.nodes} nodes up", f"{answer.quorum:.8g}"),
        (f"stored until read, {asked.size} octets, {recipients}", f"{_octets(cost.stored)} on all nodes together"),
        ("sent to store and to read", _octets(cost.sent)),
    ]


def _limits(answer: Plan) -> list[str]:
    if answer.possible:
        return []
    why = f"there are {answer.most} nodes" if answer.most < params.MAX_K else f"{answer.most} is the largest k"
    return [f"Not possible here: {why}; with k = {answer.most} the action succeeds with {answer.with_most:.8g}."]


def _octets(count: int) -> str:
    size: float = count
    for unit in ("octets", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"
