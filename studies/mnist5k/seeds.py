"""The main job with several seeds: mean and standard deviation of what it reaches.

Each seed is the search of `make search`, whose options are read from the Makefile, in a study folder of its own and
without the export. Killed and started again, the script goes on where it was; what a seed took is the sum over its
runs. On 2 cores without a GPU a seed takes 4 to 5 minutes::

    python studies/mnist5k/seeds.py --seeds 5 --scratch /tmp/mnist5k-seeds
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nas.runtime.files import write_json
from nas.runtime.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "seeds.json"
MAKEFILE = Path(__file__).parents[2] / "Makefile"
#: Columns of the table: key of a seed's row, heading, unit.
COLUMNS = (
    ("supernet_top1", "supernet's best, validation", "%"),
    ("val_top1", "best retrained, validation", "%"),
    ("test_top1", "best retrained, test", "%"),
    ("mean_test_top1", "all retrained, test", "%"),
    ("minutes", "time", " min"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the seeds that are not finished, print the table and write it with its provenance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0 on")
    parser.add_argument("--scratch", type=Path, required=True, help="folder for the studies; not committed")
    parser.add_argument("--budget", default="auto", help="as of nas search")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON file to write")
    options = parser.parse_args(arguments)
    rows = [run_seed(seed, options.scratch, options.budget) for seed in range(options.seeds)]
    summary = summarize(rows)
    print(to_table(rows, summary))
    command = ["python", "studies/mnist5k/seeds.py", *(sys.argv[1:] if arguments is None else arguments)]
    write_json(options.out, {"seeds": rows, "summary": summary, "provenance": provenance(0, command)})


def run_seed(seed: int, scratch: Path, budget: str) -> dict[str, Any]:
    """Return the row of a seed: what an earlier run stored, or what its search says when it is done."""
    stored = scratch / f"seed-{seed}.json"
    if not stored.exists():
        study = scratch / f"seed-{seed}"
        command = [sys.executable, "-m", "nas", "search", *search_options()]
        command += ["--budget", budget, "--study", str(study), "--seed", str(seed), "--json"]
        with add_up_seconds(scratch / f"seed-{seed}.seconds.json") as seconds:
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        write_json(stored, read_row(seed, json.loads(done.stdout), seconds()))
    row: dict[str, Any] = json.loads(stored.read_text(encoding="utf-8"))
    return row


def search_options() -> list[str]:
    """Return the options of `make search`, but for study and budget, which each seed has its own of, and the export."""
    (line,) = re.findall(r"^SEARCH \?= (.*)$", MAKEFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    options = shlex.split(line)
    for name in ("--study", "--budget"):
        del options[options.index(name) : options.index(name) + 2]
    return [option for option in options if option != "--export"]


@contextmanager
def add_up_seconds(file: Path) -> Iterator[Any]:
    """Time a block and add it to what ``file`` holds, also when the block fails; yields a reader of the sum."""
    begun = time.monotonic()

    def total() -> float:
        return float(json.loads(file.read_text(encoding="utf-8")))

    before = total() if file.exists() else 0.0
    try:
        yield total
    finally:
        write_json(file, before + time.monotonic() - begun)


def read_row(seed: int, result: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return a seed's row from what ``nas search --json`` printed: the retrained design of the best validation accuracy."""
    best = max(result["retrained"], key=lambda each: float(each["val_top1"]))
    return {
        "seed": seed,
        "digest": best["digest"],
        "design": best["design"],
        "front": len(result["front"]),
        "retrained": len(result["retrained"]),
        "macs": best["macs"],
        "params": best["params"],
        "supernet_top1": max(entry["scores"]["top1"] for entry in result["front"]),
        "val_top1": best["val_top1"],
        "test_top1": best["test_top1"],
        "mean_test_top1": statistics.fmean(each["test_top1"] for each in result["retrained"]),
        "minutes": seconds / 60,
    }


def summarize(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Return mean and sample standard deviation of every column; no deviation for a single seed."""
    return {
        key: {
            "mean": statistics.fmean(row[key] for row in rows),
            "std": statistics.stdev(row[key] for row in rows) if len(rows) > 1 else None,
        }
        for key, _, _ in COLUMNS
    }


def to_table(rows: Sequence[dict[str, Any]], summary: dict[str, dict[str, float | None]]) -> str:
    """Return a Markdown table: a line a seed, and mean ± standard deviation over them."""
    lines = ["| seed | design | " + " | ".join(heading for _, heading, _ in COLUMNS) + " |"]
    lines += ["|---" * (len(COLUMNS) + 2) + "|"]
    for row in rows:
        cells = [f"{row[key]:.1f}{unit}" for key, _, unit in COLUMNS]
        lines.append("| " + " | ".join([str(row["seed"]), row["digest"], *cells]) + " |")
    means = [format_spread(summary[key], unit) for key, _, unit in COLUMNS]
    lines.append("| " + " | ".join([f"mean of {len(rows)}", "", *means]) + " |")
    return "\n".join(lines)


def format_spread(value: dict[str, float | None], unit: str) -> str:
    """Return ``mean ± std`` with its unit."""
    spread = "" if value["std"] is None else f" ± {value['std']:.1f}"
    return f"{value['mean']:.1f}{spread}{unit}"


if __name__ == "__main__":
    main()
