"""How well supernets order the designs of the attention table, by how they are trained and scored, at equal cost.

Every way of `supernets.py` trains a supernet of the table's space on the table's images, with several seeds, and scores
the designs that were trained alone, by accuracy and by loss. A training has as many epochs as make the MACs of its paths
those of the default's; processor seconds are in the table too. Of some ways every design is trained on for one epoch
before it is scored, and one way is that epoch alone, from random weights. Killed and started again, it goes on where it
was; rows that the results file has are kept, so that a way may be added on another day::

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
from itertools import islice, product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

HERE = Path(__file__).parent
TABLE = HERE.parent / "attention_table"
sys.path[:0] = [str(HERE), str(TABLE), str(HERE.parent / "cifar10_nano")]

from make import load_images, table_space  # noqa: E402
from order_rows import ALONE, CALIBRATED, to_table  # noqa: E402
from supernets import (  # noqa: E402
    OUTSIDE,
    WAYS,
    TrainedSupernets,
    equal_epochs,
    table_recipe,
    train_alone,
    train_outside,
    train_supernets,
    worths,
)

from nas.data.dataset import Data  # noqa: E402
from nas.evaluation.accuracy import Batch, accuracy, recalibrate  # noqa: E402
from nas.evaluation.population import validation_and_calibration  # noqa: E402
from nas.ranking.trained_designs import TrainingTable  # noqa: E402
from nas.runtime.files import write_json, write_text  # noqa: E402
from nas.runtime.provenance import provenance  # noqa: E402
from search_spaces.architecture import Architecture  # noqa: E402
from supernet.supernet import Supernet  # noqa: E402

#: Validation images that a design is scored on.
VALIDATION_IMAGES = 1500
#: Ways of which every design is trained on before it is scored too.
TRAINED_ON = ("default",)
#: Other ways to score designs with the default's supernets, and images that the truth is not of, of each class.
OTHERWISE, OTHER_IMAGES = f"{CALIBRATED}, scored otherwise", slice(1000, 1500)
ORDER = (*WAYS, OTHERWISE, ALONE)
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
    command = [
        "python",
        "studies/supernet_ranking/run.py",
        *(sys.argv[1:] if arguments is None else arguments),
    ]
    content = read_results(options.out, options.epochs)
    order = list(product(ORDER, range(options.seeds)))
    rows = {(row["way"], row["seed"]): row for row in content["rows"]}
    wanted = [(name, seed) for seed, name in product(range(options.seeds), options.only or ORDER)]
    if missing := [each for each in wanted if each not in rows]:
        content["provenance"].append(provenance(0, command))
        if any(WAYS[name].taught == OUTSIDE for name, _ in missing if name in WAYS):
            read_outside(options.images, options.scratch)  # before the processes would train it side by side
        run = partial(judge_way, options=options)
        context = multiprocessing.get_context("spawn")  # torch does not like to be forked
        with ProcessPoolExecutor(options.workers, mp_context=context) as pool:
            for number, row in enumerate(pool.map(run, *zip(*missing, strict=True)), 1):
                rows[row["way"], row["seed"]] = row
                print(
                    f"{number} of {len(missing)}: {row['way']}, seed {row['seed']}",
                    file=sys.stderr,
                    flush=True,
                )
                content["rows"] = [rows[key] for key in order if key in rows]
                write_results(options.out, content)
    known = TrainingTable(options.table)
    print(*to_table(content["rows"], known.trained(int(known.about["epochs"]))), sep="\n")


def read_results(file: Path, epochs: int) -> dict[str, Any]:
    """Return what earlier runs have written, with the provenance of each; nothing where there is no file.

    Raises:
        SystemExit: If it is of supernets of another length.
    """
    if not file.exists():
        return {"epochs": epochs, "rows": [], "provenance": []}
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if content["epochs"] != epochs:
        sys.exit(f"{file} has supernets of {content['epochs']} epochs; give another --out for {epochs}")
    return content


def write_results(file: Path, content: Mapping[str, Any]) -> None:
    """Write results with a line for each row, since a row has a number for each of many designs."""
    parts = {key: value for key, value in content.items() if key != "rows"}
    rows = ",\n".join(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in content["rows"])
    about = json.dumps(parts, ensure_ascii=False, allow_nan=False, indent=2).removesuffix("\n}")
    write_text(file, f'{about},\n  "rows": [\n{rows}\n]}}\n')


def read_outside(images: Path, scratch: Path) -> nn.Module:
    """Return the network outside the space that teaches, trained unless it was before."""
    file = scratch / "outside.pt"
    if not file.exists():
        torch.save(train_outside(load_images(images, scratch)), file)
    network: nn.Module = torch.load(file, weights_only=False)
    return network


def judge_way(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return the row of a way with one seed: what an earlier run stored, or what training and scoring it says."""
    stored = options.scratch / f"{name.replace(' ', '-').replace(',', '')}-{options.epochs}-{seed}.json"
    if not stored.exists():
        torch.set_num_threads(1)
        data, known = load_images(options.images, options.scratch), TrainingTable(options.table)
        designs = [each.architecture for each in known.trained(int(known.about["epochs"]))]
        if name == ALONE:
            row = _train_all_alone(seed, designs, data)
        elif name == OTHERWISE:
            others = load_images(options.images, options.scratch, OTHER_IMAGES)
            row = _score_otherwise(seed, designs, data, others, options.epochs)
        else:
            outside = read_outside(options.images, options.scratch) if WAYS[name].taught == OUTSIDE else None
            with WAYS[name].norms():
                row = _train_and_score(name, seed, designs, data, options.epochs, outside)
        write_json(stored, {"way": name, "seed": seed, **row})
    found: dict[str, Any] = json.loads(stored.read_text(encoding="utf-8"))
    return found


