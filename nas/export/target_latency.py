"""How long the files of an export take where they are to be used, measured side by side on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.export.source_module import load_source
from nas.latency.runtime_names import Runtime
from nas.latency.runtimes import Run, open_file, runtime_clock, runtime_version
from nas.latency.side_by_side import ROUNDS, summarize_ms, time_side_by_side
from nas.runtime.device import hardware_name
from nas.runtime.stopwatch import Clock


def measure_targets(
    folder: Path,
    targets: Sequence[Runtime],
    normalised: Tensor,
    given: Tensor,
    threads: int,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Return the latency of one image, of every file that the targets run.

    Args:
        folder: The export folder.
        targets: Runtimes.
        normalised: Images as ``model.py`` takes them, ``(B, C, H, W)``.
        given: The same as the files beside it take them.
        threads: How many threads each runtime may use.
        rounds: How often each is timed.

    Raises:
        Interrupted: If the user asked to stop.
    """
    clocks = {runtime_clock(runtime, threads) for runtime in targets}
    clock: Clock = "core" if clocks == {"core"} else "wall"
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            runs = {
                (path.name, runtime): partial(run, (normalised if path.suffix == ".py" else given)[:1])
                for runtime in targets
                for path, run in _files(folder, runtime, threads)
            }
            seconds = time_side_by_side(runs, clock, rounds)
    finally:
        torch.set_num_threads(before)
    return {
        "device": hardware_name(torch.device("cpu")),
        "threads": threads,
        "batch": 1,
        "image_size": list(normalised.shape[2:]),
        "clock": clock,
        "rounds": rounds,
        "results": [
            {"file": file, "runtime": runtime, "version": runtime_version(runtime), **summarize_ms(timings)}
            for (file, runtime), timings in seconds.items()
        ],
    }


def _files(folder: Path, runtime: Runtime, threads: int) -> Iterator[tuple[Path, Run]]:
    """Yield the files of a folder that a runtime runs, each with what runs it."""
    if runtime == "torch":
        yield folder / "model.py", load_source(folder).load_model()
        for path in sorted(folder.glob("*.pt2")):
            yield path, torch.export.load(path).module()
    else:
        for path in sorted(folder.glob("*.onnx" if runtime == "onnxruntime" else "*.xml")):
            yield path, open_file(path, runtime, threads)
