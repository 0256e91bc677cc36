"""Latency: the table adds up, survives its file, is refused where it is foreign, and predicts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import pytest
import torch

from nas.latency import table as latency
from nas.latency import timing
from nas.latency.table import (
    LatencyTable,
    Part,
    all_parts,
    device_name,
    measure,
    parts,
    read_table,
    time_parts,
    whole,
    whole_over_parts,
)
from nas.runtime import interrupt
from nas.search.loop import Search, SearchConfig, analytic_costs
from nas.search.objectives import Goal
from nas.search.trial_store import Store
from search_spaces.architecture import Architecture
from search_spaces.declaration import load_declaration, parse_declaration
from search_spaces.errors import CheckpointError, RequestError
from search_spaces.space import Space
from supernet.subnet import build_subnet

CPU = torch.device("cpu")

# Skeletons to choose from, and two stages on maps of the same size for all of them.
FORKED = """
name: forked
blocks:
  mlp_ratio: [1, 2]
  operators:
    dwconv: {kernel_size: 3, dynamic: [none, homogeneous]}
    lsa: {window_size: 2, pos: [none, rpe, ape]}
scales:
  one:
    images: 16
    stem: [patch4x4, conv7x7_s4, conv3x3_s2]
    stages:
      - {dim: 8, num_heads: 2, depth: [1, 3]}
      - {dim: 12, num_heads: 4, depth: 2, downsample: [conv2x2, conv3x3, merging]}
