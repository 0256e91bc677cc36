"""The search's own time is split into its phases and compared with others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest

from nas.bench import (
    search,
)
from nas.bench.setup import Setup
from nas.bench.spaces import load_space
from search_spaces.architecture import Architecture
from search_spaces.declaration import parse_declaration
from tests.helpers.bench import QUICK

SMALL = """
name: small
blocks:
  mlp_ratio: [1, 2]
  operators: {lsa: {window_size: [2, 4], pos: [none]}}
scales: {one: {images: 16, stem: conv3x3_s2, stages: [{dim: 8, num_heads: 2, depth: [1]}]}}
"""


def test_a_search_is_split_into_its_phases(tmp_path: Path) -> None:
    marks, seconds = search.ours(load_space(QUICK), 110, tmp_path)
    assert [mark.trials for mark in marks] == [100, 110] and seconds > 0
    for mark in marks:
        assert 0 < mark.propose and 0 < mark.store and mark.propose + mark.store <= mark.wall
        assert mark.proposals >= mark.trials
    row = search._share("x", *marks)
    assert row.name.endswith("trials 101-110")
    spent = row.details["ms_per_trial"]
    assert sum(value for name, value in spent.items() if name != "total") == pytest.approx(spent["total"])


def test_evaluations_are_not_counted_as_overhead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now, quick = [0.0], search.looked_up

    def slow(design: Architecture) -> float:
        now[0] += 5.0
        return quick(design)

    monkeypatch.setattr(search, "looked_up", slow)
    monkeypatch.setattr(
        search, "time", SimpleNamespace(perf_counter=lambda: now[0], thread_time=lambda: now[0])
    )
    marks, _ = search.ours(load_space(QUICK), 40, tmp_path)
    assert now[0] >= 40 * 5.0 and marks[-1].wall == marks[-1].core == 0


def test_a_search_that_runs_out_of_designs_has_its_last_mark(tmp_path: Path) -> None:
    space = parse_declaration(SMALL, "small").space("one", 16, 3, 3)
    marks, _ = search.ours(space, 100, tmp_path)
    assert [mark.trials for mark in marks] == [space.size] == [4]


def test_a_search_against_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "ray_tune", lambda space, trials, folder: 4.0)
    rows = search.bench(replace(QUICK, trials=4))
    assert [row.against[:8] for row in rows] == ["", "", "study.op", "Ray Tune"]
    assert rows[3].theirs == 0.5
    assert [row.target is None for row in rows] == [False, True, True, True]


@pytest.mark.slow
def test_ray_tune_searches_the_same_space(tiny: Setup, tmp_path: Path) -> None:
    assert search.ray_tune(load_space(tiny), 2, tmp_path) > 0


def test_looked_up_accuracies_are_those_of_the_design(tiny: Setup) -> None:
    space = load_space(tiny)
    designs = [space.sample(Random(seed)) for seed in range(8)]
    values = [search.looked_up(design) for design in designs]
    assert values == [search.looked_up(design) for design in designs]
    assert all(0 <= value <= 100 for value in values) and len(set(values)) == len(set(designs))
