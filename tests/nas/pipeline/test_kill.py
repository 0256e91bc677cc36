"""kill -9 in the middle of training and of searching, then the same command: nothing finished is lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.runtime.documents import read_json
from nas.runtime.files import load_metadata
from nas.runtime.private_folder import temporary_places
from nas.search.trial_store import TrialRecord
from nas.study.folder import Study
from nas.training.supernet_checkpoint import read_progress
from search_spaces.errors import CheckpointError
from tests.helpers.patience import PATIENCE

pytestmark = pytest.mark.slow

SPACE = """\
name: quick
blocks:
  mlp_ratio: [1, 2]
  operators:
    lsa: {window_size: [2, 7], pos: [none]}
    dwconv: {kernel_size: [3, 5], dynamic: [none], pos: [none]}
scales:
  nano:
    images: 28
    stem: conv3x3_s2
    stages:
      - {dim: 8, num_heads: 2, depth: [1]}
      - {dim: 16, num_heads: 2, depth: [1, 2], downsample: conv2x2}
"""
TRIALS, STEPS = 24, 84  # 12 epochs of 7 batches


class Command:
    """The search of these tests, in a process of its own.

    Args:
        folder: Where it runs; holds the space and the study.
    """

    def __init__(self, folder: Path) -> None:
        (folder / "quick.yaml").write_text(SPACE)
        self.folder, self.study = folder, Study(folder / "study")
        self.arguments = [
            *("search", "--space", "quick.yaml", "--data", "mnist5k", "--study", "./study", "--seed", "3"),
            *("--budget", f"2cpu,{TRIALS}trials", "--epochs", "12", "--batch-size", "512", "--batch", "6"),
            *("--validation-images", "250"),
        ]

    def start(self) -> subprocess.Popen[str]:
        """Start it."""
        return subprocess.Popen(
            [sys.executable, "-m", "nas", *self.arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A checkpoint after every few steps: the usual interval is longer than this whole training.
            env={
                **os.environ,
                "RAY_ADDRESS": "local",
                "COLUMNS": "200",
                "NAS_CHECKPOINT_SECONDS": "0.2",
            },
        )

    def finish(self) -> str:
        """Run it to its end and return what it printed for people."""
        process = self.start()
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        assert "Pareto front" in out
        return err

    def stop_when(self, ready: Callable[[], bool], number: int = signal.SIGKILL) -> tuple[int, str]:
        """Start it and send a signal as soon as ``ready``; return the exit status and what it said."""
        process = self.start()
        end = time.monotonic() + PATIENCE
        while not ready():
            assert process.poll() is None, f"it ended before it could be killed: {process.communicate()}"
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE)
        return process.returncode, said

    def steps(self) -> int:
        """Return the steps that the checkpoint holds."""
        try:
            return int(load_metadata(self.study.supernet_file)["step"])
        except CheckpointError:
            return 0

    def count(self) -> int:
        """Return the trials stored so far, looking at the file from outside."""
        path = self.study.folder / "study.db"
        if not path.exists():
            return 0
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
        try:
            found: int = connection.execute("select count(*) from trials").fetchone()[0]
        except sqlite3.OperationalError:
            found = 0
        finally:
            connection.close()
        return found

    def records(self) -> list[TrialRecord]:
        """Return the stored trials."""
        return self.study.records()


def fact(row: TrialRecord) -> tuple[object, ...]:
    """Return what of a row a seed decides: all but how long its evaluation took."""
    scores = {name: value for name, value in row.scores.items() if name != "seconds"}
    return row.batch, row.index_in_batch, row.architecture.digest, row.params, scores, row.repeat, row.origin


def offspring_gone(session: set[str]) -> bool:
    """Return whether no Ray process of the sessions that appeared since is left."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if any(name in line for name in session):
                return False
    return True


