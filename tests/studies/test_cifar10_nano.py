"""The headline: who is compared at which MACs, the statistics by hand, and a whole run of a tiny size."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from scipy import stats

from nas.ranking.train_designs import DesignTrainer
from nas.ranking.trained_designs import TrainingTable
from nas.study.folder import Study
from nas.study.named_recipes.reader import load_recipe
from nas.training.retraining_job import RetrainingJob
from search_spaces.analogues import analogues
from search_spaces.cost import costs
from search_spaces.declaration import load_declaration
from search_spaces.errors import WorkError
from search_spaces.space import Space
from tests.helpers.scripts import load_script

FOLDER = Path(__file__).parents[2] / "studies" / "cifar10_nano"
TABLE = FOLDER.parent / "attention_table"
PARTS = ("baselines", "contenders", "rows", "summary", "run")


@pytest.fixture(scope="module")
def study() -> Any:
    """The scripts by name; they import one another as scripts of one folder do."""
    with pytest.MonkeyPatch.context() as patch:
        loaded = {}
        for name in PARTS:
            loaded[name] = load_script(FOLDER / f"{name}.py")
            patch.setitem(sys.modules, name, loaded[name])
        yield loaded


@pytest.fixture(scope="module")
def contenders(study: dict[str, ModuleType]) -> ModuleType:
    return study["contenders"]


@pytest.fixture(scope="module")
def summary(study: dict[str, ModuleType]) -> ModuleType:
    return study["summary"]


@pytest.fixture(scope="module")
def space() -> Space:
    return load_declaration(TABLE / "space.yaml").space(None, 16, 3, 10)


def test_designs_are_trained_as_those_of_the_table(study: dict[str, ModuleType]) -> None:
    recipe = load_recipe(str(FOLDER / "recipe.yaml"))
    assert recipe.retraining == load_recipe(str(TABLE / "recipe.yaml")).retraining
    small = load_recipe("small").supernet
    assert recipe.supernet == small


def test_published_families_have_the_macs_that_are_asked_for(contenders: ModuleType, space: Space) -> None:
    rows = contenders.published_contenders(space, 1.2e6, range(2))
    assert [row.name for row in rows] == list(contenders.FAMILIES)
    likenesses = dict(analogues(space))
    for row in rows:
        first, second = row.designs[0], row.designs[1]
        assert first == second and 1.14e6 <= costs(first).macs <= 1.26e6
        operators = {block.operator for stage in first.stages for block in stage.blocks}
        assert operators == {b.operator for stage in likenesses[row.name].stages for b in stage.blocks}
    # The widest that the space has are too narrow for convolutions alone.
    outside = {row.name for row in rows if not space.contains(row.designs[0])}
    assert outside == {"dwnet-like", "dwnet_dynamic-like"}


def test_homogeneous_designs_have_one_block_throughout(contenders: ModuleType, space: Space) -> None:
    rows = {row.name: row for row in contenders.homogeneous_contenders(space, 1.2e6, range(1))}
    assert next(iter(rows)) == "dwconv 3x3" and list(rows) == list(contenders.BLOCKS)
    assert rows.pop("refiner").designs == {}  # the first stage does not offer it
    for name, row in rows.items():
        blocks = [block for stage in row.designs[0].stages for block in stage.blocks]
        assert {block.operator for block in blocks} == {contenders.BLOCKS[name].operator}
        assert contenders.is_equal(row.designs[0], 1.2e6)
        if "3x3" in name:
            assert {block.settings["kernel_size"] for block in blocks} == {3}
        assert {block.settings.get("dynamic") == "homogeneous" for block in blocks} == {
            name.startswith("dynamic")
        }


def test_what_cannot_have_so_many_macs_says_which_are_nearest(contenders: ModuleType, space: Space) -> None:
    design = dict(analogues(space))["swin-like"]
    scaled, remark = contenders.bring_to_macs(
        space, design, 3e3
    )  # less than the narrowest of one block a stage has
    assert "cannot be scaled to 0.003M MACs" in remark and "the nearest have 0.0" in remark
    assert costs(scaled).macs > 3e3
    known, _ = contenders.bring_to_macs(space, design, float(costs(design).macs))
    assert contenders.is_equal(known, costs(design).macs)


def test_a_cheaper_design_is_compared_and_a_dearer_one_is_left_out(
    contenders: ModuleType, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    design = space.smallest
    monkeypatch.setattr(contenders, "bring_to_macs", lambda *_: (design, "as near as it comes"))
    macs = costs(design).macs
    for asked, seeds in ((0.9 * macs, []), (0.97 * macs, [0, 1]), (2.0 * macs, [0, 1])):
        row = contenders._contender("published", "name", space, design, asked, range(2))
        assert (list(row.designs), row.remark) == (seeds, "as near as it comes")


def test_random_designs_lie_in_the_band_and_those_of_a_table_come_first(
    contenders: ModuleType, space: Space
) -> None:
    table = TrainingTable(TABLE / "table.json")
    drawn = contenders.random_designs(space, 1.2e6, 8, table)
    assert len({design.digest for design in drawn}) == 8
    assert all(1.14e6 <= costs(design).macs <= 1.26e6 for design in drawn)
    known = [design.digest in table.designs for design in drawn]
    assert 0 < sum(known) < 8 and known == sorted(known, reverse=True)
    assert not any(table.designs[d.digest][1].endswith("-like") for d in drawn if d.digest in table.designs)
    assert contenders.random_designs(space, 1.2e6, 4) == contenders.random_designs(space, 1.2e6, 6)[:4]
    with pytest.raises(WorkError, match="only 0 designs have"):
        contenders.random_designs(space, 9e6, 1)


def test_a_paired_comparison_by_hand(summary: ModuleType) -> None:
    found = {"0": 51.0, "1": 52.0, "2": 53.0, "3": 54.0}
    compared = summary.compare(found, {"0": 50.0, "1": 50.0, "2": 50.0, "9": 0.0})
    # Differences 1, 2, 3: mean 2, standard error 1 / sqrt 3, t 4.303; of eight signs two are as far.
    assert (compared.difference, compared.wins, compared.seeds, compared.p) == (2, 3, 3, 0.25)
    assert compared.half == pytest.approx(4.3027 / 3**0.5, abs=1e-3)
    assert compared.cells() == "+2.0 | -0.5 to +4.5 | 3 of 3 | 0.250"
    assert summary.compare(found, {}) is None and summary.compare(found, {"0": 50.0}).half is None
    assert summary.compare(found, found).p == 1


def test_both_tests_are_what_scipy_computes(summary: ModuleType) -> None:
    one, other = [44.2, 45.1, 43.9, 46.0, 44.4], [43.8, 44.6, 44.3, 44.9, 43.0]
    compared = summary.compare(dict(enumerate(one)), dict(enumerate(other)))
    paired = stats.ttest_rel(one, other).confidence_interval()
    assert compared.difference - compared.half == pytest.approx(paired.low)
    signs = stats.permutation_test(
        (one, other), lambda x, y, axis: (x - y).mean(axis), permutation_type="samples"
    )
    assert compared.p == pytest.approx(signs.pvalue)
    difference, half = summary.compare_with_mean(one, other[:3])
    welch = stats.ttest_ind(one, other[:3], equal_var=False).confidence_interval()
    assert (difference - half, difference + half) == pytest.approx((welch.low, welch.high))
    assert summary.compare_with_mean(one, [40.0])[1] is None


def test_a_residual_network_has_at_most_the_macs_and_as_many_as_torch_counts(
    study: dict[str, ModuleType],
) -> None:
    baselines = study["baselines"]
    network = baselines.ResidualNetwork((4, 8), 3, 10)
    # Stem, two convolutions at 16 x 16, at 8 x 8 two and a shortcut, the classifier.
    by_hand = 256 * 27 * 4 + 2 * 256 * 9 * 16 + 64 * (9 * 4 * 8 + 9 * 64 + 4 * 8) + 8 * 10
    assert baselines.count_macs(network, 3, 16) == by_hand
    assert network(torch.zeros(2, 3, 16, 16)).shape == (2, 10)
    widths = baselines.residual_widths(1.2e6, 3, 16, 10)
    macs = baselines.count_macs(baselines.ResidualNetwork(widths, 3, 10), 3, 16)
    assert 0.95 <= macs / 1.2e6 <= 1


def row(group: str, name: str, accuracies: list[float]) -> dict[str, Any]:
    by_seed = {str(seed): value for seed, value in enumerate(accuracies)}
    return {"group": group, "name": name, "macs": [10**6], "remark": "in the space", "test_top1": by_seed}


def test_tables_say_means_differences_and_costs(summary: ModuleType) -> None:
    rows = [
        row("found", "found", [50, 52]),
        row("published", "swin-like", [48, 51]),
        row("published", "cswin-like", [47, 49]),
        row("homogeneous", "refiner", []),
        row("random", "best of 2", [50, 50]),
    ]
    phases = {"training the supernet": 360.0, "scoring designs with it": 36.0}
    target = {
        "macs": 1e6,
        "rows": rows,
        "random": [{"macs": 10**6, "test_top1": value, "seconds": 18.0} for value in (46.0, 48.0)],
        "searches": [{"core_seconds": phases}],
    }
    svm = {"mnist5k": {"val_top1": 94.96, "test_top1": 95.0}}
    lines = summary.to_tables({"targets": [target], "svm": svm})
    assert "- best published: swin-like; found less it +1.5 points, better with 2 of 2 seeds" in lines
    assert (
        "| published | swin-like | 1.00M | 49.5 ± 2.1 | +1.5 | -4.9 to +7.9 | 2 of 2 | 0.500 | in the space |"
        in lines
    )
    assert "| homogeneous | refiner | 1.00M | – | – | – | – | – | in the space |" in lines
    (mean,) = (line for line in lines if line.startswith("2 random designs"))
    assert "top-1 47.0 ± 1.4; found less their mean +4.0 (" in mean
    assert "| whole search | 0.110 |" in lines and "| 2 random designs | 0.010 |" in lines
    assert lines[-1] == "| mnist5k | 95.0 | 95.0 |"
    figure = summary.plot({"targets": [target]})
    assert [trace.name for trace in figure.data] == ["random, one training", "found", "published", "random"]
    assert list(figure.data[2].y) == [49.5, 48.0]


@pytest.mark.skipif(not (FOLDER / "results.json").exists(), reason="the study has not been run yet")
def test_the_notes_quote_what_the_results_say(
    summary: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    summary.main([])
    notes = (FOLDER / "NOTES.md").read_text(encoding="utf-8")
    for line in capsys.readouterr().out.splitlines():
        assert line in notes, line


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Images of two classes, one dark and one light."""
    for part, count in (("train", 24), ("val", 8), ("test", 8)):
        for label, shade in (("dark", 20), ("light", 200)):
            (tmp_path / "images" / part / label).mkdir(parents=True)
            for number in range(count):
                colour = (shade + number, number, 100 if part == "test" else 50)
                Image.new("RGB", (16, 16), colour).save(tmp_path / "images" / part / label / f"{number}.png")
    return tmp_path / "images"


