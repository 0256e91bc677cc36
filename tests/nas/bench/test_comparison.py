"""Sides take turns on the inputs, and unequal work is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from nas.bench import (
    comparison,
)
from nas.bench.comparison import Side, check_agreement, random_inputs, time_in_turn
from search_spaces.errors import WorkError
from tests.helpers.bench import QUICK


def test_sides_take_turns_forwards_and_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(comparison, "_RUN_SECONDS", 0.0)
    sides: list[Side] = [lambda x, name=name: calls.append(name) for name in "ABC"]  # type: ignore[misc]
    times = time_in_turn(sides, [torch.zeros(1)], QUICK, 3)
    assert "".join(calls) == "AABBCC" + "ABC" + "CBA" + "ABC"  # each is warmed up by two runs
    assert [len(of) for of in times] == [3, 3, 3]


def test_inputs_rotate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "_RUN_SECONDS", 0.0)
    seen: list[float] = []
    time_in_turn([lambda x: seen.append(float(x))], [torch.tensor(0.0), torch.tensor(1.0)], QUICK, 3)
    assert seen == [0, 1, 0, 1, 0]
    assert len(random_inputs((2, 3), QUICK)) == 1


def test_unequal_work_is_refused() -> None:
    assert check_agreement(torch.ones(2), torch.ones(2) + 1e-6, "x") < 1e-5
    for other in (torch.ones(2) + 1e-3, torch.full((2,), torch.nan)):
        with pytest.raises(WorkError, match="do not do equal work"):
            check_agreement(torch.ones(2), other, "x")
    with pytest.raises(WorkError, match="equal work"):
        check_agreement(torch.ones(2), torch.ones(3), "x")


@pytest.mark.parametrize(("threads", "clock"), [(1, "core"), (2, "wall")])
def test_one_thread_is_timed_on_its_core(threads: int, clock: str) -> None:
    assert replace(QUICK, threads=threads).clock == clock
