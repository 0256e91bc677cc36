"""The headline: what a search finds against published, homogeneous and random designs at equal MACs, one recipe.

With every seed the space of the attention table is searched on its images under a limit on MACs; the design of best
validation accuracy among those that the search retrained is what it found. That design, the published families,
designs of one block throughout, the best of 32 random designs and a small residual network, all within 5% of the
limit, are then trained by the same recipe with fresh seeds, and compared by test images that no choice was made by.
Killed and started again, it goes on where it was::

    python studies/cifar10_nano/run.py --images cifar10-train.zip --scratch /tmp/headline
    python studies/cifar10_nano/run.py --images cifar10-train.zip --scratch /tmp/headline --dry-run

On 2 idle cores the default takes about 40 minutes: five searches, and some 110 trainings of 20 s on a core each.
"""

from __future__ import annotations

import argparse
import json
import runpy
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from baselines import classify_mnist5k, classify_pixels
from contenders import FOUND, Contender, homogeneous_contenders, published_contenders, random_designs
from rows import CHOICE_SEED, Setup, compare_random, fresh_pairs, plain_row, to_row, train
from summary import to_tables, write_page

from nas.cluster import ray_cluster
from nas.cluster.budget import allocate_workers, parse_budget
from nas.data.dataset import load_data
from nas.ranking.trained_designs import TrainingTable
from nas.runtime.console import log
from nas.runtime.files import write_json
from nas.runtime.provenance import provenance
from nas.search.objectives import parse_quantity
from nas.study.folder import Study
from nas.study.named_recipes.reader import load_recipe
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.declaration import load_declaration

HERE = Path(__file__).parent
TABLE = HERE.parent / "attention_table"
#: How a search proposes, and how it then decides; what is found is the best of what the latter trains.
SEARCH_OPTIONS = ("--objective", "loss")
DECISION_OPTIONS = ("--retrain", "3")
#: Of a training by the default recipe and of a search, on one core; for the plan alone.
TRAINING_SECONDS, SEARCH_SECONDS = 20, 480


def main(arguments: Sequence[str] | None = None) -> None:
    """Search and train what is not done yet; print the tables and write them with their provenance."""
    options = parse_arguments(arguments)
    setup = prepare(options)
    if options.dry_run:
        print(*describe_plan(setup), sep="\n")
        return
    command = ["python", "studies/cifar10_nano/run.py", *(sys.argv[1:] if arguments is None else arguments)]
    # Searches have a cluster of their own, so they come before this process starts one.
    searches = {macs: [run_search(setup, macs, seed) for seed in setup.seeds] for macs in options.macs}
    ray_cluster.start(ray_cluster.survey())
    found = {macs: found_contender(rows) for macs, rows in searches.items()}
    named = {macs: named_contenders(setup, macs) for macs in options.macs}
    content: dict[str, Any] = {}
    for part in (found, named):
        train(
            setup, (pair for macs in options.macs for each in part[macs] for pair in fresh_pairs(setup, each))
        )
    for with_random in (False, True):
        targets = []
        for macs in options.macs:
            rows = [to_row(setup, each) for each in (*found[macs], *named[macs])]
            drawn, best = compare_random(setup, macs) if with_random else ([], [])
            rows += [to_row(setup, each) for each in best]
            rows.append(plain_row(setup, macs))
            targets.append({"macs": macs, "rows": rows, "random": drawn, "searches": searches[macs]})
        content = {
            "config": describe_config(setup),
            "targets": targets,
            "svm": run_svm(setup),
            "provenance": provenance(0, command),
        }
        write_json(options.out, content)
    print(*to_tables(content), sep="\n")
    write_page(content, options.scratch / "headline.html")
    log.say(f"the figure is {options.scratch / 'headline.html'}")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    images = parser.add_mutually_exclusive_group(required=True)
    images.add_argument(
        "--images", type=Path, help="CIFAR-10's training images, zipped; split as the attention table's"
    )
    images.add_argument("--data", help="other images, as of nas search")
    parser.add_argument(
        "--scratch", type=Path, required=True, help="folder for images, studies and the figure"
    )
    parser.add_argument("--seeds", type=int, default=5, help="number of searches, with seeds from 0 on")
    parser.add_argument("--repeats", type=int, default=1, help="fresh trainings of each design for each seed")
    parser.add_argument("--macs", nargs="+", default=["1.2M"], help="limits on the MACs, each compared at")
    parser.add_argument("--designs", type=int, default=32, help="number of random designs")
    parser.add_argument(
        "--trials", type=int, default=128, help="designs that a search scores with its supernet"
    )
    parser.add_argument("--space", default=str(TABLE / "space.yaml"), help="as of nas search")
    parser.add_argument("--image-size", type=int, default=16, help="side of the images in pixels")
    parser.add_argument("--recipe", default=str(HERE / "recipe.yaml"), help="as of nas search")
    parser.add_argument("--epochs", type=int, help="epochs of every training; those of the recipe without")
    parser.add_argument("--supernet-epochs", type=int, help="likewise of the supernets")
    parser.add_argument("--budget", default="auto", help="as of nas search, without limits")
    parser.add_argument("--without-svm", action="store_true", help="leave the support-vector machine out")
    parser.add_argument("--dry-run", action="store_true", help="print what would be compared, and stop")
    parser.add_argument("--out", type=Path, default=HERE / "results.json", help="the JSON file to write")
    options = parser.parse_args(arguments)
    options.macs = [parse_quantity("--macs", text) for text in options.macs]
    return options