def sessions() -> set[str]:
    """Return the names of Ray's sessions on this machine, running or not."""
    found = (path for place in temporary_places() for path in place.glob(f"nas-{os.getuid()}-*/r/session_*"))
    return {path.name for path in found if not path.is_symlink()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The search that nothing disturbed."""
    command = Command(tmp_path_factory.mktemp("whole"))
    command.finish()
    return command


def test_killed_in_training_and_in_searching(whole: Command, tmp_path: Path) -> None:
    command, known = Command(tmp_path), sessions()

    command.stop_when(lambda: command.steps() >= 10)
    kept = command.steps()
    assert 10 <= kept < STEPS and command.count() == 0

    command.stop_when(lambda: command.count() >= 8)
    stored = command.records()
    assert 8 <= len(stored) < len(whole.records())
    log = command.study.log_file.read_text()
    # The workers that train may end a step or two after the process that was killed.
    resumed = re.search(rf"resuming the supernet at step (\d+) of {STEPS}", log)
    assert resumed is not None and kept <= int(resumed[1]) < STEPS

    said = command.finish()
    assert "resuming the search at" in said and "training supernet" not in said
    rows = command.records()
    assert [fact(row) for row in rows] == [fact(row) for row in whole.records()]
    # No finished trial was lost or evaluated anew: its scores are those stored before, to the time it took.
    final = {(row.batch, row.index_in_batch): row for row in rows}
    assert all(final[row.batch, row.index_in_batch].scores == row.scores for row in stored)
    fronts = [read_json(one.study.front_file)["front"] for one in (command, whole)]
    assert [entry["digest"] for entry in fronts[0]] == [entry["digest"] for entry in fronts[1]]
    assert sum(row.evaluated for row in rows) == TRIALS

    end = time.monotonic() + 60
    while not offspring_gone(sessions() - known):
        assert time.monotonic() < end, "Ray processes outlived the search"
        time.sleep(0.5)


@pytest.mark.parametrize("phase", ["training", "searching"])
def test_sigterm_saves_and_says_how_to_resume(phase: str, tmp_path: Path) -> None:
    command = Command(tmp_path)
    if phase == "training":
        status, said = command.stop_when(lambda: command.steps() >= 5, signal.SIGTERM)
    else:
        status, said = command.stop_when(lambda: command.count() >= 3, signal.SIGTERM)
    assert status == 130, said
    last = said.splitlines()[-1]
    resume = r"nas: interrupted; everything done is saved, resume with: nas search --space quick\.yaml .*"
    assert re.fullmatch(resume, last), last
    assert command.arguments == last.partition("resume with: nas ")[2].split()
    assert command.steps() >= 5 and (phase == "training" or 3 <= len(command.records()) < TRIALS * 2)


def test_ctrl_c_in_retraining_is_resumed(whole: Command, tmp_path: Path) -> None:
    study = tmp_path / "study"
    shutil.copytree(whole.study.folder, study)
    (tmp_path / "quick.yaml").write_text(SPACE)
    digest = read_json(study / "front.json")["front"][0]["digest"]
    folder = study / "retrained" / digest / "scratch"

    def run(*, first: bool) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "nas",
                "retrain",
                "study",
                "--candidates",
                "1",
                "--from-scratch",
                "--epochs",
                "100",
                "--json",
            ],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "RAY_ADDRESS": "local",
                "COLUMNS": "200",
                "NAS_CHECKPOINT_SECONDS": "2" if first else "20",
            },
        )

    process, end = run(first=True), time.monotonic() + PATIENCE
    while not (folder / "checkpoint.safetensors").exists():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.05)
    seen, _ = read_progress(folder / "checkpoint.safetensors")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert err.splitlines()[-1].startswith(
        "nas: interrupted; everything done is saved, resume with: nas retrain"
    )
    assert not (folder / "result.json").exists()
    saved, total = read_progress(folder / "checkpoint.safetensors")
    assert seen < saved < total  # what was trained between the checkpoint and the signal is in it

    out, err = run(first=False).communicate(timeout=PATIENCE)
    assert [result["digest"] for result in json.loads(out)] == [digest], err
    assert (folder / "result.json").exists() and (folder / "model.safetensors").exists()
