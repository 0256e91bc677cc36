"""How well supernets order the designs of the attention table, by how they are trained and scored, at equal cost.

Every way of `supernets.py` trains a supernet of the table's space on the table's images, with several seeds, and scores
the designs that were trained alone, by accuracy and by loss. A training has as many epochs as make the MACs of its paths
those of the default's; processor seconds are in the table too. Of some ways every design is trained on for one epoch
before it is scored, and one way is that epoch alone, from random weights. Killed and started again, it goes on where it
was::

    python studies/supernet_ranking/run.py --images cifar10-train.zip --scratch /tmp/table

A way takes one core two to three minutes a seed, one whose designs are trained on five more.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from random import Random
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor, nn

HERE = Path(__file__).parent
TABLE = HERE.parent / "attention_table"
sys.path[:0] = [str(HERE), str(TABLE)]

from make import load_images, table_space  # noqa: E402
from supernets import WAYS, TrainedSupernets, equal_epochs, table_recipe, train_alone, train_supernets  # noqa: E402

from nas.data.dataset import Data  # noqa: E402
from nas.evaluation.accuracy import Batch, accuracy, recalibrate  # noqa: E402
from nas.evaluation.population import validation_and_calibration  # noqa: E402
from nas.ranking.agreement import (  # noqa: E402
    Agreement,
    judge,
    kendall_tau,
    noise_ceiling,
    regret_at,
    size_baselines,
)
from nas.ranking.calibration import calibrate  # noqa: E402
from nas.ranking.trained_designs import TrainedDesign, TrainingTable  # noqa: E402
from nas.runtime.files import write_json  # noqa: E402
from nas.runtime.provenance import provenance  # noqa: E402
from search_spaces.architecture import Architecture  # noqa: E402

#: Validation images that a design is scored on.
VALIDATION_IMAGES = 1500
#: Ways of which every design is trained on before it is scored too, and what that is called without a supernet.
TRAINED_ON, ALONE = ("default",), "one epoch from random weights"
#: The way whose scores are calibrated too, by how many designs, each trained once, drawn how often.
CALIBRATED, BY_DESIGNS, DRAWS = "default", (16, 24, 40), 20
#: Scores of a design: in percent, and the loss with its sign turned, so that more is better.
Scores = dict[str, tuple[float, float]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and judge what is not done yet, print the table and write it with its provenance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="CIFAR-10's training images, zipped")
    parser.add_argument("--scratch", type=Path, required=True, help="folder for images and what is finished")
    parser.add_argument("--epochs", type=int, default=40, help="epochs of the default")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0 on")
    parser.add_argument("--only", nargs="*", help="ways to train; all without")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes of one thread each")
    parser.add_argument("--table", type=Path, default=TABLE / "table.json", help="the designs trained alone")
    parser.add_argument("--out", type=Path, default=HERE / "results.json", help="the JSON file to write")
    options = parser.parse_args(arguments)
    options.scratch.mkdir(parents=True, exist_ok=True)
    load_images(options.images, options.scratch)
    wanted = list(product(range(options.seeds), options.only or (*WAYS, ALONE)))
    run = partial(judge_way, scratch=options.scratch, images=options.images, epochs=options.epochs, table=options.table)
    context = multiprocessing.get_context("spawn")  # torch does not like to be forked
    with ProcessPoolExecutor(options.workers, mp_context=context) as pool:
        rows = []
        for number, row in enumerate(pool.map(run, *zip(*wanted, strict=True)), 1):
            rows.append(row)
            print(f"{number} of {len(wanted)}: {row['way']}, seed {row['seed']}", file=sys.stderr, flush=True)
    known = TrainingTable(options.table)
    designs = known.trained(int(known.about["epochs"]))
    print(*to_table(rows, designs), sep="\n")
    command = ["python", "studies/supernet_ranking/run.py", *(sys.argv[1:] if arguments is None else arguments)]
    content = {"epochs": options.epochs, "rows": rows, "provenance": provenance(0, command)}
    write_json(options.out, content)


def judge_way(seed: int, name: str, scratch: Path, images: Path, epochs: int, table: Path) -> dict[str, Any]:
    """Return the row of a way with one seed: what an earlier run stored, or what training and scoring it says."""
    stored = scratch / f"{name.replace(' ', '-').replace(',', '')}-{epochs}-{seed}.json"
    if not stored.exists():
        torch.set_num_threads(1)
        data, known = load_images(images, scratch), TrainingTable(table)
        designs = [each.architecture for each in known.trained(int(known.about["epochs"]))]
        write_json(stored, {"way": name, "seed": seed, **_train_and_score(name, seed, designs, data, epochs)})
    found: dict[str, Any] = json.loads(stored.read_text(encoding="utf-8"))
    return found


def _train_and_score(
    name: str, seed: int, designs: Sequence[Architecture], data: Data, epochs: int
) -> dict[str, Any]:
    """Return epochs and seconds of a way, and the scores of designs: as the supernet has them and trained on."""
    validation, calibration = validation_and_calibration(data, VALIDATION_IMAGES, seed=0)
    if name == ALONE:
        after, seconds = _train_on(None, designs, data, seed, validation)
        return {"epochs": 0, "seconds": 0.0, "trained_on": after, "seconds_on": seconds}
    space = table_space()
    length = equal_epochs(WAYS[name], epochs, space)
    trained = train_supernets(WAYS[name], space, data, length, seed)
    scores: Scores = {}
    for design in designs:
        network = trained.of(design).extract(design)
        recalibrate(network, calibration)
        scores[design.digest] = _score(network, validation)
    row: dict[str, Any] = {"epochs": length, "seconds": round(trained.seconds, 1), "scores": scores}
    if name in TRAINED_ON:
        row["trained_on"], row["seconds_on"] = _train_on(trained, designs, data, seed, validation)
    return row


def _train_on(
    trained: TrainedSupernets | None,
    designs: Sequence[Architecture],
    data: Data,
    seed: int,
    validation: Sequence[Batch],
) -> tuple[Scores, float]:
    """Train each design for one epoch, from its weights in the supernet or from random ones.

    Returns:
        Scores by digest, and the processor seconds of a design.
    """
    recipe, started = replace(table_recipe(), epochs=1, ema_decay=0.9), time.process_time()
    scores: Scores = {}
    for design in designs:
        start = None if trained is None else trained.of(design).extract(design).requires_grad_()
        scores[design.digest] = _score(train_alone(design, data, recipe, seed, start), validation)
    return scores, round((time.process_time() - started) / len(designs), 2)


def _score(network: nn.Module, validation: Sequence[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    found = accuracy(network, validation)
    return round(found["top1"], 3), -round(found["loss"], 5)


def to_table(rows: Sequence[Mapping[str, Any]], designs: Sequence[TrainedDesign]) -> list[str]:
    """Return a Markdown table: mean ± standard deviation over the seeds of each way, then sizes and seeds.

    Args:
        rows: Ways with the scores that their supernets give designs.
        designs: The designs trained alone; scores are judged anew, so that a larger table needs no new supernets.
    """
    lines = [
        "| order by | seeds | epochs | core seconds | tau by top-1 | tau by loss | mean tau within quartiles | "
        "regret@10 | top-1 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["way"] for row in rows):
        own = [row for row in rows if row["way"] == name]
        for key, suffix, cost in (("scores", "", "seconds"), ("trained_on", ", + 1 epoch each", "seconds_on")):
            if key in own[0]:
                found = [row[key] for row in own]
                seconds = format_spread([row[cost] for row in own], 0 if key == "scores" else 1)
                each = " a design" if key == "trained_on" else ""
                title = name if name == ALONE else f"{name}{suffix}"
                lines.append(
                    f"| {title} | {len(own)} | {own[0]['epochs'] or ''} | {seconds}{each} | {to_cells(found, designs)} |"
                )
        if name == CALIBRATED:
            lines += calibrated_rows(own, designs)
    for each in size_baselines(designs):
        lines.append(f"| {each.predictor} | | | | | {_agreement_cells([each])} | |")
    # A pair of seeds that few designs have says little of quartiles.
    if between := [each for each in noise_ceiling(designs) if 2 * each.designs >= len(designs)]:
        lines.append(f"| one training's seed against another's | {len(between)} | | | | {_agreement_cells(between)} | |")
    return lines


def calibrated_rows(rows: Sequence[Mapping[str, Any]], designs: Sequence[TrainedDesign]) -> list[str]:
    """Return rows of scores by loss that some designs, each trained once, have calibrated, judged on the others.

    The deviation is over seeds and over which designs were drawn.
    """
    lines = []
    for count in (count for count in BY_DESIGNS if count < len(designs)):
        judged = list[tuple[float, float, float]]()
        for row in rows:
            losses = {digest: both[1] for digest, both in row["scores"].items()}
            for draw in range(DRAWS):
                drawn = Random(f"{row['seed']}-{draw}").sample(list(designs), count)
                once = [replace(each, runs=each.runs[:1]) for each in drawn]
                rest = [each for each in designs if each not in drawn]
                judged.append(_agreement(rest, calibrate(losses, [each.architecture for each in rest], once)))
        title = f"{CALIBRATED}, calibrated by {count} trainings"
        cells = " | ".join(map(format_spread, zip(*judged, strict=True), (2, 2, 1)))
        lines.append(f"| {title} | {len(rows)} | {rows[0]['epochs']} | | | {cells} | |")
    return lines


def _agreement(designs: Sequence[TrainedDesign], scores: Mapping[str, float]) -> tuple[float, float, float]:
    """Return Kendall's tau, its mean within quartiles of MACs, and regret@10, without their intervals."""
    rows = sorted((each.macs, scores[each.architecture.digest], each.val_top1) for each in designs)
    edges = [round(quarter * len(rows) / 4) for quarter in range(5)]
    parts = [rows[low:high] for low, high in pairwise(edges)]
    taus = [kendall_tau([row[1] for row in part], [row[2] for row in part]) for part in (rows, *parts)]
    regret = regret_at(10, [row[1] for row in rows], [row[2] for row in rows])
    return taus[0], fmean(taus[1:]), regret


