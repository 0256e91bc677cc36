"""Measuring fills a table, is fair to parts, leaves the process as it was, and predicts whole networks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from random import Random
from statistics import median

import pytest
import torch

from nas.latency import measure, timing
from nas.latency.measure import measure_table, network_to_parts_ratio, time_parts, usual_conditions
from nas.latency.parts import (
    TimedPart,
    network_part,
    parts_to_time,
    reference_designs,
    space_parts,
    timed_parts,
)
from nas.latency.table import LatencyTable, read_table
from nas.runtime import interrupt
from search_spaces.declaration import load_declaration
from search_spaces.space import Space
from tests.helpers.latency import make_table

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def table(space: Space) -> LatencyTable:
    """The tiny space, measured on this machine."""
    return measure_table(space, CPU)


def test_measured_table(space: Space, table: LatencyTable) -> None:
    assert set(table.entries) == {part.name for part in space_parts(space)}
    assert all(0 < entry < 1000 for entry in table.entries.values())
    assert (table.dtype, table.batch, table.image_size) == ("float32", 1, (16, 16))
    assert table.space == space.digest
    assert table.device.endswith(", 1 thread")
    assert {"commit", "packages", "time"} <= set(table.provenance)


def test_json_round_trip(table: LatencyTable, space: Space, tmp_path: Path) -> None:
    path = tmp_path / "latency.json"
    path.write_text(json.dumps(table.to_json()))
    assert read_table(path, space) == table
    assert read_table(path, space).latency_ms(space.largest) == table.latency_ms(space.largest)


def test_a_cpu_is_measured_with_one_image_in_float32() -> None:
    assert usual_conditions(CPU) == (1, torch.float32)


def test_a_design_of_ten_times_the_work_is_slower() -> None:
    # Where the difference is several times the noise of a busy machine, unlike that of the tiny space.
    space = load_declaration("twins_cswin").space("nano", 28, 1, 10)
    designs = [network_part(space.largest), network_part(space.smallest)]
    times = time_parts(designs, CPU, 8)
    assert times[designs[0].name] > times[designs[1].name]


def test_measuring_leaves_the_process_as_it_was(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_ROUNDS", 3)
    monkeypatch.setattr(timing, "_RUN_SECONDS", 0.0)
    threads, progress = torch.get_num_threads(), list[tuple[int, int]]()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    half = measure_table(
        space, CPU, batch=2, dtype=torch.bfloat16, on_progress=lambda *now: progress.append(now)
    )
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    assert (half.dtype, half.batch) == ("bfloat16", 2)
    total = 4 * len(parts_to_time(space))
    assert progress == [(done, total) for done in range(total + 1)]


def test_equal_work_is_measured_once(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    built = list[object]()
    monkeypatch.setattr(timing, "_ROUNDS", 1)
    monkeypatch.setattr(measure, "initialise", built.append)
    twice = [replace(part, name=f"{part.name} {copy}") for part in space_parts(space) for copy in "ab"]
    times = time_parts(twice, CPU)
    assert 2 * len(built) == len(times) == len(twice)
    assert all(times[f"{name[:-1]}b"] == entry for name, entry in times.items())


def test_entries_are_scaled_to_whole_networks(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    def one(found: Sequence[TimedPart], *others: object) -> dict[str, float]:
        # Every part takes 1 ms, and a network 1.5 ms a part.
        lengths = {network_part(design).name: len(list(timed_parts(design))) for design in sampled}
        return {part.name: 1.5 * lengths[part.name] if part.name in lengths else 1.0 for part in found}

    sampled = reference_designs(space)
    monkeypatch.setattr(measure, "time_parts", one)
    made = measure_table(space, CPU)
    assert set(made.entries.values()) == {1.5}
    assert made.provenance["whole_over_parts"] == 1.5
    assert made.latency_ms(space.largest) == 1.5 * len(list(timed_parts(space.largest)))


def test_an_interruption_ends_it(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "_requested", True)
    with pytest.raises(interrupt.Interrupted):
        measure_table(space, CPU)


def kendall_tau(one: list[float], other: list[float]) -> float:
    pairs = list(combinations(zip(one, other, strict=True), 2))
    return sum(1 if (a[0] - b[0]) * (a[1] - b[1]) > 0 else -1 for a, b in pairs) / len(pairs)


def predicted_and_measured(space: Space, designs: int) -> tuple[list[float], list[float]]:
    """Return the latency of random designs as a table predicts it and as their networks have it, in ms."""
    rng = Random(1)
    chosen = [space.sample(rng) for _ in range(designs)]
    references, wholes = chosen[: designs // 3], list(map(network_part, chosen[designs // 3 :]))
    pieces = {part.name: part for design in chosen for part in timed_parts(design)}
    # Predicted and measured in the same rounds: what slows the machine slows both.
    times = time_parts((*pieces.values(), *map(network_part, references), *wholes), CPU)
    factor = network_to_parts_ratio(times, references)
    entries = {name: factor * times[name] for name in pieces}
    table = replace(make_table(space), entries=entries)
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
