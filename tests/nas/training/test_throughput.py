"""Images are timed where they are loaded and where they are used, and the rates reported once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from nas.data.dataset import load_data
from nas.runtime.console import Log
from nas.study.recipe import Recipe
from nas.study.settings import Settings
from nas.training.supernet_progress import TrainingProgress, with_image_rates
from nas.training.throughput import StepTimer, format_image_rates, measure_loader
from search_spaces.space import Space
from tests.helpers.training import train_supernet


def batches(count: int, seconds: float, first: float = 0.0) -> Iterator[tuple[Tensor, Tensor]]:
    """A loader of known speed, whose start takes longer."""
    time.sleep(first)
    for _ in range(count):
        time.sleep(seconds)
        yield torch.zeros(2, 1, 4, 4), torch.zeros(2)


def test_loader_is_measured_after_its_start() -> None:
    rate = measure_loader(batches(9, 0.02, first=0.5), batch_size=2)
    assert rate is not None and 40 < rate <= 100  # 2 images in 20 ms, or slower on a busy machine


@pytest.mark.parametrize("count", [0, 1])
def test_epochs_too_short_are_not_measured(count: int) -> None:
    assert measure_loader(batches(count, 0.0), batch_size=2) is None


def test_steps_are_measured_after_the_first_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("nas.runtime.stopwatch.time.perf_counter", lambda: now)
    timer = StepTimer(torch.device("cpu"))

    def take(seconds: float) -> None:
        nonlocal now
        with timer.step():
            now += seconds
        now += 7.0  # between steps, images are awaited

    for seconds in (9.0, 9.0, 9.0):
        take(seconds)
    for _ in range(20):
        assert timer.images_per_second(64) is None
        take(0.5)
    take(100.0)
    assert timer.images_per_second(64) == 128


def test_steps_of_a_gpu_are_timed_by_its_events_and_never_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    queue: list[float] = []  # milliseconds of the GPU when it passes each event
    passed = 0

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing  # nor does it have a synchronize()

        def record(self) -> None:
            queue.append(500.0 * len(queue))
            self.number = len(queue)

        def query(self) -> bool:
            return self.number <= passed

        def elapsed_time(self, end: Event) -> float:
            return queue[end.number - 1] - queue[self.number - 1]

    monkeypatch.setattr(torch.cuda, "Event", Event)
    timer = StepTimer(torch.device("cuda"))
    for _ in range(25):
        with timer.step():
            pass  # queued in no time
    assert len(queue) == 2 * 23
    passed = 45
    assert timer.images_per_second(64) is None  # the last of them is still computing
    passed = 46
    assert timer.images_per_second(64) == 128


def test_bottleneck_is_named() -> None:
    assert format_image_rates(1000.0, 500.0) == "images: the loader gives 1,000/s, training takes 500/s"
    slow = format_image_rates(400.0, 500.0)
    assert slow is not None and "the loader is the bottleneck" in slow
    assert format_image_rates(None, 500.0) is None and format_image_rates(400.0, None) is None


def test_training_reports_the_rates_once(
    space: Space, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    log.to(tmp_path / "log.txt")
    monkeypatch.setattr("nas.training.supernet_progress.log", log)
    settings = replace(Settings(), recipe=Recipe(epochs=8, batch_size=8))
    train_supernet(space, settings, load_data(f"folder:{images}"), tmp_path / "c", torch.device("cpu"))
    reports = [
        line for line in (tmp_path / "log.txt").read_text().splitlines() if "images: the loader" in line
    ]
    assert len(reports) == 1


def test_the_bar_has_the_rate_of_the_last_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = iter([float(second) for second in range(40)] + [40.0 + 2 * step for step in range(30)])
    monkeypatch.setattr("nas.training.supernet_progress.time", SimpleNamespace(monotonic=lambda: next(ends)))
    timer = SimpleNamespace(images_per_second=lambda batch_size: None)
    training = SimpleNamespace(recipe=SimpleNamespace(batch_size=50), timer=timer)
    seen: list[TrainingProgress] = []
    on_step = with_image_rates(training, lambda epoch, first: iter(()), seen.append)  # type: ignore[arg-type]
    for step in range(1, 71):
        on_step(step, 0.5)
    rates = [progress.images_per_second for progress in seen]
    assert rates[:3] == [None, 50.0, 50.0] and rates[39] == 50.0
    assert rates[-1] == 25.0  # steps of 2 s by now