"""


@pytest.fixture(scope="module")
def forked() -> Space:
    return parse_declaration(FORKED, "forked.yaml").space("one", 16, 3, 5)


@pytest.fixture(scope="module")
def table(space: Space) -> LatencyTable:
    """The tiny space, measured on this machine."""
    return measure(space, CPU)


def made_up(space: Space) -> LatencyTable:
    """A table in which a part takes as many milliseconds as its place in the space."""
    entries = {part.name: float(number) for number, part in enumerate(all_parts(space), start=1)}
    return LatencyTable(entries, device_name(CPU), "float32", 1, space.image_size, space.digest, {"seed": 0})


def test_parts_of_the_space_are_those_of_its_designs(forked: Space) -> None:
    reachable = {part.name: part for part in all_parts(forked)}
    rng, seen = Random(0), set[str]()
    for _ in range(400):
        for part in parts(forked.sample(rng)):
            assert reachable[part.name] == part
            seen.add(part.name)
    assert seen == set(reachable)
    # 3 stems; on the maps of 2 sizes that they make: 3 downsamplings, 10 blocks a stage, the head
    assert len(seen) == 3 + 2 * (3 + 10 + 10 + 1)


@pytest.mark.parametrize("scale", ["nano", "tiny", "small"])
def test_names_tell_parts_apart(scale: str) -> None:
    declaration = load_declaration("twins_cswin")
    space = declaration.space(scale, declaration.scales[scale][0], 3, 10)
    # Were two parts called alike, fewer would be left than are built differently.
    found = all_parts(space)
    assert len(found) == len({part.name for part in found})
    blocks = {
        (block, feature_map)
        for feature_map, stage in zip(space.feature_maps(), space.stages, strict=True)
        for block in stage.blocks
    }
    assert len([part for part in found if part.name.startswith("block ")]) == len(blocks)


def test_parts_chain_to_the_whole_network(forked: Space) -> None:
    design = forked.largest
    x = torch.rand(2, 3, 16, 16)
    with torch.inference_mode():
        for part in parts(design):
            assert x.shape[1:] == part.shape
            x = part.blueprint.build().eval()(x)
        assert x.shape == build_subnet(design).eval()(torch.rand(2, 3, 16, 16)).shape


def test_latency_is_the_sum_of_the_parts(forked: Space) -> None:
    made = made_up(forked)
    rng = Random(1)
    for design in (forked.sample(rng) for _ in range(20)):
        stem, *rest = [made.entries[part.name] for part in parts(design)]
        assert len(rest) == sum(len(stage.blocks) for stage in design.stages) + len(design.stages)
        assert made.latency_ms(design) == pytest.approx(stem + sum(rest))


def test_a_design_of_elsewhere_is_refused(space: Space, forked: Space) -> None:
    with pytest.raises(RequestError, match=f"no stem .* design {forked.smallest.digest}"):
        made_up(space).latency_ms(forked.smallest)


def test_measured_table(space: Space, table: LatencyTable) -> None:
    assert set(table.entries) == {part.name for part in all_parts(space)}
    assert all(0 < entry < 1000 for entry in table.entries.values())
    assert (table.dtype, table.batch, table.image_size) == ("float32", 1, (16, 16))
    assert table.space == space.digest
    assert table.device.endswith(", 1 thread")
    assert {"commit", "packages", "time"} <= set(table.provenance)


def test_larger_designs_are_slower(space: Space, table: LatencyTable) -> None:
    assert table.latency_ms(space.largest) > table.latency_ms(space.smallest)


def test_measuring_leaves_the_process_as_it_was(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_ROUNDS", 3)
    monkeypatch.setattr(timing, "_RUN_SECONDS", 0.0)
    threads, told = torch.get_num_threads(), list[tuple[int, int]]()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    half = measure(space, CPU, batch=2, dtype=torch.bfloat16, progress=lambda *now: told.append(now))
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    assert (half.dtype, half.batch) == ("bfloat16", 2)
    total = 4 * (len(all_parts(space)) + latency._WHOLES)
    assert told == [(done, total) for done in range(total + 1)]


def test_equal_work_is_measured_once(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    built = list[object]()
    monkeypatch.setattr(timing, "_ROUNDS", 1)
    monkeypatch.setattr(latency, "initialise", built.append)
    twice = [replace(part, name=f"{part.name} {copy}") for part in all_parts(space) for copy in "ab"]
    times = time_parts(twice, CPU)
    assert 2 * len(built) == len(times) == len(twice)
    assert all(times[f"{name[:-1]}b"] == entry for name, entry in times.items())


def test_entries_are_scaled_to_whole_networks(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    def one(found: Sequence[Part], *others: object) -> dict[str, float]:
        # Every part takes 1 ms, and a network 1.5 ms a part.
        lengths = {whole(design).name: len(list(parts(design))) for design in sampled}
        return {part.name: 1.5 * lengths[part.name] if part.name in lengths else 1.0 for part in found}

    rng = Random(0)
    sampled = [space.sample(rng) for _ in range(latency._WHOLES)]
    monkeypatch.setattr(latency, "time_parts", one)
    made = measure(space, CPU)
    assert set(made.entries.values()) == {1.5}
    assert made.provenance["whole_over_parts"] == 1.5
    assert made.latency_ms(space.largest) == 1.5 * len(list(parts(space.largest)))


def test_an_interruption_ends_it(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "_asked", True)
    with pytest.raises(interrupt.Interrupted):
        measure(space, CPU)


def test_json_round_trip(table: LatencyTable, space: Space, tmp_path: Path) -> None:
    path = tmp_path / "latency.json"
    path.write_text(json.dumps(table.to_json()))
    assert read_table(path, space) == table
    assert read_table(path, space).latency_ms(space.largest) == table.latency_ms(space.largest)


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
    path.write_text(json.dumps(change(made_up(space).to_json())))
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
    path.write_text(json.dumps(made_up(forked).to_json()))
    with pytest.raises(RequestError, match=f"{forked.digest}.*not of tiny/nano"):
        read_table(path, space)


def test_a_table_of_another_device_is_used_with_a_warning(
    space: Space, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, made = tmp_path / "latency.json", made_up(space)
    path.write_text(json.dumps(made.to_json()))
    assert read_table(path, space) == made
    assert capsys.readouterr().err == ""
    path.write_text(json.dumps(replace(made, device="Abacus").to_json()))
    assert read_table(path, space).device == "Abacus"
    assert "those of Abacus, which is not in this machine" in capsys.readouterr().err


def test_slow_designs_are_rejected_before_evaluation(space: Space, tmp_path: Path) -> None:
    made, evaluated = made_up(space), list[Architecture]()
    rng = Random(2)
    limit = median(made.latency_ms(space.sample(rng)) for _ in range(50))

    def evaluate(designs: list[Architecture], bars: list[float]) -> Iterator[dict[int, dict[str, float]]]:
        evaluated.extend(designs)
        yield {index: {"top1": 50.0} for index in range(len(designs))}

    def cheap(design: Architecture) -> dict[str, float]:
        return {**analytic_costs(design), "latency_ms": made.latency_ms(design)}

    goal = Goal(("top1", "latency_ms"), (("latency_ms", limit),))
    store = Store(f"sqlite:///{tmp_path}/study.db", "study", goal.objectives, space.choices)
    rows = Search(space, store, SearchConfig(goal, batch_size=10, trials=25), evaluate, cheap).run(
        lambda row, n: None
    )
    assert evaluated and all(made.latency_ms(design) <= limit for design in evaluated)
    rejected = [row for row in rows if row.rejected is not None]
    assert rejected and all(row.scores["latency_ms"] > limit for row in rejected)
    assert all((row.rejected or "").startswith("latency_ms") for row in rejected)
    assert "top1" not in {name for row in rejected for name in row.scores}


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read the latency table"), ("{}", "is not a latency table")],
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


def kendall_tau(one: list[float], other: list[float]) -> float:
    pairs = list(combinations(zip(one, other, strict=True), 2))
    return sum(1 if (a[0] - b[0]) * (a[1] - b[1]) > 0 else -1 for a, b in pairs) / len(pairs)


def predicted_and_measured(space: Space, designs: int) -> tuple[list[float], list[float]]:
    """Return the latency of random designs as a table predicts it and as their networks have it, in ms."""
    rng = Random(1)
    chosen = [space.sample(rng) for _ in range(designs)]
    references, wholes = chosen[: designs // 3], list(map(whole, chosen[designs // 3 :]))
    pieces = {part.name: part for design in chosen for part in parts(design)}
    # Predicted and measured in the same rounds: what slows the machine slows both.
    times = time_parts((*pieces.values(), *map(whole, references), *wholes), CPU)
    factor = whole_over_parts(times, references)
    entries = {name: factor * times[name] for name in pieces}
    table = replace(made_up(space), entries=entries)
    return [table.latency_ms(design) for design in chosen[designs // 3 :]], [
        times[part.name] for part in wholes
    ]


@pytest.mark.slow
def test_predicted_latency_ranks_as_measured(capsys: pytest.CaptureFixture[str]) -> None:
    space = load_declaration("twins_cswin").space("nano", 28, 1, 10)
    tau, error = 0.0, 0.0
    # A neighbour on the machine can spoil one measurement, hardly two.
    for _ in range(2):
        predicted, measured = predicted_and_measured(space, 18)
        tau = kendall_tau(predicted, measured)
        error = median(abs(p / m - 1) for p, m in zip(predicted, measured, strict=True))
        with capsys.disabled():
            print(f"\nlatency of 12 designs: Kendall tau {tau:.2f}, median error {error:.0%}")
        if tau > 0.6:
            break
    assert tau > 0.6, f"Kendall tau {tau:.2f}, median error {error:.0%}"
