"""The table of latencies of a space's parts, and how well it predicts whole networks."""

from __future__ import annotations

from random import Random
from statistics import median

from nas.bench.measurement import Measurement, Target
from nas.bench.setup import Setup
from nas.bench.spaces import load_space
from nas.latency.measure import build_table, time_parts, usual_conditions
from nas.latency.parts import network_part, parts_to_time
from nas.latency.table import LatencyTable
from nas.ranking.correlation import kendall_tau
from nas.runtime.console import progress_callback
from search_spaces.architecture import Architecture

_DESIGNS = 30
_SEED = 1  # not that of the networks that the table is scaled by


def bench(setup: Setup, designs: int = _DESIGNS) -> tuple[LatencyTable, list[Measurement]]:
    """Measure a table, and random architectures beside it, in the same rounds.

    Returns:
        The table, and the measurements of rank correlation and error.
    """
    space = load_space(setup)
    batch, dtype = usual_conditions(setup.device)
    batch = setup.batch_size or batch
    rng = Random(_SEED)
    chosen = list({space.sample(rng): None for _ in range(4 if setup.quick else designs)})
    with progress_callback("measuring parts and networks") as on_progress:
        parts = [*parts_to_time(space), *map(network_part, chosen)]
        times = time_parts(parts, setup.device, batch, dtype, on_progress, setup.runtime)
    table = build_table(space, times, setup.device, batch, dtype, setup.runtime)
    measured = [times[network_part(design).name] for design in chosen]
    return table, compare_predictions(table, chosen, measured, f"{space.name}/{space.scale}")


def compare_predictions(
    table: LatencyTable, designs: list[Architecture], measured: list[float], where: str
) -> list[Measurement]:
    """Return how predictions agree with measurements: Kendall's tau and the median relative error.

    Args:
        table: What predicts.
        designs: Architectures.
        measured: Their milliseconds.
        where: What is measured, for the names.
    """
    predicted = [table.latency_ms(design) for design in designs]
    errors = [100 * abs(p - m) / m for p, m in zip(predicted, measured, strict=True)]
    tau = kendall_tau(predicted, measured)
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
