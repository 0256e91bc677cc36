"""``python -m nas.bench NAME``: one bench on a machine that lacks the libraries of the command line.

``nas bench`` does the same with more options, and says what is wrong with a request in one sentence.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from nas.bench.cells import to_cells, to_line
from nas.bench.command import BENCHES, run
from nas.bench.measurement import Measurement
from nas.bench.setup import Setup
from nas.runtime.console import log
from nas.runtime.device import parse_device
from nas.runtime.files import write_json
from nas.runtime.provenance import provenance
from search_spaces.errors import NasError


def main() -> int:
    """Run a bench; return 0, or 1 with a sentence on what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m nas.bench")
    parser.add_argument("bench", choices=BENCHES)
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--space", default="twins_cswin")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    options = parser.parse_args()
    try:
        setup = Setup(
            parse_device(options.device), torch.get_num_threads(), space=options.space, quick=options.quick
        )
        outcome = run([options.bench], setup, _say_measurements)
        results = outcome.to_json(provenance(0, ["python", "-m", "nas.bench", *sys.argv[1:]]))
        if outcome.table is not None:
            results["latency_table"] = outcome.table.to_json()
        write_json(options.out, results)
    except NasError as error:
        log.say(str(error))
        return 1
    return 0


def _say_measurements(name: str, found: Sequence[Measurement]) -> None:
    log.say(f"{name}:")
    for one in found:
        log.say(f"  {to_line(to_cells(one))}")


if __name__ == "__main__":
    sys.exit(main())
