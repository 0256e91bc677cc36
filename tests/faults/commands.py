"""Commands that search one study, each a process that a test may kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nas.study.folder import Study
from tests.helpers.command_line import TINY_SPACE, paint_folder
from tests.helpers.patience import PATIENCE

#: What makes a search of accuracies short.
TRAINED = ("--epochs", "2", "--batch-size", "8", "--validation-images", "9")


class Commands:
    """Searches of one study, each in a process of its own.

    Args:
        folder: Where they run.
        trials: Designs that a search evaluates.
        storage: URL of the database; None for the study's own file.
    """

    def __init__(self, folder: Path, trials: int, storage: str | None = None) -> None:
        (folder / "tiny.yaml").write_text(TINY_SPACE)
        paint_folder(folder / "images")
        self.folder, self.study = folder, Study(folder / "study")
        self.trials, self.storage = trials, [] if storage is None else ["--storage", storage]
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *further: str, objective: str = "macs,params") -> subprocess.Popen[str]:
        """Start a search; one of costs alone needs no supernet, and so no Ray."""
        command = [
            *(sys.executable, "-m", "nas", "search", "--space", "tiny.yaml", "--data", "folder:images"),
            *("--study", "./study", "--budget", f"1cpu,{self.trials}trials", "--batch", "8", "--json"),
            *("--objective", objective, *self.storage, *further),
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

    def digests(self) -> list[str]:
        """Return the designs that were evaluated, one for each time."""
        return evaluated_digests(self.study)


def wait_for(ready: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.02)


def evaluated_digests(study: Study) -> list[str]:
    """Return the designs that were evaluated, one for each time; none while there is no study."""
    if not study.settings_file.exists():
        return []
    return [record.architecture.digest for record in study.records() if record.evaluated]


def result_of(process: subprocess.Popen[str]) -> tuple[int, Any, str]:
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, json.loads(out) if out else None, err
