"""`p2pmail plan`: the answer for people and for programs, and errors that name the option."""

import json

import pytest

from tests.gateway.cli.conftest import Command


def test_the_papers_question(p2pmail: Command) -> None:
    """k, the loss terms (1) to (3), storage and traffic, and that so many copies are not possible."""
    ended = p2pmail("plan", "--p", "0.5", "--target", "0.99999", "--operations", "100")
    assert (ended.code, ended.err) == (0, "")
    lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert lines == [
        "k = 24 (equation (6): 23.25), w = 13",
        "An action of 100 operations then succeeds at the first attempt with 0.99999404; wanted: 0.99999.",
        "(1) all k holders down 6e-08",
        "(2) risen nodes closer, of 1000 2e-46",
        "(3) new nodes closer, 24 joining 9.8e-73",
        "read fails: all causes, exactly, k asked 2.3e-07",
        "read fails: 2k asked, as is done here 6e-08",
        "write finds 13 of 1000 nodes up 1",
        "stored until read, 8192 octets, 1 recipient 282.4 KiB on all nodes together",
        "sent to store and to read 373.9 KiB",
        "Not possible here: 20 is the largest k; with k = 20 the action succeeds with 0.99990464.",
    ]


def test_a_domain_of_three(p2pmail: Command) -> None:
    """Where there are fewer nodes than copies called for, that is the limit."""
    ended = p2pmail("plan", "--p", "0.9", "--target", "0.999", "--nodes", "3", "--recipients", "2")
    assert "k = 4" in ended.out
    assert "Not possible here: there are 3 nodes; with k = 3 the action succeeds with 0.998001." in ended.out
    assert "2 recipients" in ended.out


def test_possible(p2pmail: Command) -> None:
    """Nothing is said of limits that are not met."""
    ended = p2pmail("plan", "--p", "0.95")
    assert ended.out.startswith("k = 4 (")
    assert "Not possible" not in ended.out


def test_for_programs(p2pmail: Command) -> None:
    """--json gives the same as one object."""
    answer = json.loads(p2pmail("plan", "--p", "0.5", "--target", "0.99999", "--operations", "100", "--json").out)
    assert (answer["k"], answer["w"], answer["possible"]) == (24, 13, False)
    assert answer["loss"]["all_down"] == 0.5**24
    assert set(answer["cost"]) == {"body", "entry", "stored", "sent"}
    assert answer["question"]["operations"] == 100


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--p", "0"),
        ("--p", "1"),
        ("--p", "nan"),
        ("--p", "-1"),
        ("--p", "often"),
        ("--target", "1"),
        ("--target", "0"),
        ("--target", "nan"),
        ("--operations", "0"),
        ("--operations", "1000000001"),
        ("--operations", "2.5"),
        ("--nodes", "0"),
        ("--joining", "-1"),
        ("--size", "0"),
        ("--size", str(1 << 40)),
        ("--recipients", "0"),
        ("--recipients", "1001"),
    ],
)
def test_wrong_options(p2pmail: Command, option: str, value: str) -> None:
    """What cannot be is refused with exit code 2 and the option's name."""
    usual = {"--p": "0.9", "--target": "0.999", "--operations": "1000000000"} | {option: value}
    ended = p2pmail("plan", *(part for pair in usual.items() for part in pair))
    assert (ended.code, ended.out) == (2, "")
    assert option in ended.err


@pytest.mark.parametrize("up", ["0.001", "0.999999"])
@pytest.mark.parametrize("target", ["1e-9", "0.999999999"])
def test_extremes(p2pmail: Command, up: str, target: str) -> None:
    """The least and most of everything are answered at once."""
    for nodes, joining in (("1", "1000000000"), ("1000000000", "1"), ("1000000000", "1000000000"), ("1", "1")):
        ended = p2pmail(
            "plan", "--p", up, "--target", target, "--nodes", nodes, "--joining", joining, "--recipients", "1000"
        )
        assert ended.code == 0
