"""The doctor finds what is damaged in a study, mends what can be made again, and touches nothing that is in use."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.pipeline.study_doctor import StudyHealth, examine_study
from nas.runtime.files import load_tensors, save_tensors
from nas.study.folder import Study
from tests.helpers.command_line import Nas, tree

OLD_STUDY = Path(__file__).parents[2] / "golden" / "old_study"
EXPORT = "exports/ce7caaf679bc"
RETRAINED = "retrained/ce7caaf679bc/scratch"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return shutil.copytree(OLD_STUDY, tmp_path / "study")


def examine(study: Path) -> StudyHealth:
    return examine_study(Study(study), ["nas", "doctor"])


def add_checksum(path: Path) -> None:
    """Write a weight file of an earlier version as today's do."""
    save_tensors(path, *load_tensors(path))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 16
    path.write_bytes(content)


def test_a_sound_study_of_an_earlier_version_stays_as_it_is(study: Path) -> None:
    before = tree(study)
    health = examine(study)
    assert health.faults == [] and health.is_sound and health.in_use is None
    assert health.checked >= 12
    after = tree(study)
    after.pop(str(study / ".lock"))
    after.pop(str(study / ".fence"))
    assert after == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text("{"),
        lambda path: path.write_text('{"trials": 3, "front": [{}]}'),
        lambda path: path.write_bytes(path.read_bytes()[:200]),
    ],
)
def test_a_front_is_made_again_from_the_trials(study: Path, damage: Callable[[Path], None]) -> None:
    golden = json.loads((OLD_STUDY / "front.json").read_text())
    damage(study / "front.json")
    (fault,) = examine(study).faults
    assert (fault.file, fault.mended) == ("front.json", "made again from the trials")
    again = json.loads((study / "front.json").read_text())
    assert [entry["digest"] for entry in again["front"]] == [entry["digest"] for entry in golden["front"]]
    assert [entry["scores"] for entry in again["front"]] == [entry["scores"] for entry in golden["front"]]
    assert again["trials"] == golden["trials"] == 12
    assert examine(study).faults == []


def test_what_cannot_be_made_again_is_named(study: Path) -> None:
    for name in (
        f"{RETRAINED}/model.safetensors",
        f"{EXPORT}/model.safetensors",
        "supernet/checkpoint.safetensors",
    ):
        add_checksum(study / name)
    assert examine(study).faults == []
    for name in (
        f"{RETRAINED}/model.safetensors",
        f"{EXPORT}/model.safetensors",
        "supernet/checkpoint.safetensors",
    ):
        flip(study / name)
    (study / "data.json").write_bytes(b"\xff")
    (study / "retrained/ce7caaf679bc/inherit/model.safetensors").unlink()
    health = examine(study)
    faults = {fault.file: fault for fault in health.faults}
    assert not health.is_sound and all(fault.mended is None for fault in health.faults)
    assert "is damaged" in faults[f"{RETRAINED}/model.safetensors"].problem
    assert "is damaged" in faults[EXPORT].problem
    assert "is damaged" in faults["supernet/checkpoint.safetensors"].problem
    assert "there is no weights file" in faults["retrained/ce7caaf679bc/inherit/model.safetensors"].problem
    assert "data.json" in faults["data.json"].problem


def test_a_checkpoint_gives_way_to_the_one_before_it(study: Path) -> None:
    path = study / "supernet" / "checkpoint.safetensors"
    tensors, metadata = load_tensors(path)
    former = path.with_name("checkpoint.former.safetensors")
    for step in ("4", "5"):
        save_tensors(path, tensors, {**metadata, "step": step}, former)
    flip(path)
    (fault,) = examine(study).faults
    assert fault.file == "supernet/checkpoint.safetensors" and str(fault.mended).startswith(
        "the checkpoint before"
    )
    assert load_tensors(path)[1]["step"] == "4" and not former.exists()
    save_tensors(path, tensors, metadata, former)
    flip(former)
    (fault,) = examine(study).faults
    assert str(fault.mended).startswith("removed") and not former.exists()


def test_what_killed_commands_left_is_removed(study: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from nas.runtime.files import scratch_folder
targets = ("exports/abc", "supernet/checkpoint.safetensors")
folders = [scratch_folder(Path({str(study)!r}) / target) for target in targets]
for folder in folders:
    folder.__enter__()
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[3], timeout=60)
    left = [*study.glob("exports/.*"), *study.glob("supernet/.*")]
    assert done.returncode == -9 and len(left) == 2
    (study / "retrained" / ".tune" / "x").mkdir(parents=True)
    health = examine(study)
    assert [fault.mended for fault in health.faults] == ["removed", "removed"] and health.is_sound
    assert health.faults[0].problem.startswith("2 unfinished files")
    assert not any(path.exists() for path in (*left, study / "retrained" / ".tune"))


def test_nothing_is_touched_while_somebody_works_there(study: Path) -> None:
    (study / "front.json").write_text("{")
    program = f"""
import sys
from pathlib import Path
from nas.runtime.lock import FolderLock
with FolderLock(Path({str(study)!r})).hold(["nas", "search"]):
    print("held", flush=True)
    sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        before = tree(study)
        health = examine(study)
    finally:
        process.communicate("")
    assert "nas search" in str(health.in_use) and tree(study) == before
    assert [(fault.file, fault.mended) for fault in health.faults] == [("front.json", None)]


def test_a_damaged_database_is_named(study: Path) -> None:
    content = bytearray((study / "study.db").read_bytes())
    content[40_960:81_920] = bytes(40_960)
    (study / "study.db").write_bytes(content)
    (fault, *_) = examine(study).faults
    assert fault.file.startswith("sqlite:") and "is damaged" in fault.problem and fault.mended is None


def test_the_command_prints_and_says_by_its_exit_code(nas: Nas, study: Path) -> None:
    outcome = nas("doctor", study)
    assert outcome.code == 0 and outcome.out.splitlines()[-1] == "all is well"
    (study / "front.json").write_text("{")
    outcome = nas("doctor", study, "--json")
    found = json.loads(outcome.out)
    assert (
        outcome.code == 0 and found["sound"] and [each["file"] for each in found["faults"]] == ["front.json"]
    )
    (study / "data.json").write_text("{")
    outcome = nas("doctor", study)
    assert outcome.code == 1 and "WRONG  data.json: cannot read" in outcome.out
    assert json.loads(nas("doctor", study, "--json").out)["sound"] is False
