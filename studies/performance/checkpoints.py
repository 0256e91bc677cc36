"""What checkpoints cost a training: the time that it waits for them, written as before and beside it, in turns.

The state is that of a supernet after a step that used every weight. Nothing but the waiting is timed, so that it needs
neither images nor long steps; a rate of bytes depends on the disk and on what else runs, the ratio much less. On 2 cores
`tiny` takes a minute or two and 5 GB of memory::

    python studies/performance/checkpoints.py --scale tiny
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from nas.runtime.files import write_json
from nas.runtime.provenance import provenance
from nas.study.recipe import Recipe
from nas.training.checkpoint_writer import seconds_between_copies
from nas.training.loop import DEFAULT_SAVE_SECONDS, Training
from search_spaces.declaration import load_declaration
from supernet.supernet import Supernet

RESULTS = Path(__file__).parent / "results" / "checkpoints.json"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the result with its provenance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", default="twins_cswin", help="a named space or a file")
    parser.add_argument("--scale", default="tiny", help="its scale")
    parser.add_argument("--rounds", type=int, default=5, help="checkpoints to time, each in both ways")
    parser.add_argument(
        "--scratch", type=Path, help="folder on the disk to measure; the system's where it is left out"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON file to write")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # so that the processor time of the copying thread is all of it
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        training = used_training(options.space, options.scale, Path(folder, "checkpoint"))
        rounds = [time_checkpoint(training) for _ in range(options.rounds + 1)][
            1:
        ]  # the first takes new memory
        size = training.checkpoint.stat().st_size
    result = summarize(rounds, size)
    for name, value in result.items():
        print(f"{name:28} {value:,.4g}")
    command = [
        "python",
        "studies/performance/checkpoints.py",
        *(sys.argv[1:] if arguments is None else arguments),
    ]
    write_json(options.out, {"rounds": rounds, "summary": result, "provenance": provenance(0, command)})


def used_training(space_name: str, scale: str, checkpoint: Path) -> Training:
    """Return the training of a supernet whose optimizer knows every weight."""
    supernet = Supernet(load_declaration(space_name).space(scale, in_channels=3, num_classes=1000))
    training = Training(supernet, Recipe(epochs=1), 1000, checkpoint, "measured")
    for parameter in training.parameters:
        parameter.grad = torch.full_like(parameter, 1e-3)
    training.optimizer.step()
    training.optimizer.zero_grad(set_to_none=True)
    return training


def time_checkpoint(training: Training) -> dict[str, float]:
    """Return how long a checkpoint is copied, which a training waits for, and how long it is then written."""
    started, processor = time.perf_counter(), time.thread_time()
    training.start_saving()
    copied, processor = time.perf_counter(), time.thread_time() - processor
    training.writer.wait()
    return {
        "copy_seconds": copied - started,
        "copy_processor_seconds": processor,
        "write_seconds": time.perf_counter() - copied,
    }


def summarize(rounds: Sequence[dict[str, float]], size: int) -> dict[str, Any]:
    """Return medians, and the shares of a training's time that it waits for checkpoints.

    Before, it waited for the writing, without a copy, at least every 20 s; now it waits for the copy, as often as
    `seconds_between_copies` allows.
    """
    copying = statistics.median(each["copy_seconds"] for each in rounds)
    processor = statistics.median(each["copy_processor_seconds"] for each in rounds)
    writing = statistics.median(each["write_seconds"] for each in rounds)
    interval = max(seconds_between_copies(copying, DEFAULT_SAVE_SECONDS), writing)
    return {
        "bytes": size,
        "copy_seconds": copying,
        "copy_processor_seconds": processor,
        "write_seconds": writing,
        "seconds_between_before": DEFAULT_SAVE_SECONDS,
        "seconds_between_now": interval,
        "share_blocked_before": writing / (writing + DEFAULT_SAVE_SECONDS),
        "share_blocked_now": copying / (copying + interval),
        "waiting_ratio": writing / copying,
    }


if __name__ == "__main__":
    main()
