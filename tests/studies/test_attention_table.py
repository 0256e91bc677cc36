"""The attention table: what is in it, how it grows, and what is read from it."""

from __future__ import annotations

import math
import zipfile
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from nas.ranking.trained_designs import TrainedDesign, TrainingRun, TrainingTable
from search_spaces.cost import costs
from tests.helpers.scripts import load_script

FOLDER = Path(__file__).parents[2] / "studies" / "attention_table"


@pytest.fixture(scope="module")
def make() -> ModuleType:
    return load_script(FOLDER / "make.py")


@pytest.fixture(scope="module")
def query() -> ModuleType:
    return load_script(FOLDER / "query.py")


@pytest.fixture(scope="module")
def table() -> TrainingTable:
    return TrainingTable(FOLDER / "table.json")


def test_the_table_holds_designs_of_its_space_as_the_rule_chooses_them(
    make: ModuleType, table: TrainingTable
) -> None:
    space = make.table_space()
    chosen = make.choose_designs(space, len(table.designs))
    assert [(origin, design.digest) for origin, design in chosen] == [
        (origin, digest) for digest, (_, origin) in table.designs.items()
    ]
    assert all(space.contains(design) for design, _ in table.designs.values())
    assert {digest for digest, _, _ in table.runs} <= set(table.designs)


def test_every_training_has_a_curve_that_ends_at_its_accuracy(table: TrainingTable) -> None:
    for run in table.runs.values():
        assert len(run.val_curve) == run.epochs
        assert run.val_curve[-1] == run.val_top1
        assert 10 < run.val_top1 < 100 and run.seconds > 0


def test_the_rule_covers_costs_evenly_and_names_the_ends(make: ModuleType) -> None:
    space = make.table_space()
    chosen = make.choose_designs(space, 150)
    assert len({design.digest for _, design in chosen}) == 150
    assert (chosen[0], chosen[1]) == (("smallest", space.smallest), ("largest", space.largest))
    parts = Counter(origin for origin, _ in chosen if origin.endswith("MACs"))
    assert len(parts) == 10 and max(parts.values()) - min(parts.values()) <= 1
    assert make.choose_designs(space, 120) == chosen[:120]
    for origin, design in chosen[20:]:
        low, high = origin.removesuffix("M MACs").split("-")
        assert float(low) - 0.01 <= costs(design).macs / 1e6 <= float(high) + 0.01


