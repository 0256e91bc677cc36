"""The whole main job in one command, and every number that it reports computed again from its files alone."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from nas.study.folder import Study
from tests.helpers.command_line import TINY_SPACE
from tests.helpers.patience import PATIENCE

CLASSES = ("dark", "light", "middle")


def paint(root: Path) -> None:
    """Write declared parts whose images a few steps can tell apart, though not all of them."""
    rng = np.random.default_rng(3)
    for part, count in (("train", 20), ("val", 9), ("test", 11)):
        for name, mean in zip(CLASSES, (60, 180, 120), strict=True):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.normal(mean + rng.normal(0, 35), 40, (16, 16, 3)).clip(0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:02}.png")


def run(folder: Path, *arguments: object) -> Any:
    """Run a command in a process of its own; return the JSON that it prints."""
    command = [sys.executable, "-m", "nas", *map(str, arguments), "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def logits_of(export: Path, images: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an exported model's logits on a folder of classes, read and normalised by hand, and the labels."""
    spec = importlib.util.spec_from_file_location("exported_model", export / "model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = json.loads((export / "config.json").read_text())
    files = [(path, label) for label, name in enumerate(CLASSES) for path in (images / name).iterdir()]
    mean, std = (np.array(config[key], dtype=np.float32) for key in ("mean", "std"))
    pixels = np.stack([np.asarray(Image.open(path), dtype=np.float32) / 255 for path, _ in files])
    tensor = torch.from_numpy(((pixels - mean) / std).transpose(0, 3, 1, 2).astype(np.float32))
    with torch.inference_mode():
        return module.load_model().eval()(tensor), torch.tensor([label for _, label in files])


def read_results(folder: Path) -> list[dict[str, Any]]:
    files = (folder / "studies/study/retrained").glob("*/*/result.json")
    return [json.loads(path.read_text()) for path in files]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Run the main job: of four candidates one is trained to the end, in both modes, and exported."""
    folder = tmp_path_factory.mktemp("job")
    paint(folder / "images")
    (folder / "tiny.yaml").write_text(TINY_SPACE)
    outcome = run(
        folder, "search", "--space", "tiny.yaml", "--data", "folder:images", "--budget", "1cpu,8trials",
        "--batch", 4, "--epochs", 2, "--batch-size", 12, "--study", "study", "--objective", "top1,macs",
        "--retrain", 1, "--retrain-epochs", 3, "--export",
    )  # fmt: skip
    return folder, outcome


def test_the_best_design_is_retrained_in_both_modes(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, results = finished[0], read_results(finished[0])
    front = json.loads((folder / "studies/study/front.json").read_text())
    assert front["front"] and len(results) == 2
    assert {result["mode"] for result in results} == {"scratch", "inherit"}
    assert {(r["val_images"], r["test_images"]) for r in results} == {(27, 33)}


def test_candidates_were_trained_alone_and_the_better_ones_went_on(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    folder, outcome = finished
    study = folder / "studies/study"
    record, results = json.loads((study / "halving.json").read_text()), read_results(folder)
    # Four candidates of one design that is trained to the end: 3 epochs are paused after the first and the second.
    assert (record["epochs"], record["rungs"]) == (3, [{"epochs": 1, "keep": 2}, {"epochs": 2, "keep": 1}])
    assert sorted((each["out_after"] or 3, len(each["val_top1"])) for each in record["candidates"]) == [
        (1, 1), (1, 1), (2, 2), (3, 2),
    ]  # fmt: skip
    by_epoch = [
        {
            each["digest"]: each["val_top1"][epoch]
            for each in record["candidates"]
            if epoch in each["val_top1"]
        }
        for epoch in ("1", "2")
    ]
    assert all(max(known, key=lambda digest: known[digest]) in following
               for known, following in zip(by_epoch, [by_epoch[1], {r["digest"] for r in results}], strict=True)
               if list(known.values()).count(max(known.values())) == 1)  # fmt: skip
    (winner,) = {each["digest"] for each in record["candidates"] if each["out_after"] is None}
    assert {result["digest"] for result in results} == {winner}
    # What it had reached at its pauses is in the history of the training that went on.
    history = (study / f"retrained/{winner}/scratch/history.csv").read_text().splitlines()[1:]
    assert [float(line.split(",")[1]) for line in history[:2]] == [known[winner] for known in by_epoch]
    front = {entry["digest"] for entry in json.loads((study / "front.json").read_text())["front"]}
    assert {each["digest"] for each in record["candidates"] if each["on_front"]} <= front
    assert {each["why"] for each in record["candidates"]} >= {"front's best"}
    assert outcome["halving"] == record
    page = (study / "report.html").read_text()
    assert "Supernet's front and retrained front" in page and all(
        each["digest"] in page for each in record["candidates"]
    )


def test_the_report_shows_how_all_learned_and_what_it_cost(finished: tuple[Path, dict[str, Any]]) -> None:
    folder = finished[0] / "studies/study"
    times = json.loads((folder / "times.json").read_text())
    assert [each["phase"] for each in times] == ["supernet", "search", "retraining"]
    assert all((each["device"], each["devices"]) == ("cpu", 1) and each["seconds"] > 0 for each in times)
    losses = [row.split(",")[:2] for row in (folder / "supernet/history.csv").read_text().splitlines()]
    assert [row[0] for row in losses] == ["epoch", "1", "2"]
    page = (folder / "report.html").read_text()
    assert "Learning curves" in page and '"learning-supernet"' in page and '"learning-retrained"' in page
    spent = run(finished[0], "report", "study")["spent"]
    (supernet, *_) = spent
    assert supernet["device_hours"]["cpu"] == pytest.approx(times[0]["seconds"] / 3600)


def test_a_search_begins_with_what_anybody_would_try(finished: tuple[Path, dict[str, Any]]) -> None:
    """Eight designs are fewer than the starts: a third of them at most are such, the smallest first."""
    trials = [trial for trial in Study(finished[0] / "studies/study").records() if trial.evaluated]
    assert [trial.origin for trial in trials] == ["smallest", "gsa only, smallest"] + ["sampled"] * 6


def test_the_best_on_validation_images_is_exported_with_its_own_accuracies(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    folder, _ = finished
    (export,) = (folder / "studies/study/exports").iterdir()
    results = read_results(folder)
    highest = max(result["val_top1"] for result in results)
    best = [result for result in results if result["val_top1"] == highest]
    assert export.name in {result["digest"] for result in best}
    found = {}
    for part in ("val", "test"):
        logits, labels = logits_of(export, folder / "images" / part)
        found[part] = 100 * float((logits.argmax(1) == labels).double().mean())
    reported = [{"val": result["val_top1"], "test": result["test_top1"]} for result in best]
    assert pytest.approx(found) in reported
    metrics = json.loads((export / "config.json").read_text())["metrics"]
    assert metrics["top-1 on the test images (%)"] == pytest.approx(found["test"])
    assert metrics["top-1 on the validation images (%)"] == pytest.approx(found["val"])


def test_evaluating_the_export_gives_the_test_accuracy(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = finished
    (export,) = (folder / "studies/study/exports").iterdir()
    logits, labels = logits_of(export, folder / "images/test")
    scores = run(folder, "evaluate", export, "--data", "folder:images")
    assert scores["top1"] == pytest.approx(100 * float((logits.argmax(1) == labels).double().mean()))
    assert scores["images"] == 33


def test_the_weights_are_the_average_of_a_training_that_learned(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    results = read_results(finished[0])
    assert max(result["val_top1"] for result in results) > 50  # chance is 33


def test_the_order_by_the_supernet_is_compared_with_trainings_alone(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    folder, study = finished[0], finished[0] / "studies/study"
    asked = ("rank", "study", "--designs", 5, "--repeated", 4, "--budget", "1cpu")
    ranking = run(folder, *asked)
    rows = ranking["designs"]
    # What the main job retrained from scratch is not trained again.
    (alone,) = [result for result in read_results(folder) if result["mode"] == "scratch"]
    (retrained,) = [row for row in rows if row["digest"] == alone["digest"]]
    assert retrained["val_top1_by_seed"]["0"] == alone["val_top1"]
    # The supernet's scores are those of the search.
    scores = {trial.architecture.digest: trial.scores for trial in Study(study).records() if trial.evaluated}
    assert retrained["scores"]["supernet"] == scores[alone["digest"]]["top1"]
    assert retrained["scores"]["supernet loss"] == pytest.approx(-scores[alone["digest"]]["loss"], rel=1e-6)
    repeated = [row for row in rows if len(row["val_top1_by_seed"]) == 2]
    assert len(rows) in (5, 6) and len(repeated) == 4
    by_supernet, truth = ([row["scores"]["supernet"] for row in rows], [row["val_top1"] for row in rows])
    tau = stats.kendalltau(by_supernet, truth).statistic
    assert ranking["predictors"][0]["tau"]["value"] == (None if np.isnan(tau) else pytest.approx(tau))
    assert [each["predictor"] for each in ranking["predictors"]] == ["supernet", "supernet loss"]
    between = stats.kendalltau(*([row["val_top1_by_seed"][seed] for row in repeated] for seed in "01"))
    (ceiling,) = ranking["ceiling"]
    assert ceiling["tau"]["value"] == (
        None if np.isnan(between.statistic) else pytest.approx(between.statistic)
    )
    assert "two seeds" in (study / "ranking.html").read_text()
    assert [path.name for path in (study / "ranking").iterdir()] == ["trainings.json"]


@pytest.mark.slow
def test_ranking_again_trains_nothing(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, asked = finished[0], ("rank", "study", "--designs", 5, "--repeated", 4, "--budget", "1cpu")
    rows, file = run(folder, *asked)["designs"], folder / "studies/study/ranking/trainings.json"
    written = file.stat().st_mtime_ns
    assert run(folder, *asked)["designs"] == rows
    assert file.stat().st_mtime_ns == written
