"""A few steps and evaluations, really timed: of a step whose seconds are known, and on a device that is not here."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.data.dataset import Data, load_data
from nas.runtime.own_process import call_in_own_process
from nas.study.recipe import Recipe
from nas.study.settings import Settings
from nas.training import step_times
from nas.training.loop import ForwardBackward
from nas.training.step_times import StepTimes, Team, TimingRequest, find_typical, measure_step_times
from search_spaces.cost import costs
from search_spaces.space import Space


@pytest.fixture(scope="module")
def data(images: Path) -> Data:
    return load_data(f"folder:{images}")


@pytest.fixture
def request_(space: Space, data: Data) -> TimingRequest:
    recipe = Recipe(epochs=1, batch_size=16, shards=2)
    return TimingRequest(space, Settings(recipe=recipe, retraining=recipe), data, "cpu", Team(2), Team(), 1)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_times, "_ALL_STEPS", 0.2)


def require_everything(times: StepTimes) -> None:
    assert times.device
    assert len(times.supernet) >= 3 and len(times.retraining) == len(times.validation) == 3
    assert len(times.evaluation) == len(times.extraction) == len(times.calibration) == 5
    assert (
        min(*times.supernet, *times.evaluation, *times.extraction, *times.retraining, *times.validation) > 0
    )


@pytest.mark.slow
def test_everything_is_timed_in_a_process_of_its_own(request_: TimingRequest) -> None:
    times = call_in_own_process(partial(measure_step_times, request_), 300)
    assert times is not None and times.device
    assert len(times.supernet) >= 3 and len(times.retraining) == len(times.validation) == 3
    assert len(times.evaluation) == len(times.extraction) == len(times.calibration) == 5
    assert (
        min(*times.supernet, *times.evaluation, *times.extraction, *times.retraining, *times.validation) > 0
    )
    assert request_.data.train  # nothing of it was used up


def test_a_long_step_is_timed_on_few_images_and_counted_in_full(
    request_: TimingRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def slow(*arguments: Any) -> ForwardBackward:
        real = step_of(*arguments)

        def step(number: int, images: Tensor, labels: Tensor) -> Tensor:
            seen.append(len(images))
            until = time.thread_time() + 0.1 * len(images)
            while time.thread_time() < until:
                pass
            return real(number, images, labels)

        return step

    step_of = step_times.supernet_step
    monkeypatch.setattr(step_times, "supernet_step", slow)
    monkeypatch.setattr(step_times, "_LONG_STEP", 0.5)
    times = measure_step_times(request_)
    assert times is not None
    # A rank has 8 of a batch's 16 images: 0.8 s, of which no more than 5 images were looked at.
    assert 0.8 <= statistics.median(times.supernet) < 2.4
    assert 2 <= max(seen) <= 5 and times.slowdown >= 1


def test_a_short_step_is_timed_on_all_its_images(
    request_: TimingRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_times, "_LONG_STEP", 60.0)
    seen: list[tuple[int, int]] = []

    def watched(*arguments: Any) -> ForwardBackward:
        seen.append(arguments[-2:])
        return step_of(*arguments)

    step_of = step_times.supernet_step
    monkeypatch.setattr(step_times, "supernet_step", watched)
    times = measure_step_times(request_)
    assert times is not None
    require_everything(times)
    assert seen == [(1, 2)]  # one of two shards


def test_a_device_that_is_not_here_is_not_timed(request_: TimingRequest) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert measure_step_times(replace(request_, device="cuda")) is None


def test_without_a_supernet_only_retraining_is_timed(request_: TimingRequest) -> None:
    times = measure_step_times(replace(request_, supernet=None))
    assert times is not None and times.supernet == () and len(times.retraining) == 3


def test_a_typical_design_is_neither_the_smallest_nor_the_largest(space: Space) -> None:
    macs = costs(find_typical(space)).macs
    assert costs(space.smallest).macs < macs < costs(space.largest).macs
