"""A table of designs of one small space, each trained alone with several seeds: what cheaper scores are judged by.

The images are CIFAR-10's training images, a folder a class, in a zip file; the script splits them itself and brings
them to 16 px. Every training takes one core. Killed and started again, it goes on where it was; ``table.json`` beside
this file is written after each training, so that it may be extended anywhere::

    python studies/attention_table/make.py --images cifar10-train.zip --scratch /tmp/table
    python studies/attention_table/make.py --images cifar10-train.zip --scratch /tmp/table --designs 300

On 2 cores a default table takes about two hours.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import chain, islice
from pathlib import Path
from random import Random

import torch

from nas.cluster import ray_cluster
from nas.cluster.budget import allocate_workers, parse_budget
from nas.data.dataset import Data, load_data
from nas.latency.measure import time_parts
from nas.latency.parts import network_part
from nas.latency.table import device_name
from nas.ranking.stratified import sample_evenly
from nas.ranking.train_designs import job_folder, train_designs
from nas.ranking.trained_designs import TrainingTable
from nas.runtime.console import log
from nas.runtime.provenance import provenance
from nas.study.designs import Design
from nas.study.named_recipes.reader import load_recipe
from nas.training.retraining_job import RetrainingJob
from search_spaces.architecture import Architecture
from search_spaces.declaration import load_declaration
from search_spaces.named_designs import named_designs
from search_spaces.space import Space

HERE = Path(__file__).parent
SIDE = 16
#: Of each class's 5,000 images: what is trained on, what designs are compared on, and what no choice is made by.
TRAIN, VALIDATION, TEST = slice(400), slice(4000, 4300), slice(4500, 5000)
#: Epochs that count as the truth, and those that a part of the designs is trained for as well.
EPOCHS, OTHER_LENGTHS = 10, (5, 20)
#: Designs; of them those with four seeds, and those at other lengths, all evenly over the MACs.
DESIGNS, WITH_MORE_SEEDS, AT_OTHER_LENGTHS = 150, 40, 24
SEEDS, MORE_SEEDS = (0, 1), (2, 3)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what the table does not have yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="CIFAR-10's training images, zipped")
    parser.add_argument("--scratch", type=Path, required=True, help="folder for images and checkpoints")
    parser.add_argument("--designs", type=int, default=DESIGNS, help="number of designs")
    parser.add_argument("--budget", default="auto", help="as of nas retrain; a worker trains one design")
    parser.add_argument("--out", type=Path, default=HERE / "table.json", help="the table")
    options = parser.parse_args(arguments)
    options.scratch.mkdir(parents=True, exist_ok=True)
    data = load_images(options.images, options.scratch)
    table = TrainingTable(
        options.out,
        {
            "space": (HERE / "space.yaml").read_text(encoding="utf-8"),
            "recipe": asdict(load_recipe(str(HERE / "recipe.yaml")).retraining),
            "images": data.digest,
            "train_images": len(data.train),
            "val_images": len(data.val),
            "test_images": len(data.final_test()),
            "epochs": EPOCHS,
        },
    )
    designs = choose_designs(table_space(), options.designs)
    table.add_designs(designs)
    command = [
        "python",
        "studies/attention_table/make.py",
        *(sys.argv[1:] if arguments is None else arguments),
    ]
    table.provenance.append(provenance(0, command))
    measure_latencies(table)
    jobs = list(plan_jobs(table, [design for _, design in designs], data, options.scratch))
    log.say(f"{len(table.runs)} trainings are done, {len(jobs)} to go")
    cluster = ray_cluster.survey()
    ray_cluster.start(cluster)
    budget = parse_budget(options.budget)
    train_designs(jobs, data, allocate_workers(budget, cluster.cpus, cluster.gpus), table.add_run)


def measure_latencies(table: TrainingTable) -> None:
    """Measure the latency of the designs that have none, and write the table.

    An image at a time on one core, by the time that the thread has on it and in turn with a yardstick: so other work on
    the machine does not lengthen it. What is measured on another machine than the rest is not comparable with it.
    """
    parts = [network_part(design) for digest, (design, _) in table.designs.items() if digest not in table.latencies]
    if parts:
        times = time_parts(parts, torch.device("cpu"))
        table.latencies |= {name.removeprefix("network "): round(time, 4) for name, time in times.items()}
        table.about["latency"] = f"milliseconds of an image on {device_name(torch.device('cpu'))}"
        table.write()


def table_space() -> Space:
    """Return the space of the table."""
    return load_declaration(HERE / "space.yaml").space(None, SIDE, 3, 10)


def load_images(archive: Path, scratch: Path, validation: slice = VALIDATION) -> Data:
    """Unpack the images of the three parts, and return them decoded.

    Args:
        archive: CIFAR-10's training images, zipped.
        scratch: Where they are unpacked.
        validation: Of each class's images those to validate on.
    """
    folder = scratch / (
        "images" if validation == VALIDATION else f"images-{validation.start}-{validation.stop}"
    )
    if not (folder / "done").exists():
        with zipfile.ZipFile(archive) as opened:
            classes = defaultdict(list)
            for name in sorted(name for name in opened.namelist() if name.endswith(".jpg")):
                classes[Path(name).parent.name].append(name)
            for label, names in classes.items():
                for part, chosen in (("train", TRAIN), ("val", validation), ("test", TEST)):
                    (folder / part / label).mkdir(parents=True, exist_ok=True)
                    for name in names[chosen]:
                        (folder / part / label / Path(name).name).write_bytes(opened.read(name))
        (folder / "done").touch()
    return load_data(f"folder:{folder}", image_size=SIDE)


def choose_designs(space: Space, count: int) -> list[tuple[str, Architecture]]:
    """Return the designs with their origins: named ones first, then random ones evenly over the MACs.

    The first designs of a larger table are those of a smaller one.
    """
    found: dict[str, tuple[str, Architecture]] = {}
    blocks = (sample_evenly(space, Random(block), 100) for block in range(1 + count // 100))
    for origin, design in chain(named_designs(space), *blocks):
        found.setdefault(design.digest, (origin, design))
    return list(islice(found.values(), count))


def plan_jobs(
    table: TrainingTable, designs: Sequence[Architecture], data: Data, scratch: Path
) -> Iterator[RetrainingJob]:
    """Yield the trainings that the table does not have: one of each design first, then seeds and lengths in turn."""
    few, some = designs[:AT_OTHER_LENGTHS], designs[:WITH_MORE_SEEDS]
    wanted = [
        *((design, SEEDS[0], EPOCHS) for design in designs),
        *((design, seed, EPOCHS) for seed in SEEDS[1:] for design in designs),
        *((design, SEEDS[0], epochs) for epochs in OTHER_LENGTHS for design in few),
        *((design, seed, EPOCHS) for seed in MORE_SEEDS for design in some),
    ]
    recipe = load_recipe(str(HERE / "recipe.yaml")).retraining
    for design, seed, epochs in wanted:
        if (design.digest, seed, epochs) not in table.runs:
            folder = job_folder(scratch.absolute(), design.digest, seed, epochs)
            own = replace(recipe, seed=seed, epochs=epochs)
            yield RetrainingJob(Design(design), "scratch", folder, own, data.digest)


if __name__ == "__main__":
    main()
