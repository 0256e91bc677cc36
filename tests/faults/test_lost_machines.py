"""Machines of a cluster that are lost in every phase of a search, one after the other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.study.folder import Study
from tests.faults.commands import evaluated_digests, wait_for
from tests.faults.machines import Machines, running
from tests.faults.rows import fault
from tests.helpers.command_line import TINY_SPACE, paint_folder
from tests.helpers.patience import PATIENCE

TRIALS = 60


@pytest.fixture
def machines() -> Iterator[Machines]:
    with running(2) as found:
        yield found


@fault(
    "a machine of the cluster is lost, and another one comes",
    during="the supernet's training, the search and the retraining",
    outcome="goes on, on the machines that are left and that come",
    lost="steps and epochs since the last checkpoint; the designs that were being evaluated, which are evaluated again",
    told="which worker died and that its node is gone",
)
@pytest.mark.slow
def test_a_machine_is_lost_in_each_phase(machines: Machines, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY_SPACE)
    paint_folder(tmp_path / "images")
    study = Study(tmp_path / "study")
    command = [
        *(sys.executable, "-m", "nas", "search", "--ray-address", machines.address, "--space", "tiny.yaml"),
        *(
            "--data",
            "folder:images",
            "--study",
            "./study",
            "--budget",
            f"2cpu,{TRIALS}trials",
            "--batch",
            "12",
        ),
        *("--epochs", "200", "--batch-size", "16", "--retrain", "1", "--retrain-epochs", "100"),
    ]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=said, stderr=said, env={**os.environ})
    try:
        wait_for(study.supernet_file.exists)
        machines.lose()
        machines.add()
        wait_for(lambda: len(evaluated_digests(study)) >= 3)
        machines.lose()
        machines.add()
        retrained = study.folder / "retrained"
        wait_for(lambda: any(retrained.glob("*/*/checkpoint.safetensors")))
        machines.lose()
        machines.add()
        code = process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
    told = (tmp_path / "said").read_text()
    assert code == 0, told
    found = Counter(evaluated_digests(study))
    assert len(found) == TRIALS and set(found.values()) == {1}
    assert study.results()
    assert told.count("node") >= 3, told
