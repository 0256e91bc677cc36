"""How long a worker takes to be of use, and whether it maps the supernet's weights or copies them."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median
from typing import Any

import numpy as np
import torch

from nas.bench.measurement import Measurement, Target
from nas.bench.setup import Setup
from nas.bench.spaces import load_space
from nas.cluster import ray_cluster
from nas.cluster.budget import WorkerAllocation
from nas.cluster.pool import Pool
from nas.evaluation.population import EvaluationWorker, payload_from_batches
from nas.runtime import interrupt
from search_spaces.errors import WorkError
from supernet.supernet import Supernet

_IMAGES = 500  # for validation


def bench(setup: Setup) -> list[Measurement]:
    """Return how long a worker's start takes beyond importing torch, and what of its weights it maps.

    A start is from asking Ray for a worker, the weights and images put into its object store included, to the
    worker's first answer; a fresh process that only imports torch takes turns with it.
    """
    space = load_space(setup)
    torch.manual_seed(0)
    images = torch.randn(_IMAGES, space.in_channels, *space.image_size)
    given = payload_from_batches(
        Supernet(space), [(images, torch.zeros(_IMAGES, dtype=torch.long))], [images]
    )
    plan = (
        WorkerAllocation(1, 1, 1, "cuda") if setup.device.type == "cuda" else WorkerAllocation(1, 1, 0, "cpu")
    )
    starts, imports, seen = list[float](), list[float](), dict[str, int]()
    ray_cluster.start(ray_cluster.survey())
    try:
        for _ in range(setup.pick_rounds(3)):
            interrupt.check()
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", "import torch"], check=True)
            imports.append(time.perf_counter() - began)
            began = time.perf_counter()
            pool = Pool(plan, build_inspector, given)
            (answer,) = pool.map("counts", [None])
            if answer.failure is not None:
                raise WorkError(f"a worker cannot say what it holds: {answer.failure}")
            starts.append(time.perf_counter() - began)
            seen = answer.value
            pool.close()
    finally:
        ray_cluster.stop()
    where = f"{space.name}/{space.scale}"
    beyond = [start - imported for start, imported in zip(starts, imports, strict=True)]
    return [
        Measurement(
            f"{where}: a worker's start beyond importing torch",
            median(beyond),
            "s",
            rounds=len(beyond),
            target=Target(5.0, at_most=True),
            details={"start_s": starts, "import_torch_s": imports},
        ),
        Measurement(
            f"{where}: weights that a worker maps from the node's store",
            100 * seen["mapped"] / seen["bytes"],
            "%",
            target=Target(100.0),
            details=seen,
        ),
    ]


class _Inspector(EvaluationWorker):
    """A worker's object that says where its weights lie."""

    def __init__(self, content: dict[str, Any], device: str) -> None:
        super().__init__(content, device)
        held, given = self.evaluator.runner.supernet.state_dict(), content["weights"]
        # What Ray maps is read-only; on a GPU it is what the device's copy is made from.
        mapped = [
            array.nbytes
            for name, array in given.items()
            if not array.flags.writeable and (device == "cuda" or held[name].data_ptr() == _address(array))
        ]
        self.byte_counts = {"bytes": sum(array.nbytes for array in given.values()), "mapped": sum(mapped)}

    def counts(self, _: None) -> dict[str, int]:
        """Return the bytes of all weights, and of those that lie in Ray's store."""
        return self.byte_counts


def build_inspector(content: dict[str, Any], device: str) -> _Inspector:
    """Return what a worker answers with; called in the worker."""
    return _Inspector(content, device)


def _address(array: np.ndarray[Any, Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