def test_latencies_are_measured_once(
    make: ModuleType, query: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = TrainingTable(tmp_path / "table.json", {"images": "abc", "epochs": 1})
    designs = make.choose_designs(make.table_space(), 4)
    table.add_designs(designs[:3])
    asked: list[list[str]] = []

    def time_parts(parts: list[Any], device: Any) -> dict[str, float]:
        asked.append([part.name for part in parts])
        return {part.name: len(asked) + number / 8 for number, part in enumerate(parts)}

    monkeypatch.setattr(make, "time_parts", time_parts)
    make.measure_latencies(table)
    table.add_designs(designs[3:])
    make.measure_latencies(table)
    make.measure_latencies(table)
    digests = [design.digest for _, design in designs]
    assert asked == [[f"network {digest}" for digest in part] for part in (digests[:3], digests[3:])]
    read = TrainingTable(tmp_path / "table.json")
    assert [read.latencies[digest] for digest in digests] == [1.0, 1.125, 1.25, 2.0]
    assert "1 thread" in read.about["latency"]
    for number, digest in enumerate(digests):
        table.add_run(TrainingRun(digest, 0, 1, 40 + number, 40, (40 + number,), 1))
    (latency,) = query.latency_baseline(table.trained(1))
    assert latency.predictor == "latency" and latency.tau.value == 1.0


def test_images_are_split_by_their_order(
    make: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "images.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for number in range(5000):
            opened.writestr(f"cat/{number:04}.jpg", f"{number}")
    monkeypatch.setattr(make, "load_data", lambda spec, image_size: (spec, image_size))
    assert make.load_images(archive, tmp_path) == (f"folder:{tmp_path / 'images'}", 16)
    found = {
        part: sorted(int(path.read_text()) for path in (tmp_path / "images" / part / "cat").iterdir())
        for part in ("train", "val", "test")
    }
    assert found == {
        "train": list(range(400)),
        "val": list(range(4000, 4300)),
        "test": list(range(4500, 5000)),
    }


def test_what_the_table_has_is_not_trained_again(make: ModuleType, tmp_path: Path) -> None:
    designs = [design for _, design in make.choose_designs(make.table_space(), 45)]
    data: Any = SimpleNamespace(digest="images")
    empty = TrainingTable(tmp_path / "table.json", {"images": "images", "epochs": make.EPOCHS})
    jobs = list(make.plan_jobs(empty, designs, data, tmp_path))
    wanted = [(job.architecture.digest, job.recipe.seed, job.recipe.epochs) for job in jobs]
    # Two seeds of each, two more of 40, two lengths of 24.
    assert len(wanted) == len(set(wanted)) == 2 * 45 + 2 * 40 + 2 * 24
    assert wanted[:45] == [(design.digest, 0, 10) for design in designs]
    for digest, seed, epochs in wanted[:50]:
        run = TrainingRun(digest, seed, epochs, 50, 50, (50,) * epochs, 1)
        empty.runs[run.key] = run
    assert [job.name for job in make.plan_jobs(empty, designs, data, tmp_path)] == [
        job.name for job in jobs[50:]
    ]


def test_noise_is_the_deviation_over_seeds(query: ModuleType, make: ModuleType) -> None:
    designs = []
    for (origin, design), accuracies in zip(
        make.choose_designs(make.table_space(), 3), ((40, 42), (44, 48), (50,)), strict=True
    ):
        runs = tuple(
            TrainingRun(design.digest, seed, 10, value, value, (value,), 1)
            for seed, value in enumerate(accuracies)
        )
        designs.append(TrainedDesign(design, origin, runs))
    # Variances 2 and 8, whose mean is 5; means 41, 46 and 50.
    rows = list(query.describe_noise(designs))
    assert rows[2].endswith("(2 designs) | 2.24 |")
    assert rows[3].endswith("| 4.51 |")
    assert rows[4].endswith("| 41.0 to 50.0 |")


def test_lengths_are_compared_on_the_designs_that_have_both(
    query: ModuleType, make: ModuleType, tmp_path: Path
) -> None:
    found = TrainingTable(tmp_path / "table.json", {"images": "images", "epochs": 10})
    designs = make.choose_designs(make.table_space(), 6)
    found.add_designs(designs)
    for number, (_, design) in enumerate(designs):
        lengths = ((5, -number), (10, number)) if number < 5 else ((10, number),)
        for epochs, gain in (*lengths, *([(20, 0)] if number < 3 else [])):
            run = TrainingRun(design.digest, 0, epochs, 50 + gain, 50, (50,), 1)
            found.runs[run.key] = run
    shorter, macs = query.compare_lengths(found)  # three designs of 20 epochs are too few
    assert (shorter.predictor, shorter.designs, shorter.tau.value) == ("5 epochs, against 10", 5, -1)
    assert (macs.predictor, macs.designs) == ("MACs, against 10 epochs", 5)


def test_it_prints_what_the_notes_quote(
    query: ModuleType, table: TrainingTable, capsys: pytest.CaptureFixture[str]
) -> None:
    query.main([])
    printed, notes = capsys.readouterr().out, (FOLDER / "NOTES.md").read_text(encoding="utf-8")
    assert f"{len(table.runs)} trainings" in printed
    for line in printed.splitlines():
        if line.startswith("|"):
            assert line in notes, line


def test_attention_is_compared_where_it_costs_the_same(
    query: ModuleType, table: TrainingTable, tmp_path: Path
) -> None:
    """Planted: attention in the first stage gains 4 points with each factor e of MACs, and none at 1M."""
    designs = []
    for design, origin in table.designs.values():
        macs = costs(design).macs
        attention = [query.kind_of(block) == "attention" for block in design.stages[0].blocks]
        gain = 4 * math.log(macs / 1e6) * sum(attention) / len(attention)
        value = 50 + math.log(macs) + gain
        designs.append(
            TrainedDesign(design, origin, (TrainingRun(design.digest, 0, 10, value, 50, (value,), 1),))
        )
    _, _, first, second, _ = query.attention_by_cost(designs, at=(0.5, 1.0))
    assert "| -2.8 (-2.8 to -2.8) | " in first and ("| +0.0 " in first or "| -0.0 " in first)
    assert second.count("0.0 (") == 2


def test_lengths_compare_convolution_with_attention_of_its_cost(
    query: ModuleType, make: ModuleType, tmp_path: Path
) -> None:
    found = TrainingTable(tmp_path / "table.json", {"images": "images", "epochs": 10})
    designs = make.choose_designs(make.table_space(), 30)
    found.add_designs(designs)
    gains = {"smallest": 3.0, "lsa only, smallest": 1.0, "gsa only, smallest": 0.5}
    for origin, design in designs:
        for seed, epochs, luck in ((0, 10, 0), (1, 10, 2), (0, 20, 1)):
            value = 40 + gains.get(origin, 0.0) + luck
            run = TrainingRun(design.digest, seed, epochs, value, 50, (value,), 1)
            found.runs[run.key] = run
    head, _, smallest, published = query.attention_by_length(found)
    assert head == "| points, one seed | 10 epochs | 20 epochs |"
    # 3 - (1 + 0.5 + 0) / 3; a deviation of sqrt(2) over seeds, one design against three: sqrt(2 * 4/3).
    assert smallest.endswith("| +2.5 ± 1.6 | +2.5 ± 1.6 |")
    # One against two: sqrt(2 * 3/2).
    assert published.endswith("| +0.0 ± 1.7 | +0.0 ± 1.7 |")
