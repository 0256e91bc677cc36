"""Searches and trainings whose workers are this process: what is computed is the same, and Ray takes no time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest
import torch

from nas.cluster.budget import WorkerAllocation
from nas.cluster.pool import ItemResult

CPU = torch.device("cpu")


class LocalPool:
    """A pool whose one worker is an object of this process; the arguments are those of `nas.cluster.pool.Pool`."""

    def __init__(self, allocation: WorkerAllocation, factory: Callable[..., Any], payload: Any) -> None:
        self.allocation, self.instance = allocation, factory(payload, "cpu")

    def map_together(
        self,
        method: str,
        items: Iterable[Any],
        preferred_workers: Sequence[int] = (),
        more: object = None,
        **how: object,
    ) -> Iterator[list[ItemResult]]:
        """Yield the results of items in their order, each by itself."""
        for index, item in enumerate(items):
            yield [ItemResult(index, getattr(self.instance, method)(item))]

    def serve(self) -> None:
        """Nothing goes on while the driver works."""

    def close(self) -> None:
        """There is nothing to end."""


def use_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process do what workers do for `nas.search` and `nas.retrain`."""

    def run_distributed(
        function: Any, payload: Any, allocation: Any, on_progress: Any, sizes: Any = ()
    ) -> None:
        function(payload, CPU, on_progress, 0, 1)

    def run_trials(
        function: Any, jobs: Any, payload: Any, teams: Any, folder: str, on_result: Any, plan: Any = None
    ) -> None:
        for job in jobs:
            function(job, payload, CPU, on_result, 0, 1)

    monkeypatch.setattr("nas.pipeline.run.run_distributed", run_distributed)
    monkeypatch.setattr("nas.training.retraining.run_trials", run_trials)
    monkeypatch.setattr("nas.evaluation.population.Pool", LocalPool)
    monkeypatch.setattr("nas.cluster.ray_cluster.start", lambda cluster: None)