def run_tiny(study: dict[str, ModuleType], images: Path, scratch: Path, *more: str) -> Any:
    words = ["--data", f"folder:{images}", "--scratch", str(scratch), "--budget", "1cpu", "--seeds", "1"]
    words += ["--epochs", "1", "--supernet-epochs", "1", "--designs", "2", "--trials", "4", *more]
    out = scratch / "results.json"
    study["run"].main([*words, "--out", str(out)])
    return json.loads(out.read_text(encoding="utf-8")) if out.exists() else None


def test_the_plan_is_printed_and_nothing_is_trained(
    study: dict[str, ModuleType], images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scratch = tmp_path / "scratch"
    assert run_tiny(study, images, scratch, "--dry-run", "--seeds", "5", "--repeats", "2") is None
    plan = capsys.readouterr().out
    assert "homogeneous refiner: left out (not every stage offers it)" in plan
    # Found, best random, residual network, 7 published and 6 homogeneous ones, ten times each, and two random ones.
    assert "5 searches and 162 trainings" in plan
    assert list(scratch.iterdir()) == []


def test_it_trains_fresh_networks_of_what_was_found_and_of_all_others(
    study: dict[str, ModuleType],
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    contenders: ModuleType,
) -> None:
    """Everything but the search itself and the workers."""
    trained: list[tuple[str, int]] = []

    def train(jobs: Sequence[RetrainingJob], data: Any, allocation: Any, on_run: Any) -> None:
        for job in jobs:
            trained.append((job.architecture.digest, job.recipe.seed))
            on_run(DesignTrainer({"data": data}, "cpu").train(job))

    two = load_declaration(TABLE / "space.yaml").space(None, 16, 3, 2)
    found = two.smallest

    def search(setup: Any, macs: float, seed: int) -> dict[str, Any]:
        row = {"seed": seed, "architecture": found.to_json(), "macs": costs(found).macs}
        return {**row, "core_seconds": {"training the supernet": 3.6}}

    monkeypatch.setattr(study["rows"], "train_designs", train)
    monkeypatch.setattr(study["run"], "run_search", search)
    monkeypatch.setattr(study["run"].ray_cluster, "start", lambda cluster: None)
    monkeypatch.setattr(
        study["run"], "classify_mnist5k", lambda scratch: {"val_top1": 95.0, "test_top1": 95.0}
    )
    monkeypatch.setattr(contenders, "FAMILIES", ("swin-like", "cswin-like"))
    blocks = {name: contenders.BLOCKS[name] for name in ("dwconv 5x5", "cswin", "refiner")}
    monkeypatch.setattr(contenders, "BLOCKS", blocks)
    scratch = tmp_path / "scratch"
    content = run_tiny(study, images, scratch)
    (target,) = content["targets"]
    rows = {each["name"]: each for each in target["rows"]}
    order = [
        "found",
        "dwconv 5x5",
        "cswin",
        "refiner",
        "swin-like",
        "cswin-like",
        "best of 2",
        "residual network",
    ]
    assert list(rows) == order
    assert [name for name, each in rows.items() if not each["test_top1"]] == ["refiner"]
    # Found first, then two of one block and two published ones; random designs last, and the best of them afresh.
    assert [seed for _, seed in trained] == [100, *[100] * 4, 0, 0, 100]
    assert trained[0] == (found.digest, 100)
    first, second = target["random"]
    better = first if first["val_top1"] >= second["val_top1"] else second
    assert trained[-1] == (better["digest"], 100)
    assert content["svm"]["these images"]["test_top1"] == 100  # light from dark
    assert (scratch / "headline.html").stat().st_size > 10**6
    runs = len(trained)
    again = run_tiny(study, images, scratch)
    assert len(trained) == runs
    assert (again["targets"], again["svm"]) == (content["targets"], content["svm"])


@pytest.mark.slow
def test_a_search_is_run_in_two_steps_and_what_it_trained_best_is_found(
    study: dict[str, ModuleType], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = study["run"]
    monkeypatch.setattr(run, "SEARCH_OPTIONS", ("--objective", "top1,macs", "--batch", "4"))
    words = ["--data", f"folder:{images}", "--scratch", str(tmp_path / "scratch"), "--budget", "1cpu"]
    words += ["--epochs", "1", "--supernet-epochs", "1", "--trials", "4"]
    setup = run.prepare(run.parse_arguments(words))
    row = run.run_search(setup, 1.2e6, 3)
    results = [each for each in Study(setup.study(1.2e6, 3)).results() if each["mode"] == "scratch"]
    assert row["trained"] == len(results) and row["val_top1"] == max(each["val_top1"] for each in results)
    assert row["macs"] <= 1.2e6 and row["seed"] == 3
    # A search divides batches among its workers; what counts in the end is trained as the table is.
    expected = {**asdict(setup.recipe), "seed": 3, "shards": 2}
    assert [each["recipe"] for each in results] == [expected] * len(results)
    assert len(row["core_seconds"]) == 3 and all(seconds > 0 for seconds in row["core_seconds"].values())

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("searched again")

    monkeypatch.setattr(run.subprocess, "run", refuse)
    assert run.run_search(setup, 1.2e6, 3) == row


def test_a_failed_search_ends_the_script_and_its_time_counts(
    study: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, codes = study["run"], [2, 0]
    clock = iter((10.0, 13.0, 20.0, 24.0))
    monkeypatch.setattr(run.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(run.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=codes.pop(0)))
    file = tmp_path / "seconds.json"
    with pytest.raises(SystemExit) as ended:
        run.run_timed(["search"], file)
    assert ended.value.code == 2
    assert run.run_timed(["search"], file) == 7
    assert run.run_timed(["search"], file) == 7 and not codes
