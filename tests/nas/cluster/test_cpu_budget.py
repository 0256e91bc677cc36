"""A budget of CPU cores leaves GPUs alone, although Ray shows them to workers that reserved none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import torch

from nas.cluster import crew, team, trials
from nas.cluster import mandate as mandates
from nas.cluster.budget import WorkerAllocation, allocate_workers, parse_budget
from nas.cluster.mandate import Mandate
from nas.cluster.rendezvous import LOOPBACK
from nas.data.dataset import Data, load_data
from nas.evaluation.population import EvaluationWorker, payload_from_data
from nas.runtime.device import default_device
from nas.study.designs import Design
from nas.study.recipe import Recipe
from nas.study.settings import Settings
from nas.training import retraining_result, subnet
from nas.training.retraining_job import RetrainingJob
from nas.training.supernet import SupernetTask, train_rank
from nas.training.supernet_checkpoint import read_supernet
from search_spaces.space import Space
from supernet.supernet import Supernet

RECIPE = Recipe(epochs=1, batch_size=18)


@pytest.fixture(autouse=True)
def gpus_in_sight(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine where our code is told of a GPU and any use of one fails."""

    def is_available() -> bool:
        # Optimisers ask as well, and would look at the GPU's streams.
        caller = str(sys._getframe(1).f_globals["__name__"])
        return caller.partition(".")[0] in ("nas", "supernet", "search_spaces")

    def fail() -> None:
        raise AssertionError("a GPU was used")

    monkeypatch.setattr("torch.cuda.is_available", is_available)
    monkeypatch.setattr("torch.cuda._lazy_init", fail)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def allocation() -> WorkerAllocation:
    """Two cores of a machine with four GPUs."""
    allocation = allocate_workers(parse_budget("2cpu"), 16, 4)
    assert (allocation.device, allocation.gpus_per_worker, allocation.threads) == ("cpu", 0, 1)
    return allocation


@pytest.fixture
def mandate(monkeypatch: pytest.MonkeyPatch) -> Mandate:
    """That of workers of this process."""
    monkeypatch.setattr(mandates, "_given", [])
    return Mandate.for_workers()


@pytest.fixture(scope="module")
def data(images: Path) -> Data:
    return load_data(f"folder:{images}")


def test_a_gpu_is_in_sight_and_its_use_noticed() -> None:
    assert default_device().type == "cuda"
    with pytest.raises(AssertionError, match="a GPU was used"):
        torch.zeros(1).to(default_device())


def test_a_worker_evaluates_on_the_cpu(
    mandate: Mandate, allocation: WorkerAllocation, space: Space, data: Data
) -> None:
    payload = payload_from_data(Supernet(space), data, 6, seed=0)
    worker = crew._Actor(mandate, EvaluationWorker, allocation.device, allocation.threads, payload)
    design = space.sample(Random(0))
    (scores,) = worker.call("score", [(design.to_json(), 0.0)])
    assert 0 <= scores["top1"] <= 100
    assert {x.device.type for x in worker.instance.evaluator.runner.supernet.parameters()} == {"cpu"}


def test_a_rank_trains_on_the_cpu(
    mandate: Mandate, allocation: WorkerAllocation, space: Space, data: Data, tmp_path: Path
) -> None:
    task = SupernetTask(space, Settings(recipe=RECIPE), data, tmp_path / "checkpoint.safetensors")
    rank = team._Rank(mandate, allocation.device, allocation.threads)
    rank.work(train_rank, task, 0, 1, rank.open_store(LOOPBACK, 1))
    assert rank.progress().step > 0
    read_supernet(space, "operator", task.checkpoint)


def test_a_trial_trains_on_the_cpu(
    allocation: WorkerAllocation, space: Space, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retraining_result, "provenance", lambda seed, command: {})  # names the machine's GPUs
    job = RetrainingJob(Design(space.sample(Random(0))), "scratch", tmp_path, RECIPE, data.digest)
    payload, results = {"data": data, "inherited": {}}, []
    trials.run_alone(subnet.train_one, job, payload, allocation, results.append)
    assert job.result_file.exists() and len(results) == 1
