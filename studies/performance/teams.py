"""This project's teams of ranks beside Ray Train's: start, steps, and the death of a rank, in turns on one Ray.

Both run one function, which adds up gradients over the ranks with gloo and writes the number of its last step, from which
it goes on. A rank ends its process at a step, once. Nothing of a network is in it: what is compared is what surrounds
a training. Two ranks on CPU cores take some minutes::

    python studies/performance/teams.py --rounds 3
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from nas.cluster import ray_cluster
from nas.cluster.budget import WorkerAllocation
from nas.cluster.ray_cluster import Cluster
from nas.cluster.team import run_distributed
from nas.runtime.files import write_json
from nas.runtime.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "teams.json"
#: Numbers in a gradient: of a network of 4 million parameters.
GRADIENT = 4_000_000


def train(folder: Path, steps: int, dies_at: int | None, rank: int) -> None:
    """Exchange gradients as a rank of a group that is there already, from the step that was reached.

    Every rank writes when it did which step, and the first which step is done.

    Args:
        folder: Where that is kept.
        steps: Steps in all.
        dies_at: Step before which the last rank ends its process where it has not done so yet, or None.
        rank: Number of this rank.
    """
    torch.set_num_threads(1)
    done_file, death = folder / "done", folder / "died"
    first = int(done_file.read_text()) if done_file.exists() else 0
    gradient = torch.ones(GRADIENT)
    with open(folder / f"times-{rank}", "a", encoding="utf-8") as times:
        for step in range(first, steps):
            if step == dies_at and rank == distributed.get_world_size() - 1 and not death.exists():
                death.write_text(str(time.time()))
                os._exit(1)
            distributed.all_reduce(gradient)
            gradient /= distributed.get_world_size()
            times.write(f"{step} {time.time()}\n")
            times.flush()
            if rank == 0:
                write_json(done_file, step + 1)


def rank_of_ours(payload: Any, device: torch.device, on_progress: Any, rank: int, world: int) -> None:
    """Train as a rank of a team of this project."""
    folder, steps, dies_at = payload
    train(folder, steps, dies_at, rank)


def run_ours(payload: tuple[Path, int, int | None], ranks: int) -> None:
    """Train by a team of this project."""
    allocation = WorkerAllocation(ranks, 1.0, 0.0, "cpu")
    run_distributed(rank_of_ours, payload, allocation, lambda progress: None)


def run_ray_train(payload: tuple[Path, int, int | None], ranks: int) -> None:
    """Train by Ray Train, which is allowed as many failures."""
    from ray import train as ray_train
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    def loop(config: dict[str, Any]) -> None:
        folder, steps, dies_at = config["payload"]
        train(folder, steps, dies_at, ray_train.get_context().get_world_rank())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        TorchTrainer(
            loop,
            train_loop_config={"payload": payload},
            torch_config=TorchConfig(backend="gloo"),
            scaling_config=ScalingConfig(num_workers=ranks, resources_per_worker={"CPU": 1}),
            run_config=RunConfig(
                name="teams",
                storage_path=str(payload[0] / "ray-train"),
                failure_config=FailureConfig(max_failures=2),
            ),
        ).fit()


WAYS: dict[str, Callable[[tuple[Path, int, int | None], int], None]] = {
    "ours": run_ours,
    "ray_train": run_ray_train,
}


def measure(way: str, scratch: Path, steps: int, ranks: int) -> dict[str, float]:
    """Run one way twice, without a death and with one; return its times in seconds."""
    found = {}
    for dies_at in (None, steps // 2):
        folder = Path(tempfile.mkdtemp(dir=scratch))
        started = time.time()
        WAYS[way]((folder, steps, dies_at), ranks)
        ended = time.time()
        lines = [line.split() for line in (folder / "times-0").read_text().splitlines()]
        times = [(int(step), float(at)) for step, at in lines]
        if dies_at is None:
            found["start"] = times[0][1] - started
            found["step"] = statistics.median(
                later - earlier for (_, earlier), (_, later) in zip(times[1:], times[2:], strict=False)
            )
            found["end"] = ended - times[-1][1]
        else:
            died = float((folder / "died").read_text())
            # The step that the death held up; the first rank may write the one before it after the death.
            found["recovery"] = next(at for step, at in times if step == dies_at) - died
            found["steps_done_twice"] = float(len(times) - steps)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the result with its provenance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="runs of each way, in turns")
    parser.add_argument("--steps", type=int, default=40, help="steps of a run")
    parser.add_argument("--ranks", type=int, default=2, help="ranks, a CPU core each")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON file to write")
    options = parser.parse_args(arguments)
    root = str(Path(__file__).parents[2])
    os.environ["PYTHONPATH"] = os.pathsep.join([root, str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    ray_cluster.start(Cluster(options.ranks, 0, "this machine", running=False))
    logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    rounds = []
    try:
        with tempfile.TemporaryDirectory() as scratch:
            for _ in range(options.rounds):
                found = {way: measure(way, Path(scratch), options.steps, options.ranks) for way in WAYS}
                print(json.dumps(found), flush=True)
                rounds.append(found)
    finally:
        ray_cluster.stop()
    summary = summarize(rounds)
    for name, value in summary.items():
        print(f"{name:28} {value}")
    command = ["python", "studies/performance/teams.py", *(sys.argv[1:] if arguments is None else arguments)]
    write_json(options.out, {"rounds": rounds, "summary": summary, "provenance": provenance(0, command)})


def summarize(rounds: Sequence[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Return medians of both ways, and of Ray Train's times over ours in each round, with the smallest and largest."""
    summary: dict[str, Any] = {}
    for name in ("start", "step", "end", "recovery"):
        for way in WAYS:
            summary[f"{way}_{name}_seconds"] = statistics.median(each[way][name] for each in rounds)
        ratios = sorted(each["ray_train"][name] / each["ours"][name] for each in rounds)
        summary[f"{name}_ratio"] = [statistics.median(ratios), ratios[0], ratios[-1]]
    return summary


if __name__ == "__main__":
    main()
