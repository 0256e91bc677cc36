"""How well supernets order the designs of the attention table, by how they are trained, at equal cost.

Every variant trains a supernet of the table's space on the table's images, with several seeds, and is judged by how it
orders the designs that were trained alone (``nas rank --table``). A training has as many epochs as make the MACs of its
paths those of the default's, so that what differs is how they are spent; the seconds are in the table too. Killed and
started again, it goes on where it was::

    python studies/supernet_ranking/run.py --scratch /tmp/table

On 2 cores a supernet of the default length takes about three minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from nas.ranking.agreement import Agreement, judge, noise_ceiling, size_baselines
from nas.ranking.trained_designs import TrainedDesign, TrainingTable
from nas.runtime.files import write_json
from nas.runtime.provenance import provenance
from search_spaces.cost import costs
from search_spaces.declaration import load_declaration
from search_spaces.space import Space
from supernet.sampling import policy

HERE = Path(__file__).parent
TABLE = HERE.parent / "attention_table"
SIDE = 16
#: Steps over which the MACs of a policy's paths are averaged.
STEPS = 400


@dataclass(frozen=True)
class Variant:
    """One way to train a supernet.

    Args:
        policy: ``--policy``.
        paths: ``--paths``.
        options: Other options of ``nas search``.
        share: Cost as a multiple of the others'.
    """

    policy: str = "uniform"
    paths: str = "by-choice"
    options: tuple[str, ...] = ()
    share: float = 1.0


DEFAULT = Variant()
VARIANTS = {
    "default": DEFAULT,
    "paths by cost": Variant(paths="by-cost"),
    "paths by architecture": Variant(paths="by-architecture"),
    "fair": Variant("fair"),
    "sandwich": Variant("sandwich"),
    "sandwich, paths by cost": Variant("sandwich", "by-cost"),
    "one set of projections a block": Variant(options=("--sharing", "block")),
    "twice the rate": Variant(options=("--lr", "0.006")),
    "half the rate": Variant(options=("--lr", "0.0015")),
    "batch 128": Variant(options=("--batch-size", "128", "--lr", "0.004")),
    "a quarter as long": Variant(share=0.25),
    "four times as long": Variant(share=4.0),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and judge what is not done yet, print the table and write it with its provenance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--scratch", type=Path, required=True, help="the folder of the table's images; studies go there"
    )
    parser.add_argument("--epochs", type=int, default=40, help="epochs of the default")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0 on")
    parser.add_argument("--only", nargs="*", help="variants to train; all without")
    parser.add_argument("--budget", default="auto", help="as of nas search")
    parser.add_argument("--table", type=Path, default=TABLE / "table.json", help="the designs trained alone")
    parser.add_argument("--out", type=Path, default=HERE / "results.json", help="the JSON file to write")
    options = parser.parse_args(arguments)
    rows = [
        judge_variant(name, seed, options)
        for seed, name in product(range(options.seeds), options.only or VARIANTS)
    ]
    known = TrainingTable(options.table)
    print(*to_table(rows, known.trained(int(known.about["epochs"]))), sep="\n")
    command = [
        "python",
        "studies/supernet_ranking/run.py",
        *(sys.argv[1:] if arguments is None else arguments),
    ]
    write_json(options.out, {"epochs": options.epochs, "rows": rows, "provenance": provenance(0, command)})


def table_space() -> Space:
    """Return the space of the table."""
    return load_declaration(TABLE / "space.yaml").space(None, SIDE, 3, 10)


def macs_of_step(variant: Variant, space: Space) -> float:
    """Return the MACs of an image in one step: of all its paths, on average over steps."""
    sample = policy(variant.policy, variant.paths)
    return fmean(
        sum(costs(path.architecture).macs for path in sample(space, 0, step)) for step in range(STEPS)
    )


def equal_epochs(variant: Variant, epochs: int, space: Space) -> int:
    """Return the epochs in which a variant costs its share of what the default does in ``epochs``."""
    return max(1, round(epochs * variant.share * macs_of_step(DEFAULT, space) / macs_of_step(variant, space)))


def judge_variant(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return the row of a variant with one seed: what an earlier run stored, or what training and judging it says."""
    variant = VARIANTS[name]
    epochs = equal_epochs(variant, options.epochs, table_space())
    study = options.scratch / f"supernet-{name.replace(' ', '-').replace(',', '')}-{epochs}-{seed}"
    stored = study.with_suffix(".json")
    if not stored.exists():
        words = ["--space", str(TABLE / "space.yaml"), "--data", f"folder:{options.scratch / 'images'}"]
        words += [
            "--image-size",
            str(SIDE),
            "--epochs",
            str(epochs),
            "--seed",
            str(seed),
            "--study",
            str(study),
        ]
        words += ["--policy", variant.policy, "--paths", variant.paths, *variant.options]
        nas("search", *words, "--budget", f"{options.budget},2trials", "--batch", "2")
        ranking = nas("rank", str(study), "--table", str(options.table), "--budget", options.budget)
        scores = {each["digest"]: each["scores"]["supernet"] for each in ranking["designs"]}
        write_json(stored, {"variant": name, "seed": seed, "epochs": epochs, "scores": scores})
    found: dict[str, Any] = json.loads(stored.read_text(encoding="utf-8"))
    return found


def nas(*words: str) -> Any:
    """Run a ``nas`` command and return what it prints as JSON."""
    command = [sys.executable, "-m", "nas", *words, "--json"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def to_table(rows: Sequence[dict[str, Any]], designs: Sequence[TrainedDesign]) -> list[str]:
    """Return a Markdown table: mean ± standard deviation over the seeds of each variant, then sizes and seeds.

    Args:
        rows: Variants with the scores that their supernets give designs.
        designs: The designs trained alone; scores are judged anew, so that a larger table needs no new supernets.
    """
    lines = [
        "| order by | seeds | epochs | Kendall tau | mean within quartiles of MACs | regret@5 | regret@10 | top-1 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["variant"] for row in rows):
        own = [row for row in rows if row["variant"] == name]
        judged = [judge(name, designs, row["scores"]) for row in own]
        accuracy = format_spread([fmean(row["scores"].values()) for row in own], 1)
        lines.append(f"| {name} | {len(own)} | {own[0]['epochs']} | {to_cells(judged)} | {accuracy} |")
    lines += [f"| {each.predictor} | | | {to_cells([each])} | |" for each in size_baselines(designs)]
    if between := noise_ceiling(designs):
        lines.append(f"| one training's seed against another's | {len(between)} | | {to_cells(between)} | |")
    return lines


def to_cells(judged: Sequence[Agreement]) -> str:
    """Return the cells of a row on how well several scores order the designs."""
    quarters = [fmean(each.value or 0.0 for each in agreement.tau_by_quartile) for agreement in judged]
    cells = [
        format_spread([agreement.tau.value or 0.0 for agreement in judged], 2),
        format_spread(quarters, 2),
        *(format_spread([agreement.regret[k] for agreement in judged], 1) for k in (5, 10)),
    ]
    return " | ".join(cells)


def format_spread(values: Sequence[float], digits: int) -> str:
    """Return ``mean ± standard deviation``; no deviation of a single value."""
    deviation = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{deviation}"


if __name__ == "__main__":
    main()
