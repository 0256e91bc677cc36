"""Several commands that search one study: refused, or joined on purpose; one of them is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.study.folder import Study
from tests.faults.rows import fault
from tests.helpers.command_line import TINY_SPACE, paint_folder
from tests.helpers.patience import PATIENCE

TRIALS = 40


class Commands:
    """Searches of one study, each in a process of its own.

    Args:
        folder: Where they run.
    """

    def __init__(self, folder: Path) -> None:
        (folder / "tiny.yaml").write_text(TINY_SPACE)
        paint_folder(folder / "images")
        self.folder, self.study = folder, Study(folder / "study")
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *further: str, objective: str = "macs,params") -> subprocess.Popen[str]:
        """Start a search; one of costs alone needs no supernet, and so no Ray."""
        command = [
            *(sys.executable, "-m", "nas", "search", "--space", "tiny.yaml", "--data", "folder:images"),
            *("--study", "./study", "--budget", f"1cpu,{TRIALS}trials", "--batch", "8", "--json"),
            *("--objective", objective, *further),
        ]
        process = subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "RAY_ADDRESS": "local"},
        )  # fmt: skip
        self.started.append(process)
        return process

    def end(self) -> None:
        """End what still runs."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def wait_for(self, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not ready():
            assert time.monotonic() < end
            time.sleep(0.02)

    def digests(self) -> list[str]:
        """Return the designs that were evaluated, one for each time."""
        if not self.study.settings_file.exists():
            return []
        return [record.architecture.digest for record in self.study.records() if record.evaluated]


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    several = Commands(tmp_path)
    yield several
    several.end()


def result_of(process: subprocess.Popen[str]) -> tuple[int, Any, str]:
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, json.loads(out) if out else None, err


TRAINED = ("--epochs", "2", "--batch-size", "8", "--validation-images", "9")


@fault(
    "a second command searches the same study",
    during="a search",
    outcome="exit 2, the first goes on",
    lost="nothing",
    told="who works on the study",
)
@fault(
    "a second command searches the same study with `--join`",
    during="a search",
    outcome="both exit 0 with the same front",
    lost="nothing, and no design is evaluated twice",
    told="whose search it joins",
)
@pytest.mark.slow
def test_one_is_refused_and_one_joins(commands: Commands) -> None:
    first = commands.start(*TRAINED, objective="top1,macs")
    commands.wait_for(commands.study.settings_file.exists)
    joins = commands.start(*TRAINED, "--join", objective="top1,macs")
    refused = commands.start(*TRAINED, objective="top1,macs")
    code, _, said = result_of(refused)
    assert code == 2 and re.search(rf"is worked on by .*, process {first.pid}, since .*: nas search", said), (
        said
    )
    ends = [result_of(process) for process in (first, joins)]
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert f"process {first.pid}, since" in ends[1][2] and "this command joins it" in ends[1][2]
    assert ends[0][1]["front"] == ends[1][1]["front"]
    digests = commands.digests()
    assert len(digests) == len(set(digests)) == TRIALS


@fault(
    "of two commands that share a search, the one that began it is killed",
    during="a search",
    outcome="the other goes on at once and writes the front",
    lost="the designs that were being evaluated, which the other evaluates",
    told="nothing",
)
@pytest.mark.slow
def test_the_other_goes_on(commands: Commands) -> None:
    both = [commands.start(*TRAINED, "--join", objective="top1,macs") for _ in range(2)]
    commands.wait_for(lambda: len(commands.digests()) >= 4)
    holder = commands.study.lock.holder() or ""
    leads, joins = sorted(both, key=lambda process: f"process {process.pid}," not in holder)
    leads.send_signal(signal.SIGKILL)
    leads.communicate()
    code, result, said = result_of(joins)
    assert code == 0, said
    digests = commands.digests()
    assert len(digests) == len(set(digests)) == TRIALS
    assert commands.study.front_trials() == len(commands.study.records())
    assert {entry["digest"] for entry in result["front"]} == {
        each["digest"] for each in commands.study.front()
    }
