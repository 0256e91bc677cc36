"""Racing: designs are stopped early, no more of them wrongly than was said, and nothing else changes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from nas.data.dataset import Data, load_data
from nas.evaluation.population import EvaluationWorker, payload_from_data
from nas.pipeline.run import describe_savings
from nas.search.loop import Search, SearchConfig, analytic_costs, pareto_records
from nas.search.objectives import Goal
from nas.search.pareto import dominates
from nas.search.racing import LOOKS, required_top1, stop_threshold, stop_thresholds
from nas.search.trial_store import Store, TrialRecord
from search_spaces.architecture import Architecture
from search_spaces.declaration import parse_declaration
from search_spaces.space import Space
from supernet.supernet import Supernet
from tests.helpers.command_line import TINY_SPACE

GOAL = Goal(("top1", "macs"))


# -- the bound ---------------------------------------------------------------------------------------


@st.composite
def populations(draw: st.DrawFn) -> tuple[list[int], int, float]:
    """Batches of validation images, the rival's count of right ones, and delta."""
    total, batch = draw(st.integers(2, 200)), draw(st.integers(1, 60))
    sizes = [min(batch, total - start) for start in range(0, total, batch)]
    return sizes, draw(st.integers(1, total)), draw(st.floats(0.01, 0.49))


def hypergeometric(total: int, right: int, seen: int, k: int) -> float:
    """Return P(X = k) of the hypergeometric distribution."""
    ways = math.comb(right, k) * math.comb(total - right, seen - k)
    return ways / math.comb(total, seen) if k <= right and seen - k <= total - right else 0.0


def stop_probability(sizes: list[int], right: int, thresholds: list[int]) -> float:
    """Return the exact probability that a design right on ``right`` images is stopped."""
    left, seen = sum(sizes), 0
    alive, stopped = {0: 1.0}, 0.0
    for size, threshold in zip(sizes, thresholds, strict=True):
        after: dict[int, float] = {}
        for k, weight in alive.items():
            for more in range(size + 1):
                if more <= right - k and (p := hypergeometric(left, right - k, size, more)):
                    after[k + more] = after.get(k + more, 0.0) + weight * p
        left, seen = left - size, seen + size
        stopped += sum(weight for k, weight in after.items() if k <= threshold)
        alive = {k: weight for k, weight in after.items() if k > threshold}
    return stopped


@settings(max_examples=60, deadline=None)
@given(populations(), st.data())
def test_a_design_that_reaches_what_is_required_is_stopped_with_at_most_delta(
    population: tuple[list[int], int, float], data: st.DataObject
) -> None:
    sizes, needed, delta = population
    total = sum(sizes)
    right = data.draw(st.integers(needed, min(total, needed + 5)))
    thresholds = stop_thresholds(sizes, 100 * needed / total, delta)
    assert stop_probability(sizes, right, thresholds) <= delta
    # The same, of images in orders that were really drawn.
    rng, trials = np.random.default_rng(total), 2000
    orders = rng.permuted(np.tile(np.arange(total) < right, (trials, 1)), axis=1)
    so_far = orders.cumsum(axis=1)[:, np.cumsum(sizes) - 1]
    frequency = (so_far <= np.array(thresholds)).any(axis=1).mean()
    assert frequency <= delta + 5 * math.sqrt(delta / trials)


@given(populations())
def test_what_is_certain_stops_and_the_end_does_not(population: tuple[list[int], int, float]) -> None:
    sizes, needed, delta = population
    total = sum(sizes)
    thresholds = stop_thresholds(sizes, 100 * needed / total, delta)
    looks = [batch for batch, threshold in enumerate(thresholds) if threshold >= 0]
    assert thresholds[-1] == -1 and len(looks) < LOOKS
    for batch in looks:
        seen = sum(sizes[: batch + 1])
        assert (
            thresholds[batch] >= needed - (total - seen) - 1
        )  # right so far and all that are left are too few
        # A stopped design's accuracy so far is below what is required: it is dominated in any sampler's eyes too.
        assert thresholds[batch] * total < needed * seen


@given(st.integers(10, 2000), st.floats(0.3, 1), st.floats(0.05, 0.95), st.floats(0.001, 0.2))
def test_the_tail_stops_wherever_hoeffding_and_serfling_do(
    total: int, accuracy: float, share: float, risk: float
) -> None:
    needed, seen = round(accuracy * total), max(1, round(share * total))
    k = stop_threshold(total, needed, seen, risk)
    gap = needed / total - (k + 1) / seen  # of the first count that does not stop
    if gap > 0:
        assert math.exp(-2 * seen * gap**2 / (1 - (seen - 1) / total)) > risk * (1 - 1e-6)


