"""What people see of the training of a supernet: a progress bar, and once the rates of its images."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nas.runtime.console import bar, log
from nas.training.loop import EpochBatches, Training
from nas.training.throughput import format_image_rates, measure_loader

_RATE_STEPS = 30  # over which the progress bar's images/s are taken


@dataclass(frozen=True)
class TrainingProgress:
    """How far a training is.

    Args:
        step: Steps done.
        loss: Loss of the last one.
        image_rates: How fast images are loaded and used, for people; None as long as it is not known.
        images_per_second: Over the last steps; None after the first.
    """

    step: int
    loss: float
    image_rates: str | None
    images_per_second: float | None = None


def with_image_rates(
    training: Training, epoch_batches: EpochBatches, on_progress: Callable[[TrainingProgress], None]
) -> Callable[[int, float], None]:
    """Return the ``on_progress`` of a training's ``run``: it adds the rates of the images once they are known.

    Args:
        training: The training.
        epoch_batches: Its images; some are read at once, to measure how fast they are loaded.
        on_progress: Called after each step.
    """
    batch_size = training.recipe.batch_size
    loader_rate, image_rates = measure_loader(epoch_batches(0, 0), batch_size), None

    ends: deque[float] = deque(maxlen=_RATE_STEPS)

    def on_step(step: int, loss: float) -> None:
        nonlocal image_rates
        ends.append(time.monotonic())
        spent = ends[-1] - ends[0]
        image_rates = image_rates or format_image_rates(
            loader_rate, training.timer.images_per_second(batch_size)
        )
        rate = batch_size * (len(ends) - 1) / spent if spent else None
        on_progress(TrainingProgress(step, loss, image_rates, rate))

    return on_step


@contextlib.contextmanager
def progress_bar(done: int, total: int) -> Iterator[Callable[[TrainingProgress], None]]:
    """Draw the progress of a training; yield the ``on_progress`` that updates it.

    Args:
        done: Steps done before, when resumed.
        total: Steps in all.
    """
    if done:
        log.say(f"resuming the supernet at step {done} of {total}")
    with bar("training supernet", total, done) as progress:
        average_loss, rates_reported = 0.0, False

        def update(latest: TrainingProgress) -> None:
            nonlocal average_loss, rates_reported
            average_loss = 0.95 * average_loss + 0.05 * latest.loss if average_loss else latest.loss
            rate = latest.images_per_second
            images = "" if rate is None else f", {rate:,.0f} images/s"
            progress.update(latest.step, f"loss {average_loss:.3f}{images}")
            if latest.image_rates and not rates_reported:
                log.say(latest.image_rates)
                rates_reported = True

        yield update