def to_cells(found: Sequence[Mapping[str, Sequence[float]]], designs: Sequence[TrainedDesign]) -> str:
    """Return the cells of a row on how well scores order designs, those of several seeds."""
    by_top1, by_loss = (
        [judge("", designs, {digest: both[kind] for digest, both in scores.items()}) for scores in found]
        for kind in (0, 1)
    )
    top1 = format_spread([fmean(both[0] for both in scores.values()) for scores in found], 1)
    return f"{format_spread([_value(each) for each in by_top1], 2)} | {_agreement_cells(by_loss)} | {top1}"


def _agreement_cells(judged: Sequence[Agreement]) -> str:
    quarters = [fmean(each.value or 0.0 for each in agreement.tau_by_quartile) for agreement in judged]
    regrets = [agreement.regret[10] for agreement in judged if 10 in agreement.regret]
    return " | ".join(
        [
            format_spread([_value(each) for each in judged], 2),
            format_spread(quarters, 2),
            format_spread(regrets, 1) if regrets else "–",
        ]
    )


def _value(agreement: Agreement) -> float:
    return agreement.tau.value or 0.0


def format_spread(values: Sequence[float], digits: int) -> str:
    """Return ``mean ± standard deviation``; no deviation of a single value."""
    deviation = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{deviation}"


if __name__ == "__main__":
    main()