def prepare(options: argparse.Namespace) -> Setup:
    """Read images, space and recipe, and what earlier runs have trained."""
    options.scratch.mkdir(parents=True, exist_ok=True)
    if options.images is not None:
        runpy.run_path(str(TABLE / "make.py"))["load_images"](options.images, options.scratch)
        options.data = f"folder:{(options.scratch / 'images').absolute()}"
    data = load_data(options.data, image_size=options.image_size)
    space = load_declaration(options.space).space(
        None, data.image_size, data.in_channels, len(data.class_names)
    )
    recipe = load_recipe(options.recipe).retraining
    recipe = replace(recipe, epochs=options.epochs or recipe.epochs)
    about = {"images": data.digest, "recipe": json.loads(json.dumps(asdict(recipe))), "epochs": recipe.epochs}
    known = TrainingTable(TABLE / "table.json")
    # Of more and fewer epochs the table has trainings too, but hardly of random designs.
    is_same = all(known.about.get(key) == value for key, value in about.items())
    cluster = ray_cluster.survey()
    allocation = allocate_workers(parse_budget(options.budget), cluster.cpus, cluster.gpus)
    table = TrainingTable(options.scratch / "trainings.json", about)
    return Setup(options, space, data, recipe, table, known if is_same else None, allocation)


def run_search(setup: Setup, macs: float, seed: int) -> dict[str, Any]:
    """Search with one seed, and return what was found and what it cost by phase, in core-seconds."""
    folder, options = setup.study(macs, seed), setup.options
    words = [
        "search",
        "--space",
        options.space,
        "--data",
        options.data,
        "--image-size",
        str(options.image_size),
    ]
    words += [
        "--recipe",
        options.recipe,
        "--seed",
        str(seed),
        "--study",
        str(folder),
        "--max-macs",
        f"{macs:.0f}",
    ]
    words += ["--retrain-epochs", str(setup.recipe.epochs), *SEARCH_OPTIONS]
    if options.supernet_epochs is not None:
        words += ["--epochs", str(options.supernet_epochs)]
    words += ["--budget", f"{options.budget},{options.trials}trials"]
    searching = run_timed(words, folder.with_suffix(".searched.json"))
    deciding = run_timed([*words, *DECISION_OPTIONS], folder.with_suffix(".decided.json"))
    study = Study(folder)
    # Those that began with the supernet's weights have been trained for longer; all others here have not.
    results = [result for result in study.results() if result["mode"] == "scratch"]
    best = results[0]
    scoring = sum(record.scores.get("seconds", 0.0) for record in study.records() if record.evaluated)
    threads, cores = setup.allocation.threads, setup.allocation.workers * setup.allocation.threads
    phases = {
        "training the supernet": searching * cores - scoring * threads,
        "scoring designs with it": scoring * threads,
        "training candidates alone": deciding * cores,
    }
    row = {name: best[name] for name in ("digest", "design", "architecture", "macs", "params", "val_top1")}
    return {"seed": seed, **row, "trained": len(results), "core_seconds": phases}


