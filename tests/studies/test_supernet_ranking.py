"""The script that compares supernets: epochs of equal cost, its ways to train, and its table by hand."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest
import torch

from nas.data.dataset import Data, load_data
from nas.ranking.trained_designs import TrainedDesign, TrainingRun
from search_spaces.cost import costs
from search_spaces.declaration import load_declaration
from search_spaces.space import Space
from tests.helpers.command_line import paint_folder
from tests.helpers.scripts import load_script

FOLDER = Path(__file__).parents[2] / "studies" / "supernet_ranking"


@pytest.fixture(scope="module")
def study() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path])
        yield load_script(FOLDER / "run.py")
    for name in (
        "make",
        "supernets",
        "order_rows",
        "baselines",
    ):  # names that other studies may have files of
        del sys.modules[name]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return load_data(f"folder:{paint_folder(tmp_path_factory.mktemp('images'))}")


@pytest.fixture(scope="module")
def supernets(study: ModuleType) -> Any:
    return sys.modules["supernets"]


def space_of(study: ModuleType, data: Data) -> Space:
    declaration = load_declaration(study.TABLE / "space.yaml")
    return declaration.space(None, data.image_size, data.in_channels, len(data.class_names))


def test_epochs_are_of_equal_macs(supernets: Any, study: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    space = study.table_space()
    monkeypatch.setattr(supernets, "STEPS", 20)
    ways, epochs = supernets.WAYS, supernets.equal_epochs
    sandwich = supernets.macs_of_step(ways["sandwich"], space)
    # The largest and the smallest design and two random ones.
    ends = costs(space.largest).macs + costs(space.smallest).macs
    assert ends < sandwich < ends + 2 * costs(space.largest).macs
    default = supernets.macs_of_step(supernets.DEFAULT, space)
    assert epochs(supernets.DEFAULT, 40, space) == 40
    assert epochs(ways["twice as long"], 40, space) == 80
    assert epochs(ways["sandwich"], 40, space) == round(40 * default / sandwich)
    first = supernets.macs_of_step(ways["largest path first"], space)
    assert (
        default < first < (default + costs(space.largest).macs) / 2
    )  # a quarter of the steps is the largest


def test_a_conflict_is_taken_out_of_the_first_gradient(supernets: Any) -> None:
    first, other = torch.tensor([1.0, -1.0]), torch.tensor([0.0, 2.0])
    # (1, -1) without its part along (0, 2) is (1, 0).
    assert torch.equal(supernets.add_without_conflict([first, other]), torch.tensor([1.0, 2.0]))
    agreeing = torch.tensor([1.0, 0.5])
    assert torch.equal(supernets.add_without_conflict([agreeing, other]), agreeing + other)
    assert supernets.add_without_conflict([first, None]) is first
    assert torch.equal(supernets.add_without_conflict([None, other, other]), 2 * other)


@pytest.mark.parametrize(
    "name",
    [
        "split by width in the second half",
        "taught by the largest design",
        "taught by a residual network",
        "filtered before training",
        "norms over an image",
    ],
)
def test_a_way_trains_what_designs_are_scored_with(
    supernets: Any, study: ModuleType, data: Data, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = space_of(study, data)
    monkeypatch.setattr(supernets, "POOL", 20)
    recipe = replace(supernets.table_recipe(), epochs=1)
    monkeypatch.setattr(supernets, "table_recipe", lambda: recipe)
    way = replace(supernets.WAYS[name], recipe=(("batch_size", 16),))
    monkeypatch.setattr(supernets, "OUTSIDE_EPOCHS", 1)
    outside = supernets.train_outside(data) if way.taught == supernets.OUTSIDE else None
    with way.norms():
        trained = supernets.train_supernets(way, space, data, 2, seed=0, outside=outside)
    widths = [24, 32, 48] if way.split else [None]
    assert list(trained.supernets) == widths and trained.seconds > 0
    # A design is scored with the copy that trained its width.
    for design in (space.smallest, space.largest):
        expected = trained.supernets[None if widths == [None] else design.stages[-1].dim]
        assert trained.of(design) is expected
    with way.norms():
        again = supernets.train_supernets(way, space, data, 2, seed=0, outside=outside)
    for key, supernet in trained.supernets.items():
        assert all(map(torch.equal, supernet.parameters(), again.supernets[key].parameters()))


def test_the_table_has_mean_and_deviation_over_seeds(study: ModuleType) -> None:
    designs = []
    space = study.table_space()
    for number, design in enumerate(
        sorted({costs(d).macs: d for d in space.neighbours(space.smallest)}.items())
    ):
        run = TrainingRun(design[1].digest, 0, 10, 40 + number, 40, (40,), 1)
        designs.append(TrainedDesign(design[1], "sampled", (run,)))
        if len(designs) == 16:
            break
    assert len(designs) == 16
    truth = {each.architecture.digest: each.val_top1 for each in designs}
    right = {digest: (value, -value) for digest, value in truth.items()}  # the loss is wrong
    wrong = {digest: (-value, value) for digest, value in truth.items()}
    rows = [
        {"way": "planted", "seed": n, "epochs": 4, "seconds": 60.0 + 20 * n, "scores": scores}
        for n, scores in enumerate((right, wrong))
    ]
    lines = study.to_table(rows, designs)
    # tau 1 and -1, by loss -1 and 1; regret@10 by loss 55 - 49 and 0.
    assert lines[2] == (
        "| planted | 2 | 4 | 70 ± 14 | 0.00 ± 1.41 | 0.00 ± 1.41 | 0.00 ± 1.41 | 3.0 ± 4.2 | 0.0 ± 67.2 "
        "| 47.5 ± 67.2 |"
    )
    (sizes,) = [line for line in lines if line.startswith("| MACs ")]
    assert sizes.startswith("| MACs | | | | | 1.00 | ")  # they rise with the accuracies here
    assert all(line.count("|") == lines[0].count("|") for line in lines)


def test_calibration_is_judged_on_designs_that_it_has_not_seen(study: ModuleType) -> None:
    space, designs = study.table_space(), []
    for number in range(40):
        design = space.sample(Random(number))
        top1 = 40 + number / 4
        designs.append(
            TrainedDesign(design, "sampled", (TrainingRun(design.digest, 0, 10, top1, 40, (40,), 1),))
        )
    scores = {each.architecture.digest: each.val_top1 for each in designs}
    rows = sys.modules["order_rows"].calibrated_rows("default", [scores], designs)
    assert [row.split("|")[1].strip() for row in rows] == [
        "default, calibrated by 16 trainings",
        "default, calibrated by 24 trainings",  # 40 would leave none
    ]
    # Of scores that are the truth much is left of their order, though features that say nothing join them.
    assert all(float(row.split("|")[6].split("±")[0]) > 0.6 for row in rows)


def test_a_filter_prefers_designs_of_every_cost_by_the_worth_of_their_weights(
    supernets: Any, study: ModuleType, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supernets, "POOL", 24)
    monkeypatch.setattr(supernets, "PARTS", 3)
    monkeypatch.setattr(supernets, "KEPT", 0.25)
    space = space_of(study, data)
    supernet = supernets.Supernet(space)
    preferred = supernets.prefer(supernet, data, 0)
    rng = Random("filter-0")
    pool = sorted((space.sample(rng) for _ in range(24)), key=lambda design: costs(design).macs)
    worth = supernets.worths(supernet, pool, data, 0)
    assert all(value > 0 for value in worth.values())
    parts = (pool[:8], preferred[:2]), (pool[8:16], preferred[2:4]), (pool[16:], preferred[4:])
    for part, kept in parts:
        assert kept == sorted(part, key=lambda design: -worth[design.digest])[:2]
    paths = supernets.of_designs(preferred)
    drawn = {paths(space, 0, step, 0.0)[0].architecture for step in range(80)}
    assert drawn == set(preferred)


def test_norms_over_an_image_do_not_know_the_others_of_a_batch(
    supernets: Any, study: ModuleType, data: Data
) -> None:
    space = space_of(study, data)
    # Plain convolution, whose norms are all over batches.
    network = supernets.Supernet(space).extract(space.smallest).train()
    images, _ = next(data.train.batches(8))
    alone, beside = images[:2], torch.cat([images[:2], 3 * images[2:]])
    with torch.no_grad():
        assert not torch.allclose(network(alone), network(beside)[:2], atol=1e-4)
        with supernets.norms_per_image():
            assert torch.allclose(network(alone), network(beside)[:2], atol=1e-5)
        assert not torch.allclose(network(alone), network(beside)[:2], atol=1e-4)


def test_rows_of_the_results_file_are_kept(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(study, "load_images", lambda *_: None)
    out = tmp_path / "results.json"
    committed = FOLDER / "results.json"
    out.write_bytes(committed.read_bytes())
    words = ["--images", "none.zip", "--scratch", str(tmp_path), "--out", str(out), "--only", "default"]
    study.main(words)  # trains nothing, as there are no images
    assert out.read_bytes() == committed.read_bytes()
    assert "| default | 3 | 40 | " in capsys.readouterr().out
    with pytest.raises(SystemExit, match="has supernets of 40 epochs; give another --out for 4"):
        study.main([*words, "--epochs", "4"])


@pytest.mark.skipif(not (FOLDER / "results.json").exists(), reason="the study has not been run yet")
def test_notes_have_the_tables_of_the_results(study: ModuleType) -> None:
    content = json.loads((FOLDER / "results.json").read_text())
    table = study.TrainingTable(study.TABLE / "table.json")
    notes = (FOLDER / "NOTES.md").read_text()
    missing = [line for line in study.to_table(content["rows"], table.trained(10)) if line not in notes]
    assert not missing
