"""Objectives and quantities as people write them; constraints as they are applied."""

from __future__ import annotations

import pytest

from nas.search.objectives import OBJECTIVES, Goal, parse_objectives, parse_quantity
from search_spaces.errors import RequestError


def test_objectives_in_the_order_given() -> None:
    assert parse_objectives("top1") == ("top1",)
    assert parse_objectives(" macs , top1 ") == ("macs", "top1")
    assert parse_objectives("top1,macs,latency_ms,params") == ("top1", "macs", "latency_ms", "params")
    assert parse_objectives("loss,macs") == ("loss", "macs")


@pytest.mark.parametrize("text", ["", "top2", "top1,", "top1,top1", "top1 macs", "TOP1"])
def test_wrong_objectives(text: str) -> None:
    with pytest.raises(RequestError, match=r"^--objective: "):
        parse_objectives(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("600M", 6e8),
        ("4.3G", 4.3e9),
        ("250k", 2.5e5),
        ("250K", 2.5e5),
        ("1e6", 1e6),
        (" 12 ", 12),
        ("0.5m", 5e5),
    ],
)
def test_quantity(text: str, value: float) -> None:
    assert parse_quantity("--max-macs", text) == value


@pytest.mark.parametrize("text", ["", "M", "600X", "-5", "0", "inf", "nan", "1e400", "6 00M", "600MM", "1_0"])
def test_wrong_quantity(text: str) -> None:
    if text == "1_0":  # Python's own spelling of 10
        assert parse_quantity("--max-macs", text) == 10
        return
    with pytest.raises(RequestError, match=r"^--max-macs must be a positive number such as 600M"):
        parse_quantity("--max-macs", text)


def test_goal() -> None:
    goal = Goal(("top1", "latency_ms", "macs"), (("macs", 100.0), ("params", 10.0)))
    assert goal.directions == ["maximize", "minimize", "minimize"]
    assert goal.needs_latency
    assert goal.values({"macs": 5, "top1": 90.0, "latency_ms": 1.5, "seconds": 3}) == [90.0, 1.5, 5.0]
    assert goal.format_violation({"macs": 100, "params": 10}) is None
    assert goal.format_violation({"macs": 101, "params": 11}) == "macs 101 > 100"
    assert goal.format_violation({"macs": 1, "params": 25e6}) == "params 25M > 10"
    assert goal.violations({"macs": 101, "params": 4}) == {"macs": 0.01, "params": -0.6}


def test_latency_is_needed_by_constraints_too() -> None:
    assert not Goal().needs_latency
    assert Goal(("top1",), (("latency_ms", 3.0),)).needs_latency


def test_directions_are_optunas() -> None:
    assert {each.direction for each in OBJECTIVES.values()} == {"maximize", "minimize"}