def run_timed(words: Sequence[str], file: Path) -> float:
    """Run a ``nas`` command unless it has ended well before; return its seconds, those of failed attempts included."""
    state = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"seconds": 0.0, "done": False}
    if not state["done"]:
        begun = time.monotonic()
        # What it says of its failure is on the terminal already.
        code = subprocess.run(
            [sys.executable, "-m", "nas", *words, "--json"], stdout=subprocess.DEVNULL
        ).returncode
        state = {"seconds": state["seconds"] + time.monotonic() - begun, "done": code == 0}
        write_json(file, state)
        if code:
            sys.exit(code)
    return float(state["seconds"])


def found_contender(searches: Sequence[dict[str, Any]]) -> list[Contender]:
    """Return the row of what the searches found, a design a seed."""
    designs = {each["seed"]: Architecture.from_json(each["architecture"]) for each in searches}
    return [Contender(FOUND, FOUND, designs, "the search's own limit")]


def named_contenders(setup: Setup, macs: float) -> list[Contender]:
    """Return the homogeneous designs, the plain convolution first, and the published families."""
    given = (setup.space, macs, setup.seeds)
    return [*homogeneous_contenders(*given), *published_contenders(*given)]


def run_svm(setup: Setup) -> dict[str, Any]:
    """Return the accuracies of the support-vector machine on these images and on mnist5k."""
    if setup.options.without_svm:
        return {}
    scratch = setup.options.scratch
    return {
        "these images": classify_pixels(setup.data, scratch / "svm.json"),
        "mnist5k": classify_mnist5k(scratch),
    }


def describe_config(setup: Setup) -> dict[str, Any]:
    """Return what the results are of."""
    chosen = ("seeds", "repeats", "macs", "designs", "trials", "supernet_epochs", "image_size")
    data = setup.data
    return {
        **{name: getattr(setup.options, name) for name in chosen},
        "space": str(setup.space),
        "recipe": asdict(setup.recipe),
        "search": [*SEARCH_OPTIONS, *DECISION_OPTIONS],
        "images": data.digest,
        "train_images": len(data.train),
        "val_images": len(data.val),
        "test_images": len(data.final_test()),
    }


def describe_plan(setup: Setup) -> Iterable[str]:
    """Yield what would be compared, and how many trainings that takes."""
    trainings, options = 0, setup.options
    yield f"{setup.space}; {setup.recipe.epochs} epochs; search: {' '.join((*SEARCH_OPTIONS, *DECISION_OPTIONS))}"
    for macs in options.macs:
        yield f"{macs / 1e6:.2f}M MACs: {options.seeds} searches, then {options.seeds} x {options.repeats} trainings each of"
        rows = named_contenders(setup, macs)
        for each in rows:
            design = next(iter(each.designs.values()), None)
            which = "left out" if design is None else f"{costs(design).macs / 1e6:.3f}M {design}"
            yield f"  {each.group} {each.name}: {which} ({each.remark})"
        drawn = random_designs(setup.space, macs, options.designs, setup.known)
        known = set() if setup.known is None else setup.known.runs
        fresh = sum((d.digest, CHOICE_SEED, setup.recipe.epochs) not in known for d in drawn)
        yield f"  random: {len(drawn)} designs, {fresh} of them to train; then the best of them, and a residual network"
        compared = 3 + sum(
            bool(each.designs) for each in rows
        )  # with the found, the random and the plain one
        trainings += compared * options.seeds * options.repeats + fresh
    searches = len(options.macs) * options.seeds
    hours = (searches * SEARCH_SECONDS + trainings * TRAINING_SECONDS) / 3600
    cores = setup.allocation.workers * setup.allocation.threads
    yield f"{searches} searches and {trainings} trainings; by the default recipe about {hours:.1f} core-hours, of {cores} cores"


if __name__ == "__main__":
    main()