def _train_all_alone(seed: int, designs: Sequence[Architecture], data: Data) -> dict[str, Any]:
    validation, _ = validation_and_calibration(data, VALIDATION_IMAGES, seed=0)
    after, seconds = _train_on(None, designs, data, seed, validation)
    return {"epochs": 0, "seconds": 0.0, "trained_on": after, "seconds_on": seconds}


def _train_and_score(
    name: str, seed: int, designs: Sequence[Architecture], data: Data, epochs: int, outside: nn.Module | None
) -> dict[str, Any]:
    """Return epochs and seconds of a way, and the scores of designs: as the supernet has them and trained on."""
    way, space = WAYS[name], table_space()
    validation, calibration = validation_and_calibration(data, VALIDATION_IMAGES, seed=0)
    length = equal_epochs(way, epochs, space)
    trained = train_supernets(way, space, data, length, seed, outside)
    scores = _score_all(trained, designs, validation, calibration)
    row: dict[str, Any] = {"epochs": length, "seconds": round(trained.seconds, 1), "scores": scores}
    if name in TRAINED_ON:
        row["trained_on"], row["seconds_on"] = _train_on(trained, designs, data, seed, validation)
    if way.filtered:
        torch.manual_seed(seed)
        row["worths"] = worths(Supernet(space), designs, data, seed)
    return row


def _score_otherwise(
    seed: int, designs: Sequence[Architecture], data: Data, others: Data, epochs: int
) -> dict[str, Any]:
    """Return the scores of designs by the default's supernet on more images and on others than those of the truth."""
    trained = train_supernets(WAYS[CALIBRATED], table_space(), data, epochs, seed)
    _, calibration = validation_and_calibration(data, VALIDATION_IMAGES, seed=0)
    more_calibration = [images for images, _ in islice(data.train.batches(256, shuffle_seed=0), 8)]
    every, _ = validation_and_calibration(data, len(data.val), seed=0)
    new, _ = validation_and_calibration(others, len(others.val), seed=0)
    ways = {
        f"{len(data.val):,} validation images": (every, calibration),
        f"{len(others.val):,} images that the truth is not of": (new, calibration),
        "BatchNorm statistics of 2,048 images": (every[: len(every) // 2], more_calibration),
    }
    scored = {title: _score_all(trained, designs, *batches) for title, batches in ways.items()}
    return {"epochs": epochs, "seconds": round(trained.seconds, 1), "scored": scored}


def _score_all(
    trained: TrainedSupernets,
    designs: Sequence[Architecture],
    validation: Sequence[Batch],
    calibration: Sequence[Tensor],
) -> Scores:
    scores: Scores = {}
    for design in designs:
        network = trained.of(design).extract(design)
        recalibrate(network, calibration)
        scores[design.digest] = _score(network, validation)
    return scores


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


if __name__ == "__main__":
    main()