def test_numbers() -> None:
    # 10 images, 5 seen, the rival right on 8: 3 of 5 is the least possible, with C(8,3) C(2,2) / C(10,5) = 2/9.
    assert stop_threshold(10, 8, 5, 0.22) == 2 and stop_threshold(10, 8, 5, 0.223) == 3
    assert stop_thresholds([250, 250], 0.0, 0.05) == [-1, -1]  # nothing to reach
    assert stop_thresholds([500], 90.0, 0.05) == [-1]  # nowhere to stop
    assert sum(limit >= 0 for limit in stop_thresholds([60] * 34, 90.0, 0.05)) == LOOKS - 1  # large images
    *rising, end = stop_thresholds([63] * 7 + [59], 90.0, 0.05)
    assert rising == sorted(rising) and rising[0] > 0 and end == -1


def test_the_required_top1_is_the_best_of_those_at_least_as_good_in_all_else() -> None:
    goal = Goal(("top1", "macs", "params"))
    rivals = [
        {"top1": 90.0, "macs": 5.0, "params": 5.0},
        {"top1": 80.0, "macs": 4.0, "params": 4.0},
        {"top1": 95.0, "macs": 9.0, "params": 1.0},
    ]
    designs = [{"macs": macs, "params": params} for macs, params in ((5, 5), (4, 9), (3, 9), (9, 9))]
    assert required_top1(designs, rivals, goal) == [90.0, 80.0, 0.0, 95.0]
    assert required_top1(designs, [], goal) == [0.0] * 4
    assert required_top1([{}], rivals, Goal(("top1",))) == [95.0]


# -- a search of a trained supernet ------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(cache_dir: Path) -> Data:
    return load_data("mnist5k", image_size=16)


@pytest.fixture(scope="module")
def trained(data: Data) -> Supernet:
    """A supernet of the tiny space that tells many of the real digits."""
    space = parse_declaration(TINY_SPACE, "tiny").space("nano", 16, 1, 10)
    torch.manual_seed(0)
    supernet, rng = Supernet(space), Random(0)
    optimizer = torch.optim.AdamW(supernet.parameters(), 3e-3)
    for epoch in range(3):
        for images, labels in data.train.batches(64, shuffle_seed=0, epoch=epoch):
            optimizer.zero_grad()
            F.cross_entropy(supernet(images, space.sample(rng)), labels).backward()
            optimizer.step()
    return supernet.eval()


class Worker:
    """Evaluates with what a worker holds, some designs at a time.

    Args:
        supernet: The weights.
        data: The images.
        racing: Delta, or None.
        group: Designs at a time.
    """

    def __init__(self, supernet: Supernet, data: Data, racing: float | None, group: int = 8) -> None:
        self.held = EvaluationWorker(payload_from_data(supernet, data, 2000, 0, racing), "cpu")
        self.group, self.seen = group, 0

    def __call__(
        self, designs: list[Architecture], required_top1: list[float], more: object = None
    ) -> Iterator[dict[int, dict[str, float]]]:
        for first in range(0, len(designs), self.group):
            places = range(first, min(first + self.group, len(designs)))
            scores = self.held.score([(designs[place].to_json(), required_top1[place]) for place in places])
            self.seen += len(scores)
            yield dict(zip(places, scores, strict=True))


def searched(
    folder: Path, worker: Worker, racing: float | None, sampler: str = "nsga2", trials: int = 32
) -> list[TrialRecord]:
    space: Space = worker.held.evaluator.runner.supernet.space
    store = Store(f"sqlite:///{folder}/study.db", "study", GOAL.objectives, space.choices)
    plan = SearchConfig(GOAL, sampler, batch_size=8, trials=trials, racing=racing)
    rows = Search(space, store, plan, worker, analytic_costs).run(lambda row, n: None)
    assert [timeless(row) for row in store.records()] == [timeless(row) for row in rows]
    return rows


def timeless(row: TrialRecord) -> TrialRecord:
    return replace(row, scores={name: v for name, v in row.scores.items() if name != "seconds"})


