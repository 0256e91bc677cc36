"""A team of ranks that train together becomes smaller where machines are lost, and larger once others have come."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.cluster import ray_cluster
from nas.cluster.budget import WorkerAllocation
from nas.cluster.team import run_distributed
from nas.runtime.files import write_json
from tests.faults.machines import running
from tests.faults.rows import fault

STEPS = 10_000


def count_on(payload: tuple[str, str], device: torch.device, on_progress: Any, rank: int, world: int) -> int:
    """Count steps on from those in a file, as a training does from its checkpoint, until there is a file ``stop``."""
    from nas.runtime import interrupt

    state, stop = map(Path, payload)
    step = json.loads(state.read_text())["step"] if state.exists() else 0
    while not stop.exists() and step < STEPS:
        time.sleep(0.1)
        step += 1
        if rank == 0:
            write_json(state, {"step": step, "ranks": world})
            on_progress({"step": step, "ranks": world})
        interrupt.check()
    return step


@fault(
    "a machine of the cluster is lost, and no other comes for long",
    during="a training by a team of workers",
    outcome="goes on with fewer workers, and with all again once a machine has come",
    lost="steps since the last checkpoint",
    told="that a worker died, and how many workers the team is formed of",
)
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # log files of a cluster that has stopped
def test_a_team_shrinks_and_grows_with_the_cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[int] = []
    steps: list[int] = []
    with running(2) as machines:
        ray_cluster.survey()

        def look(latest: dict[str, int]) -> None:
            steps.append(latest["step"])
            if not seen or seen[-1] != latest["ranks"]:
                seen.append(latest["ranks"])
                if seen == [2]:
                    machines.lose()
                elif seen == [2, 1]:
                    machines.add()
                elif seen == [2, 1, 2]:
                    (tmp_path / "stop").touch()

        payload = str(tmp_path / "state.json"), str(tmp_path / "stop")
        done = run_distributed(count_on, payload, WorkerAllocation(2, 1.0, 0.0, "cpu"), look, sizes=[1])
    assert seen == [2, 1, 2]
    assert done < STEPS and steps == sorted(steps)
    said = capsys.readouterr().err
    assert "the cluster has room for 1 of 2 workers: the team is formed of 1, from its checkpoint" in said
    assert "the team is formed of 2" in said
