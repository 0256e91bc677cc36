"""The script of the recipes' table: split, cells, means and spreads by hand, and what a second run leaves alone."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from nas.study.named_recipes.reader import load_recipe
from search_spaces.architecture import Architecture
from search_spaces.declaration import load_declaration
from tests.helpers.scripts import load_script

FOLDER = Path(__file__).parents[2] / "studies" / "recipes"


@pytest.fixture
def recipes() -> ModuleType:
    return load_script(FOLDER / "run.py")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two classes of 5,000 files, each holding its own number."""
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as opened:
        for label in ("cat", "dog"):
            for number in range(5000):
                opened.writestr(f"{label}/{number:04}.jpg", f"{label} {number}")
    return path


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Answer each ``nas`` at once; return their words, to which each command is added."""
    asked: list[list[str]] = []
    really_run = subprocess.run

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        if "nas" not in command:  # git, for the provenance
            return really_run(command, **options)
        words = command[command.index("nas") + 1 :]
        asked.append(words)
        return subprocess.CompletedProcess(command, 0, json.dumps(answer(words)))

    monkeypatch.setattr(subprocess, "run", run)
    return asked


def answer(words: list[str]) -> Any:
    """Return what ``nas retrain --json`` prints, as far as the script reads it: each seed one point better."""
    if words[0] != "retrain":
        return {}
    files = [Path(words[i + 1]) for i, word in enumerate(words) if word == "--arch"]
    designs = [Architecture.from_json(json.loads(file.read_text())) for file in files]
    seed = int(words[1].rpartition("-")[2]) if designs else 0
    top1 = 50.0 + seed + 2 * seed * ("--teacher" in words)
    numbers = {
        "macs": 10,
        "params": 5,
        "val_top1": 49.0,
        "test_top1_se": 0.7,
        "test_images": 5000,
        "recipe": {},
    }
    return [{"digest": design.digest, "test_top1": top1, **numbers} for design in designs]


class ScoredStudy:
    """A study whose two designs are each a point better with the next seed, and those taught by as much again and one."""

    def __init__(self, folder: Path) -> None:
        self.words = folder.name.split("-")

    def records(self) -> list[Any]:
        seed = int(self.words[1])
        gain = seed + 1 if "teacher" in self.words else 0
        return [
            SimpleNamespace(architecture=SimpleNamespace(digest=digest), scores={"top1": top1 + seed + gain})
            for digest, top1 in (("a", 40.0), ("b", 50.0), (f"only-{gain}", 90.0))
        ]


def test_parts_share_no_image(recipes: ModuleType, archive: Path, tmp_path: Path) -> None:
    folder = recipes.split_images(archive, tmp_path / "images", 30)
    parts = {part: sorted((folder / part).rglob("*.jpg")) for part in ("train", "val", "test")}
    assert {part: len(files) for part, files in parts.items()} == {"train": 60, "val": 400, "test": 1000}
    contents = [file.read_text() for files in parts.values() for file in files]
    assert len(set(contents)) == len(contents)
    assert (folder / "test" / "dog" / "4500.jpg").read_text() == "dog 4500"


def test_every_cell_is_trained_once_with_its_own_recipe_and_seed(
    recipes: ModuleType,
    archive: Path,
    commands: list[list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recipes, "Study", ScoredStudy)
    options = [
        "--images",
        str(archive),
        "--scratch",
        str(tmp_path / "scratch"),
        "--per-class",
        "2",
        "--seeds",
        "3",
    ]
    out = tmp_path / "out.json"
    recipes.main([*options, "--teacher", "there", "--out", str(out)])
    retrained = [words for words in commands if words[0] == "retrain"]
    assert len(retrained) == 3 * len(recipes.CELLS)
    assert {tuple(words[4:5]) for words in retrained} == {("--from-scratch",)}
    with_teacher = [words for words in retrained if "--teacher" in words]
    assert {Path(words[3]).stem for words in with_teacher} == {"plain", "mixing"}
    content = json.loads(out.read_text())
    assert len(content["runs"]) == 3 * len(recipes.CELLS) * 2
    line = next(each for each in content["summary"] if each["cell"] == "+ teacher")
    # 50, 53 and 56 with a teacher, 50, 51 and 52 without: by hand.
    assert line["test_top1"] == {"mean": pytest.approx(53), "std": pytest.approx(3)}
    assert line["gain"] == {"mean": pytest.approx(2), "std": pytest.approx(2)}
    printed = capsys.readouterr().out
    assert "| cswin-like | + teacher | 53.0 ± 3.0% | +2.0 ± 2.0 points |" in printed
    # Of the designs that both scored: 45, 46 and 47 without a teacher, and 46, 48 and 50 with one.
    assert "| without teacher | 46.0 ± 1.0% | 51.0 ± 1.0% |" in printed
    assert "| with teacher | 48.0 ± 2.0% | 53.0 ± 2.0% |" in printed
    assert "| difference | +2.0 ± 1.0 points | +2.0 ± 1.0 points |" in printed
    searched = [words for words in commands if words[0] == "search" and "--epochs" in words]
    assert len(searched) == 6 and sum("--teacher" in words for words in searched) == 3
    before = len(commands)
    recipes.main([*options, "--teacher", "there", "--out", str(out)])
    assert len(commands) == before


def test_recipes_differ_in_what_their_names_say(recipes: ModuleType) -> None:
    plain, mixing, whole = (
        yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["retraining"]
        for name in ("plain", "mixing", "whole")
    )
    assert set(mixing) - set(plain) == {"mixup", "cutmix", "mixup_prob", "mixup_switch_prob"}
    assert {key: mixing[key] for key in plain} == plain
    assert {key: whole[key] for key in mixing} == mixing
    cifar = load_recipe("cifar").retraining
    for key in (set(whole) - set(plain)) | {"weight_decay", "label_smoothing", "clip_grad"}:
        value = getattr(load_recipe(str(FOLDER / "whole.yaml")).retraining, key)
        assert value == getattr(cifar, key), key


def test_the_teacher_is_the_convolutional_design(recipes: ModuleType) -> None:
    space = load_declaration(FOLDER / "teacher_space.yaml").space(None, 32, 3, 10)
    assert space.size == 1
    blocks = [block for stage in space.largest.stages for block in stage.blocks]
    assert {block.operator for block in blocks} == {"dwconv"}