def full(worker: Worker, rows: list[TrialRecord]) -> dict[str, dict[str, Any]]:
    """Return the scores on all images of every evaluated design, by digest."""
    designs = list({row.architecture.digest: row.architecture for row in rows}.values())
    scores = worker.held.score([(design.to_json(), 0.0) for design in designs])
    known = zip(designs, scores, strict=True)
    return {design.digest: {**analytic_costs(design), **found} for design, found in known}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the raced search is kept."""
    return tmp_path_factory.mktemp("raced")


@pytest.fixture(scope="module")
def raced(trained: Supernet, data: Data, folder: Path) -> list[TrialRecord]:
    return searched(folder, Worker(trained, data, 0.05), 0.05)


def test_without_racing_nothing_changes(trained: Supernet, data: Data, tmp_path: Path) -> None:
    plain = Worker(trained, data, None)
    content = payload_from_data(trained, data, 2000, 0)
    assert [len(labels) for _, labels in content["validation"]] == [250, 250]
    assert [len(images) for images in content["calibration"]] == [128, 128]  # each counts alike
    rng = Random(1)
    designs = [trained.space.sample(rng) for _ in range(6)]
    evaluator = plain.held.evaluator
    expected = [{**scores, "seconds": 0} for scores in evaluator.score(designs)]
    unreached = [stop_thresholds(plain.held.batch_sizes, 100.0, 0.4)] * len(designs)
    assert all("stopped_after" in scores for scores in evaluator.score(designs, unreached))
    for high in (0.0, 100.0):  # whatever is required
        found = plain.held.score([(design.to_json(), high) for design in designs])
        assert [{**scores, "seconds": 0} for scores in found] == expected
    rows = searched(tmp_path, plain, None, trials=16)
    assert all(row.stopped_after is None and row.measured == row.evaluated for row in rows)


def test_stopped_designs_were_dominated_and_others_saw_all_images(
    trained: Supernet, data: Data, raced: list[TrialRecord]
) -> None:
    truth = full(Worker(trained, data, 0.05), raced)
    values = {digest: GOAL.values(scores) for digest, scores in truth.items()}
    measured = [row for row in raced if row.measured]
    for row in measured:
        scores = truth[row.architecture.digest]
        assert (row.scores["top1"], row.scores["loss"]) == (scores["top1"], scores["loss"])
    stopped = [row for row in raced if row.evaluated and row.stopped_after is not None]
    assert len(stopped) >= 5 and all(row.batch > 0 for row in stopped)
    assert all(63 <= (row.stopped_after or 0) < len(data.val) for row in stopped)
    wrong = [
        row
        for row in stopped
        if not any(
            dominates(values[other.architecture.digest], values[row.architecture.digest], GOAL.directions)
            for other in measured
            if other.batch < row.batch
        )
    ]
    assert len(wrong) <= 0.05 * len(raced)


def test_the_front_is_that_without_racing(trained: Supernet, data: Data, tmp_path: Path) -> None:
    # Random proposals do not depend on scores, so both searches evaluate the same designs.
    plain, quick = Worker(trained, data, None), Worker(trained, data, 0.05)
    (tmp_path / "plain").mkdir()
    (tmp_path / "quick").mkdir()
    without = searched(tmp_path / "plain", plain, None, "random")
    rows = searched(tmp_path / "quick", quick, 0.05, "random")
    assert [row.architecture for row in rows] == [row.architecture for row in without]
    assert plain.seen == quick.seen == 32  # stopped designs count, and none is evaluated twice
    stopped = {row.architecture.digest for row in rows if row.stopped_after is not None}
    front, raced_front = (
        [row.architecture.digest for row in pareto_records(of, GOAL)] for of in (without, rows)
    )
    assert len(stopped) >= 5 and not stopped & set(raced_front)
    assert len(stopped & set(front)) <= 0.05 * len(rows)  # what the bound allows
    assert set(front) - stopped <= set(raced_front)
    if not stopped & set(front):
        assert raced_front == front


def test_samplers_and_optuna_see_stopped_designs_as_dominated(raced: list[TrialRecord], folder: Path) -> None:
    rows = raced
    study = optuna.load_study(study_name="study", storage=f"sqlite:///{folder}/study.db")
    best = {trial.user_attrs["digest"] for trial in study.best_trials}
    front = {row.architecture.digest for row in pareto_records(rows, GOAL)}
    assert best >= front and not best & {row.architecture.digest for row in rows if row.stopped_after}
    stopped = [trial for trial in study.get_trials() if "stopped_after" in trial.user_attrs]
    assert stopped and all(trial.state.name == "COMPLETE" and trial.values for trial in stopped)
    left = [500 - row.stopped_after for row in rows if row.evaluated and row.stopped_after is not None]
    assert describe_savings(rows, 500) == (
        f"racing stopped {len(left)} of 32 designs early and saved {sum(left)} of 16000 validation images"
    )


def test_groups_and_interruptions_change_nothing(
    trained: Supernet, data: Data, raced: list[TrialRecord], tmp_path: Path
) -> None:
    # A search of 13 designs ends within a batch; one of 32 goes on with it.
    searched(tmp_path, Worker(trained, data, 0.05, group=3), 0.05, trials=13)
    rows = searched(tmp_path, last := Worker(trained, data, 0.05, group=1), 0.05)
    assert [timeless(row) for row in rows] == [timeless(row) for row in raced]
    assert last.seen == 32 - 13
