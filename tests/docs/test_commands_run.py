"""Every console command of README and docs runs, small and on this machine, but for those that `NOT_RUN` explains.

What a page takes for granted is there: images in `flowers`, searched studies, exports, a photograph, a checkpoint.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from nas.pipeline.plan import plan_search
from nas.pipeline.request import SearchRequest
from nas.runtime.files import write_json
from tests.docs.commands import NOT_RUN, Command, documented_commands, made_small
from tests.docs.documents import ROOT
from tests.helpers.command_line import TINY_SPACE, Nas
from tests.helpers.exports import PYRAMID, smooth_image, write_export
from tests.helpers.latency import make_table

COMMANDS = documented_commands()
RUN = [each for each in COMMANDS if each.reason is None]
FLOWERS = ("daisy", "rose", "tulip")
#: The studies that pages speak of, by the commands that make them.
STUDIES = (
    "nas search --study first --retrain 2 --export",
    "nas search --data folder:flowers --study flowers --retrain 2 --export",
    "nas search --config studies/first/study.yaml --study second --seed 1",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what commands name, but for studies."""
    place = tmp_path_factory.mktemp("pages")
    space = TINY_SPACE + TINY_SPACE[TINY_SPACE.index("  nano:") :].replace("nano", "tiny")
    for name in ("tiny.yaml", "my_space.yaml"):
        (place / name).write_text(space)
    for number in range(48):
        folder = place / "flowers" / FLOWERS[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        smooth_image(32, 32, seed=number).save(folder / f"{number}.png")
    for name in ("photo.jpg", "a.png", "b.png"):
        smooth_image(90, 60).save(place / name)
    (place / "studies").mkdir()
    shutil.copytree(ROOT / "studies" / "mnist5k", place / "studies" / "mnist5k")
    digits = replace(PYRAMID, image_size=(28, 28), in_channels=1, num_classes=10)
    write_export(place / "of digits", digits, class_names=tuple("0123456789"))
    write_export(place / "of flowers", class_names=FLOWERS)
    return place


@pytest.fixture(scope="module")
def studies(place: Path) -> Path:
    """The same folder with the studies."""
    for command in STUDIES:
        words = [sys.executable, "-m", *made_small(command.split())]
        done = subprocess.run(words, cwd=place, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
    return place


def prepare(place: Path, text: str) -> list[str]:
    """Put the files that a command names into its folder; return its words as they are typed here."""
    models = place / ("of flowers" if "flowers" in text else "of digits")
    for name in set(re.findall(r"models/(?:mine|one|two|flowers)\b|\bmodel\b", text)):
        shutil.rmtree(place / name, ignore_errors=True)
        if f"--out {name}" not in text:
            shutil.copytree(models, place / name)
    for name in re.findall(r"\S+\.pth", text):
        torch.save(timm.create_model("swin_tiny_patch4_window7_224").state_dict(), place / name)
    for name, runtime in re.findall(r"--latency-table (\S+)(?: --latency-runtime (\w+))?", text):
        plan = plan_search(SearchRequest({"space": "tiny.yaml"}, budget="1cpu", study="./none"))
        write_json(place / name, replace(make_table(plan.space), runtime=runtime or "torch").to_json())
    study = "studies/flowers" if "studies/flowers" in text else "studies/first"
    if "DIGEST" in text:
        (exported,) = (each.name for each in (place / study / "exports").iterdir())
        text = text.replace("DIGEST", exported)
    for name, here in (("STUDY", study), ("/data/", ""), ("/shared/", "")):
        text = text.replace(name, here)
    return made_small(text.split())


def run(nas: Nas, command: Command, place: Path) -> None:
    words = prepare(place, command.text)
    outcome = nas(*words[1:])
    assert outcome.code == 0, outcome.err
    if "--json" in words:
        json.loads(outcome.out)
    if "--out" in words:
        assert (place / words[words.index("--out") + 1]).exists()


@pytest.fixture
def there(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder, as the current one."""
    monkeypatch.chdir(place)
    yield place


@pytest.mark.parametrize("command", [each for each in RUN if each.is_quick], ids=lambda each: each.text)
def test_a_command_that_needs_no_study_runs(command: Command, there: Path, nas: Nas) -> None:
    run(nas, command, there)


@pytest.mark.slow
@pytest.mark.parametrize("command", [each for each in RUN if not each.is_quick], ids=lambda each: each.text)
def test_a_command_runs(command: Command, studies: Path, there: Path, nas: Nas) -> None:
    if "--table" in command.text and not (studies / "studies" / "first" / "ranking").exists():
        assert nas(*made_small("nas rank studies/first".split())[1:]).code == 0
    run(nas, command, there)


def test_what_is_not_run_has_a_reason_that_still_holds() -> None:
    """A reason that no command needs any more is to be deleted, and the tests that reasons name exist."""
    for pattern, why in NOT_RUN.items():
        assert any(re.search(pattern, each.text) for each in COMMANDS), pattern
        for path in re.findall(r"tests/\S+\w", why):
            assert (ROOT / path).exists(), path
    assert {each.text.split()[1] for each in RUN} >= {
        "search",
        "retrain",
        "rank",
        "export",
        "import",
        "evaluate",
    }
