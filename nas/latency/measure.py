"""Measuring the latency table of a space on a device.

A part that runs over and over keeps caches to itself that it shares with the others in a network, so a few
whole networks are timed beside the parts, and the entries are scaled until their sums meet them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from nas.latency.onnx_writer import any_batch_size, write_onnx
from nas.latency.parts import (
    TimedPart,
    network_part,
    parts_to_time,
    reference_designs,
    space_parts,
    timed_parts,
)
from nas.latency.runtime_names import Runtime
from nas.latency.runtimes import Run, open_file, runtime_clock
from nas.latency.table import LatencyTable, device_name
from nas.latency.timing import time_modules
from nas.runtime.device import compute_dtype
from nas.runtime.provenance import provenance
from search_spaces.architecture import Architecture
from search_spaces.space import Space
from supernet.subnet import initialise

#: Images at once on a GPU. Of a single one most kernels take less time than the CPU needs to launch them: all designs
#: with as many kernels would be equally fast.
GPU_BATCH = 32


def usual_conditions(device: torch.device) -> tuple[int, torch.dtype]:
    """Return how many images at once latencies are measured with on a device, and in which type.

    One in float32 on a CPU; on a GPU 32 in the type that networks compute in there (``runtime/device.py``). A table
    for others is made by ``nas bench latency --batch-size`` and given by ``--latency-table``.
    """
    return (GPU_BATCH if device.type == "cuda" else 1), compute_dtype(device)


def measure_table(
    space: Space,
    device: torch.device,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
    on_progress: Callable[[int, int], None] | None = None,
    runtime: Runtime = "torch",
) -> LatencyTable:
    """Measure every distinct part of ``space``.

    Parts are timed in turn, round after round (``timing.py``); a part's latency is the median over the rounds,
    scaled as the whole networks ask for (``provenance`` says by how much). A CPU is measured with one thread: small
    maps do not gain from more, and its latencies do not depend on what else uses the other cores.

    Args:
        space: What to measure.
        device: Where.
        batch: Images at once.
        dtype: Type of weights and activations.
        on_progress: Called with ``(done, total)`` timings.
        runtime: What runs the parts; others than torch compute float32 on a CPU.

    Raises:
        Interrupted: If the user asked to stop.
    """
    times = time_parts(parts_to_time(space), device, batch, dtype, on_progress, runtime)
    return build_table(space, times, device, batch, dtype, runtime)


def measure_as_rank(
    space: Space,
    device: torch.device,
    on_progress: Callable[[tuple[int, int]], None],
    rank: int = 0,
    world: int = 1,
) -> LatencyTable:
    """Measure a table under the usual conditions, in the process that has the device.

    Args:
        space: Whose parts are measured.
        device: Where.
        on_progress: Called with ``(done, total)`` timings.
        rank: Number of this process, of which there is one.
        world: How many there are.

    Raises:
        Interrupted: If the user asked to stop.
    """
    return measure_table(
        space,
        device,
        *usual_conditions(device),
        on_progress=lambda done, total: on_progress((done, total)),
    )


def build_table(
    space: Space,
    times: Mapping[str, float],
    device: torch.device,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
    runtime: Runtime = "torch",
) -> LatencyTable:
    """Return the table of ``space`` with entries that are scaled to whole networks.

    Args:
        space: What was measured.
        times: Milliseconds by name of all ``parts_to_time``.
        device: Where.
        batch: Images at once.
        dtype: Type of weights and activations.
        runtime: What ran the parts.
    """
    factor = network_to_parts_ratio(times, reference_designs(space))
    return LatencyTable(
        entries={part.name: factor * times[part.name] for part in space_parts(space)},
        device=device_name(device),
        dtype=str(dtype).removeprefix("torch."),
        batch=batch,
        image_size=space.image_size,
        space=space.digest,
        runtime=runtime,
        provenance={**provenance(0, []), "whole_over_parts": factor},
    )


def network_to_parts_ratio(times: Mapping[str, float], designs: Iterable[Architecture]) -> float:
    """Return how much longer whole networks take than the sum of their parts: the median over ``designs``.

    Args:
        times: Milliseconds by name, of the designs' parts and of their networks.
        designs: What to compare.
    """
    return median(
        times[network_part(design).name] / math.fsum(times[part.name] for part in timed_parts(design))
        for design in designs
    )


def time_parts(
    parts: Sequence[TimedPart],
    device: torch.device,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
    on_progress: Callable[[int, int], None] | None = None,
    runtime: Runtime = "torch",
) -> dict[str, float]:
    """Return the milliseconds of every part by name; arguments as those of ``measure_table``.

    Raises:
        Interrupted: If the user asked to stop.
    """
    # What is built and what goes in decide the time: parts that agree in both are timed once.
    key = {part.name: (repr(part.blueprint), part.shape) for part in parts}
    distinct = {key[part.name]: part for part in parts}

    def build(part: TimedPart, folder: Path) -> tuple[Callable[[Tensor], object], Tensor]:
        module: nn.Module = part.blueprint.build()
        initialise(module)
        inputs = torch.randn(batch, *part.shape)
        if runtime == "torch":
            return module.eval().to(device, dtype), inputs.to(device, dtype)
        return _open_elsewhere(module.eval(), part, runtime, folder), inputs

    threads = torch.get_num_threads()
    # The weights' values do not matter, but drawing them may not change what is drawn after.
    with torch.random.fork_rng(devices=()), torch.inference_mode(), TemporaryDirectory() as folder:
        torch.set_num_threads(1)
        try:
            builders = {content: partial(build, part, Path(folder)) for content, part in distinct.items()}
            clock = None if runtime == "torch" else runtime_clock(runtime, 1)
            times = time_modules(builders, device, on_progress or (lambda done, total: None), clock)
        finally:
            torch.set_num_threads(threads)
    return {name: 1e3 * times[content] for name, content in key.items()}


def _open_elsewhere(module: nn.Module, part: TimedPart, runtime: Runtime, folder: Path) -> Run:
    """Return what runs a part in another runtime with one thread: for any batch size, as exported models are."""
    path = folder / "part.onnx"
    # Two images, since what is recorded of one is of one alone.
    write_onnx(module, path, torch.randn(2, *part.shape), any_batch_size())
    run = open_file(path, runtime, threads=1)
    path.unlink()
    return run
