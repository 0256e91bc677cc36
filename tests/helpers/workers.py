"""What the workers and ranks of tests run: importable wherever they are started."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from search_spaces.errors import CheckpointError


class Tool:
    """An object that a worker holds; marks in ``folder`` outlive the worker."""

    def __init__(self, folder: str, device: str) -> None:
        self.folder, self.device = Path(folder), device

    def square(self, item: int) -> int:
        return item * item

    def slow(self, item: int) -> tuple[int, str]:
        time.sleep(0.3)
        return item, os.environ.get("RAY_NODE_ID", "") or str(os.getpid())

    def process(self, item: int) -> int:
        time.sleep(0.2)
        return os.getpid()

    def dies_once(self, item: int) -> int:
        mark = self.folder / str(item)
        if item % 3 == 0 and not mark.exists():
            mark.touch()
            os._exit(1)
        return item

    def dies_always(self, item: int) -> int:
        if item == 2:
            with open(self.folder / "deaths", "a") as file:
                file.write("x")
            os._exit(1)
        return item

    def exits(self, item: int) -> int:
        if item == 2:
            sys.exit(7)
        return item

    def crashes(self, item: int) -> int:
        if item == 2:
            ctypes.string_at(0)
        return item

    def fails(self, item: str) -> None:
        if item == "ours":
            raise CheckpointError("the weights are foreign")
        if item == "theirs":
            raise ValueError("a wrong value\nin two lines")


def tool(folder: str, device: str) -> Tool:
    """Make a tool."""
    return Tool(folder, device)


def broken(payload: object, device: str) -> Tool:
    """Fail to make one."""
    raise RuntimeError("no tool today")


class Shared:
    """Holds an array of the payload."""

    def __init__(self, payload: dict[str, np.ndarray], device: str) -> None:
        self.array, self.device = payload["array"], device

    def look(self, item: int) -> tuple[float, bool, str]:
        return float(self.array[item]), bool(self.array.flags.writeable), self.device


def shared(payload: dict[str, np.ndarray], device: str) -> Shared:
    """Make a holder."""
    return Shared(payload, device)


def as_rank(rank: int, task: Any, address: str) -> None:
    """Train as one of two ranks, in a process of its own with one thread."""
    import torch  # slow, and the other helpers do without
    from torch import distributed

    from nas.training.supernet import train_rank

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    train_rank(task, torch.device("cpu"), lambda latest: None, rank, 2)
    distributed.destroy_process_group()


class FailingWorker:
    """Scores designs by their digests; at some it raises, at others the process ends."""

    def __init__(self, payload: dict[str, set[str]], device: str) -> None:
        self.raises, self.kills = payload["raises"], payload["kills"]

    def score(self, group: list[tuple[dict[str, object], float]]) -> list[dict[str, float]]:
        from search_spaces.architecture import Architecture

        digests = {Architecture.from_json(design).digest for design, _ in group}
        if digests & self.kills:
            os._exit(1)
        if digests & self.raises:
            raise RuntimeError("out of memory\nTried to allocate 20 GiB")
        return [{"top1": 50.0} for _ in group]


def checkpoint_every_step(replace: Callable[[Any, str, Any], None] = setattr) -> None:
    """Let trainings of this process write a checkpoint after each step and wait for it."""
    from nas.training.checkpoint_writer import CheckpointWriter

    start = CheckpointWriter.start

    def start_and_wait(self: CheckpointWriter, *state: Any) -> None:
        start(self, *state)
        self.wait()

    replace(CheckpointWriter, "is_due", lambda *_: True)
    replace(CheckpointWriter, "start", start_and_wait)


def as_retraining_rank(rank: int, jobs: list[Any], payload: Any, address: str, last_epochs: int) -> None:
    """Train designs as one of two ranks; both are gone after the first ``last_epochs`` of the last design."""
    import torch
    from torch import distributed

    from nas.training.subnet import train_one

    torch.set_num_threads(1)
    checkpoint_every_step()
    distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    cpu = torch.device("cpu")
    for job in jobs[:-1]:
        train_one(job, payload, cpu, lambda result: None, rank, 2)

    def die(result: dict[str, Any]) -> None:
        if result["epoch"] == last_epochs:
            os._exit(3)

    train_one(jobs[-1], payload, cpu, die, rank, 2)


def as_taught_rank(rank: int, taught: list[tuple[Any, Any]], address: str) -> None:
    """Train designs as one of two ranks, each with a payload of its own."""
    import torch
    from torch import distributed

    from nas.training.subnet import train_one

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    for job, payload in taught:
        train_one(job, payload, torch.device("cpu"), lambda result: None, rank, 2)
    distributed.destroy_process_group()


def retrain_dying_once(
    job: Any, payload: Any, device: Any, on_result: Any, rank: int = 0, world: int = 1
) -> None:
    """Train a design; its last rank is killed after the first epoch, once."""
    from nas.training.subnet import train_one

    checkpoint_every_step()
    checkpoint, mark = job.folder / "checkpoint.safetensors", job.folder.parent / f"{job.mode}-{world}-died"
    if rank == world - 1 and not mark.exists():
        import threading

        def kill() -> None:
            while not checkpoint.exists():
                time.sleep(0.01)
            mark.touch()
            os._exit(1)

        threading.Thread(target=kill, daemon=True).start()
    train_one(job, payload, device, on_result, rank, world)
