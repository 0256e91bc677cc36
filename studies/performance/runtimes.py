"""How well tables of parts predict the latency of whole networks in each runtime: torch, ONNX Runtime, OpenVINO.

Random designs of a space are timed whole beside their parts, in the same rounds, as `nas bench latency` does; but only
the parts that these designs and the references have are measured, since the export of all parts of a space takes long.
A part's time is the same in either table. The result also says how well one runtime's latencies, or the multiply-adds,
order the designs of another. On 2 busy cores 16 designs took half an hour::

    python studies/performance/runtimes.py --scale nano --designs 16
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import torch
from scipy.stats import kendalltau

from nas.bench.latency import compare_predictions
from nas.latency.measure import network_to_parts_ratio, time_parts
from nas.latency.parts import network_part, reference_designs, timed_parts
from nas.latency.runtime_names import RUNTIMES, Runtime
from nas.latency.table import LatencyTable, device_name
from nas.runtime.console import progress_callback
from nas.runtime.files import write_json
from nas.runtime.provenance import provenance
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.declaration import load_declaration
from search_spaces.space import Space

RESULTS = Path(__file__).parent / "results" / "runtimes_nano.json"
CPU = torch.device("cpu")
SEED = 1  # not that of the networks that a table is scaled by


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the result with its provenance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", default="twins_cswin", help="a named space or a file")
    parser.add_argument("--scale", default="nano", help="its scale")
    parser.add_argument("--designs", type=int, default=16, help="random designs to predict")
    parser.add_argument("--runtime", action="append", choices=RUNTIMES, help="repeatable; all where left out")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON file to write")
    options = parser.parse_args(arguments)
    space = load_declaration(options.space).space(options.scale)
    designs = sample_distinct(space, options.designs)
    runtimes = {runtime: measure(space, designs, runtime) for runtime in options.runtime or RUNTIMES}
    orders = compare_orders(designs, {name: each["measured_ms"] for name, each in runtimes.items()})
    for name, each in runtimes.items():
        print(f"{name:12} tau {each['tau']:.2f}  median error {each['median_error_percent']:.1f}%")
    for pair, tau in orders.items():
        print(f"{pair:40} tau {tau:.2f}")
    given = sys.argv[1:] if arguments is None else arguments
    result = {
        "space": f"{space.name}/{space.scale}",
        "digests": [design.digest for design in designs],
        "runtimes": runtimes,
        "orders": orders,
        "provenance": provenance(SEED, ["python", "studies/performance/runtimes.py", *given]),
    }
    write_json(options.out, result)


def sample_distinct(space: Space, count: int) -> list[Architecture]:
    """Return so many different random designs."""
    rng, designs = Random(SEED), dict[Architecture, None]()
    while len(designs) < count:
        designs[space.sample(rng)] = None
    return list(designs)


def measure(space: Space, designs: Sequence[Architecture], runtime: Runtime) -> dict[str, Any]:
    """Return predicted and measured milliseconds of one image with one thread, and how they agree."""
    references = reference_designs(space)
    every = [*designs, *references]
    parts = {part.name: part for design in every for part in timed_parts(design)}
    networks = [network_part(design) for design in every]
    with progress_callback(f"measuring by {runtime}") as on_progress:
        times = time_parts([*parts.values(), *networks], CPU, on_progress=on_progress, runtime=runtime)
    factor = network_to_parts_ratio(times, references)
    table = LatencyTable(
        entries={name: factor * times[name] for name in parts},
        device=device_name(CPU),
        dtype="float32",
        batch=1,
        image_size=space.image_size,
        space=space.digest,
        provenance={"whole_over_parts": factor},
        runtime=runtime,
    )
    measured = [times[network_part(design).name] for design in designs]
    tau, error = compare_predictions(table, list(designs), measured, f"{space.name}/{space.scale}")
    return {
        "conditions": str(table),
        "parts": len(parts),
        "whole_over_parts": factor,
        "tau": tau.ours,
        "median_error_percent": error.ours,
        "predicted_ms": tau.details["predicted_ms"],
        "measured_ms": measured,
    }


def compare_orders(
    designs: Sequence[Architecture], measured: Mapping[str, Sequence[float]]
) -> dict[str, float]:
    """Return Kendall's tau of each runtime's latencies with those of the others, and with the multiply-adds."""
    columns = {"multiply-adds": [float(costs(design).macs) for design in designs], **measured}
    return {
        f"{one} and {other}": float(kendalltau(columns[one], columns[other]).statistic)
        for one, other in combinations(columns, 2)
    }


if __name__ == "__main__":
    main()
