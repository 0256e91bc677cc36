"""The script that drives simulated workers: what they answer, where they sit, and the table."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from types import ModuleType

import pytest

from nas.cluster.budget import WorkerAllocation
from tests.helpers.scripts import load_script
from tests.helpers.searches import small_space

FOLDER = Path(__file__).parents[2] / "studies" / "scale"


@pytest.fixture
def simulated() -> ModuleType:
    return load_script(FOLDER / "simulated.py")


def test_a_seat_answers_as_a_worker_does_after_the_time_of_its_designs(simulated: ModuleType) -> None:
    designs = [small_space().sample(Random(seed)) for seed in (0, 1)]
    node = simulated.Node([0.001, 0.002], seats=2)
    answers = asyncio.run(node.call(1, "score", [(design.to_json(), 0.0) for design in designs]))
    for design, answer in zip(designs, answers, strict=True):
        assert answer["seconds"] == simulated.seconds_of(design.digest, [0.001, 0.002]) in (0.001, 0.002)
        assert answer["images"] == simulated.IMAGES and 0 < answer["correct"].bit_length() <= simulated.IMAGES


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # log files of a cluster that has stopped
def test_a_search_on_seats_of_two_nodes_ends(simulated: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(FOLDER))  # actors import what they are made of
    designs = list({each.digest: each for each in map(small_space().sample, map(Random, range(20)))}.values())
    with simulated.cluster(10):
        population = simulated.SimulatedPopulation(WorkerAllocation(10, 0.0, 1.0, "cpu"), [0.01])
        found = [index for done in population(designs, [0.0] * len(designs)) for index in done]
        population.close()
    assert sorted(found) == list(range(len(designs)))


@pytest.mark.parametrize(("workers", "nodes"), [(1, 1), (8, 1), (64, 8), (256, 8)])
def test_eight_gpus_are_a_node(simulated: ModuleType, workers: int, nodes: int) -> None:
    assert simulated.count_nodes(workers) == nodes


def test_the_table_says_what_was_measured() -> None:
    script = load_script(FOLDER / "run.py")
    mark = {"designs": 10, "wall": 2.0, "core": 0.1, "store_core": 0.02, "store_wall": 0.05, "transactions": 4}
    cell = {"workers": 8, "nodes": 1, "database": "sqlite", "sampler": "screened", "designs": 10, "trials": 12}
    cell |= {"busy_share": 0.5, "marks": [{**mark, "busy": 8.0, "rows": 900, "bytes": 14000, "rss_mb": 90.0}]}
    *_, row = script.to_tables({"8-sqlite": cell})
    assert row == "| 8 | 1 | sqlite | screened | 10 | 5.0 | 50.0% | 10.0 | 2.0 | 3.0 | 3.0 |"
