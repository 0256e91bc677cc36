"""What `nas bench` measures of this tree beside what that of an earlier commit does of its own, in turns.

Each side runs the benches as its own program does, the space of one width of each stage for both, at one thread, so
that times are seconds of a core. Rows of one name are compared, round by round; what only one side has is listed. With
the sizes of `--quick` a round takes some five minutes on an idle core::

    python studies/performance/benches_against_commit.py 7c9782e --rounds 3
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from against_commit import IN_TREE, ROOT, SPACE, tree_of

from nas.runtime.files import write_json
from nas.runtime.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "benches_against_commit.json"
BENCHES = ("operators", "networks", "supernet")
#: ``bench: name against other`` -> seconds, of an image or of a call.
Seconds = dict[str, float]


def run_benches(tree: Path, benches: Sequence[str], options: Sequence[str]) -> Seconds:
    """Run benches of a tree; return the time of our side by the row's name."""
    command = [sys.executable, str(IN_TREE), "nas", "bench", *benches, *options, "--space", str(SPACE), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.PIPE, check=True)
    return seconds_by_row(json.loads(done.stdout)["benches"])


def seconds_by_row(benches: Mapping[str, Sequence[Mapping[str, Any]]]) -> Seconds:
    """Return the time of our side by the row's name, where a row is a throughput or a time."""
    seconds = {}
    for bench, rows in benches.items():
        for row in rows:
            name = f"{bench}: {row['name']} against {row['against'] or 'nothing'}"
            if row["unit"] == "images/s":
                seconds[name] = 1 / row["ours"]
            elif row["unit"] == "ms":
                seconds[name] = row["ours"] / 1e3
    return seconds


def summarize(rounds: Sequence[Mapping[str, Seconds]]) -> dict[str, Any]:
    """Return, of each row and of each bench over its rows, the median of the ratios now / before of a round."""
    names = [name for name in rounds[0]["now"] if all(name in one[side] for one in rounds for side in one)]
    ratios = {name: [one["now"][name] / one["before"][name] for one in rounds] for name in names}
    medians = {name: statistics.median(values) for name, values in ratios.items()}
    rows = {name: {"ratio": medians[name], "rounds": values} for name, values in ratios.items()}
    benches = {}
    for bench in dict.fromkeys(name.partition(":")[0] for name in names):
        each = [medians[name] for name in names if name.startswith(f"{bench}:")]
        benches[bench] = {"ratio": statistics.median(each), "least": min(each), "most": max(each), "rows": len(each)}
    every = {side: {name for one in rounds for name in one[side]} for side in ("before", "now")}
    alone = {side: sorted(found - set(names)) for side, found in every.items()}
    return {"benches": benches, "rows": rows, "only": alone}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the result with its provenance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commit", help="what to compare with")
    parser.add_argument("--benches", nargs="+", default=BENCHES)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side")
    parser.add_argument("--comparisons", type=int, default=5, help="rounds of a bench within a run")
    parser.add_argument("--full", action="store_true", help="the sizes of a bench, not those of --quick")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON file to write")
    options = parser.parse_args(arguments)
    asked = ["--threads", "1", "--device", "cpu", "--rounds", str(options.comparisons)]
    asked += [] if options.full else ["--quick"]
    rounds, loads = [], []
    with tree_of(options.commit) as tree:
        trees = {"before": tree, "now": ROOT}
        for number in range(options.rounds):
            order = list(trees) if number % 2 == 0 else list(reversed(trees))
            rounds.append({side: run_benches(trees[side], options.benches, asked) for side in order})
            loads.append(os.getloadavg()[0])
            print(json.dumps(summarize(rounds[-1:])["benches"]), flush=True)
    summary = summarize(rounds)
    for name, row in summary["rows"].items():
        print(f"{row['ratio']:.3f}  {name}")
    print(json.dumps({"benches": summary["benches"], "only": summary["only"]}, indent=1))
    command = ["python", "studies/performance/benches_against_commit.py", *(arguments or sys.argv[1:])]
    write_json(
        options.out,
        {"before": options.commit, "load": loads, "summary": summary, "provenance": provenance(0, command)},
    )


if __name__ == "__main__":
    main()
