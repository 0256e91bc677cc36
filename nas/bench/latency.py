"""The table of latencies of a space's parts, and how well it predicts whole networks."""

from __future__ import annotations

from random import Random
from statistics import median

from scipy.stats import kendalltau

from nas.bench.core import Measurement, Setup, Target
from nas.bench.spaces import space_of
from nas.latency.table import LatencyTable, needed, tabled, time_parts, whole
from nas.runtime.console import progress_callback
from search_spaces.architecture import Architecture

_DESIGNS = 30
_SEED = 1  # not that of the networks that the table is scaled by


def bench(setup: Setup, designs: int = _DESIGNS) -> tuple[LatencyTable, list[Measurement]]:
    """Measure a table, and random architectures beside it, in the same rounds.

    Returns:
        The table, and the rows of rank correlation and error.
    """
    space = space_of(setup)
    batch = setup.batch_size or 1
    rng = Random(_SEED)
    chosen = list({space.sample(rng): None for _ in range(4 if setup.quick else designs)})
    with progress_callback("measuring parts and networks") as progress:
        found = [*needed(space), *map(whole, chosen)]
        times = time_parts(found, setup.device, batch, progress=progress)
    table = tabled(space, times, setup.device, batch)
    return table, judged(table, chosen, [times[whole(a).name] for a in chosen], f"{space.name}/{space.scale}")


def judged(
    table: LatencyTable, designs: list[Architecture], measured: list[float], where: str
) -> list[Measurement]:
    """Return how predictions agree with measurements: Kendall's tau and the median relative error.

    Args:
        table: What predicts.
        designs: Architectures.
        measured: Their milliseconds.
        where: What is measured, for the rows' names.
    """
    predicted = [table.latency_ms(design) for design in designs]
    errors = [100 * abs(p - m) / m for p, m in zip(predicted, measured, strict=True)]
    tau = float(kendalltau(predicted, measured).statistic)
    details = {
        "predicted_ms": predicted,
        "measured_ms": measured,
        "digests": [design.digest for design in designs],
        "table": str(table),
        "parts": len(table.entries),
        "whole_over_parts": table.provenance.get("whole_over_parts"),
    }
    name = f"{where}, {len(designs)} random architectures, {table}"
    return [
        Measurement(f"{name}: rank correlation", tau, "Kendall's tau", target=Target(0.9), details=details),
        Measurement(f"{name}: median error", median(errors), "%", target=Target(10.0, at_most=True)),
    ]
