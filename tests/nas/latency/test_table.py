"""A table adds up, survives its file, is refused where it is foreign, and limits a search."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import pytest

from nas.latency.parts import timed_parts
from nas.latency.table import read_table
from nas.search.analytic import AnalyticScores
from nas.search.loop import Search, SearchConfig
from nas.search.objectives import Goal
from nas.search.trial_store import Store
from search_spaces.architecture import Architecture
from search_spaces.errors import CheckpointError, RequestError
from search_spaces.space import Space
from tests.helpers.latency import make_table


def test_latency_is_the_sum_of_the_parts(forked: Space) -> None:
    table = make_table(forked)
    rng = Random(1)
    for design in (forked.sample(rng) for _ in range(20)):
        stem, *rest = [table.entries[part.name] for part in timed_parts(design)]
        assert len(rest) == sum(len(stage.blocks) for stage in design.stages) + len(design.stages)
        assert table.latency_ms(design) == pytest.approx(stem + sum(rest))


def test_a_design_of_elsewhere_is_refused(space: Space, forked: Space) -> None:
    with pytest.raises(RequestError, match=f"no stem .* design {forked.smallest.digest}"):
        make_table(space).latency_ms(forked.smallest)


def changed(**values: object) -> Callable[[dict[str, Any]], object]:
    return lambda content: {**content, **values}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: [], "not a latency table"),
        (lambda content: {"front": []}, "not a latency table"),
        (changed(format=2), "format 2, not 1"),
        (changed(device=None), "'device' is None"),
        (changed(batch="1"), "'batch' is '1'"),
        (changed(image_size=[16]), r"'image_size' is \[16\]"),
        (changed(latency_ms={"head": -1.0}), "'head' -1.0 ms"),
        (changed(latency_ms={"head": float("inf")}), "'head' inf ms"),
        (changed(latency_ms={"head": True}), "'head' True ms"),
        (changed(provenance="mine"), "without 'provenance'"),
    ],
)
def test_wrong_content(
    change: Callable[[dict[str, Any]], object], message: str, space: Space, tmp_path: Path
) -> None:
    path = tmp_path / "latency.json"
    path.write_text(json.dumps(change(make_table(space).to_json())))
    with pytest.raises(CheckpointError, match=message) as error:
        read_table(path, space)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, b'{"format": 1, "latency', b"\xff\xfe\x00"])
def test_wrong_file(content: bytes | None, space: Space, tmp_path: Path) -> None:
    path = tmp_path / "latency.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"latency\.json"):
        read_table(path, space)


def test_a_table_of_another_space_is_refused(space: Space, forked: Space, tmp_path: Path) -> None:
    path = tmp_path / "latency.json"
    path.write_text(json.dumps(make_table(forked).to_json()))
    with pytest.raises(RequestError, match=f"{forked.digest}.*not of tiny/nano"):
        read_table(path, space)


def test_a_table_of_another_device_is_used_with_a_warning(
    space: Space, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, table = tmp_path / "latency.json", make_table(space)
    path.write_text(json.dumps(table.to_json()))
    assert read_table(path, space) == table
    assert capsys.readouterr().err == ""
    path.write_text(json.dumps(replace(table, device="Abacus").to_json()))
    assert read_table(path, space).device == "Abacus"
    assert "those of Abacus, which is not in this machine" in capsys.readouterr().err


def test_slow_designs_are_rejected_before_evaluation(space: Space, tmp_path: Path) -> None:
    table, evaluated = make_table(space), list[Architecture]()
    rng = Random(2)
    limit = median(table.latency_ms(space.sample(rng)) for _ in range(50))

    def evaluate(
        designs: list[Architecture], required_top1: list[float], more: object = None
    ) -> Iterator[dict[int, dict[str, float]]]:
        evaluated.extend(designs)
        yield {index: {"top1": 50.0} for index in range(len(designs))}

    goal = Goal(("top1", "latency_ms"), (("latency_ms", limit),))
    store = Store(f"sqlite:///{tmp_path}/study.db", "study", goal.objectives, space.choices)
    rows = Search(
        space, store, SearchConfig(goal, batch_size=10, trials=25), evaluate, AnalyticScores(table)
    ).run(lambda row, n: None)
    assert evaluated and all(table.latency_ms(design) <= limit for design in evaluated)
    rejected = [row for row in rows if row.rejected is not None]
    assert rejected and all(row.scores["latency_ms"] > limit for row in rejected)
    assert all((row.rejected or "").startswith("latency_ms") for row in rejected)
    assert "top1" not in {name for row in rejected for name in row.scores}


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "given.json: No such file"), ("{}", "is not a latency table")],
)
def test_the_command_line_refuses_a_wrong_table(
    content: str | None, message: str, nas: Any, space_file: Path, images: Path, tmp_path: Path
) -> None:
    path = tmp_path / "given.json"
    if content is not None:
        path.write_text(content)
    command = ["search", "--space", space_file, "--data", f"folder:{images}", "--budget", "1cpu"]
    outcome = nas(*command, "--latency-table", path, "--study", tmp_path / "study")
    assert outcome.code == 2
    assert message in outcome.err
    assert not (tmp_path / "study").exists()
