"""A recipe of the field on CIFAR-10: two published designs scaled to nano, with and without mixing and a teacher.

Every cell of the first table trains the analogues of Twins-SVT and of CSWin at nano from random weights by one of the
recipes beside this file, with several seeds, on the same images. The second table is of supernets that were trained with
and without that teacher, and in which the same designs are scored. The images are CIFAR-10's training images, a folder
a class, in a zip file; the script splits them itself. Killed and started again, it goes on where it was::

    python studies/recipes/run.py --images cifar10-train.zip --scratch /tmp/recipes

On 2 cores without a GPU a cell of the default size takes two to three minutes a seed, and a supernet as long.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from nas.runtime.files import write_json
from nas.runtime.provenance import provenance
from nas.study.folder import Study
from search_spaces.analogues import analogues
from search_spaces.architecture import Architecture
from search_spaces.declaration import load_declaration

HERE = Path(__file__).parent
SPACE = HERE / "space.yaml"
SIDE = 32
#: Epochs of each supernet, and designs that are scored with its weights.
SUPERNET_EPOCHS, SCORED_DESIGNS = 8, 24
#: Of each class's 5,000 images: where the training part begins, and the two parts that no recipe trains on.
VALIDATION, TEST = slice(4000, 4200), slice(4500, 5000)
DESIGNS = ("twins_svt-like", "cswin-like")
#: Cell of the table: recipe beside this file, and whether a teacher answers.
CELLS = {
    "plain": ("plain", False),
    "+ Mixup, CutMix": ("mixing", False),
    "+ teacher": ("plain", True),
    "+ Mixup, CutMix, teacher": ("mixing", True),
    "whole recipe": ("whole", False),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not finished, print the table and write it with its provenance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="CIFAR-10's training images, zipped")
    parser.add_argument(
        "--scratch", type=Path, required=True, help="folder for images and studies; not committed"
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0 on")
    parser.add_argument("--per-class", type=int, default=400, help="training images of each class")
    parser.add_argument("--teacher", help="as of nas retrain; trained here on the same images where left out")
    parser.add_argument("--budget", default="auto", help="as of nas retrain")
    parser.add_argument(
        "--out", type=Path, default=HERE / "results" / "recipes.json", help="the JSON file to write"
    )
    options = parser.parse_args(arguments)
    images = split_images(options.images, options.scratch / f"images-{options.per_class}", options.per_class)
    designs = write_designs(options.scratch)
    teacher = options.teacher or train_teacher(images, options.scratch / "teacher", options.budget)
    rows = [
        row
        for seed, cell in product(range(options.seeds), CELLS)
        for row in run_cell(cell, seed, images, designs, teacher, options.scratch, options.budget)
    ]
    supernets = [
        score_designs(seed, images, teacher if taught else None, options.scratch, options.budget)
        for seed, taught in product(range(options.seeds), (False, True))
    ]
    summary, compared = summarize(rows), compare_supernets(supernets)
    print(to_table(summary), to_supernet_table(compared), sep="\n\n")
    command = ["python", "studies/recipes/run.py", *(sys.argv[1:] if arguments is None else arguments)]
    content = {
        "training_images": 10 * options.per_class,
        "teacher": describe_teacher(options.scratch / "teacher"),
        "runs": rows,
        "summary": summary,
        "supernets": supernets,
        "supernet_summary": compared,
        "provenance": provenance(0, command),
    }
    write_json(options.out, content)


def split_images(archive: Path, folder: Path, per_class: int) -> Path:
    """Unpack the first images of each class to train on, 200 to validate and 500 to test; return their folder."""
    done = folder / "done"
    if done.exists():
        return folder
    with zipfile.ZipFile(archive) as opened:
        classes = defaultdict(list)
        for name in sorted(name for name in opened.namelist() if name.endswith(".jpg")):
            classes[Path(name).parent.name].append(name)
        for label, names in classes.items():
            for part, chosen in (("train", slice(per_class)), ("val", VALIDATION), ("test", TEST)):
                (folder / part / label).mkdir(parents=True, exist_ok=True)
                for name in names[chosen]:
                    (folder / part / label / Path(name).name).write_bytes(opened.read(name))
    done.touch()
    return folder


def write_designs(scratch: Path) -> dict[str, Path]:
    """Write the analogues of the published designs in this study's space; return their files by name."""
    space = load_declaration(SPACE).space(None, SIDE, 3, 10)
    files = {}
    for name, architecture in analogues(space):
        if name in DESIGNS:
            files[name] = scratch / f"{name}.json"
            write_json(files[name], architecture.to_json())
    return files


def nas(*words: str) -> Any:
    """Run a ``nas`` command and return what it prints as JSON."""
    command = [sys.executable, "-m", "nas", *words, "--json"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def begin_study(folder: Path, space: str, images: Path, seed: int, budget: str) -> None:
    """Begin a study of these images in a folder, to retrain in; it has no supernet."""
    words = ["--space", space, "--data", f"folder:{images}", "--image-size", str(SIDE), "--seed", str(seed)]
    words += [
        "--objective",
        "macs,params",
        "--budget",
        f"{budget},2trials",
        "--batch",
        "2",
        "--study",
        str(folder),
    ]
    nas("search", *words)


def train_teacher(images: Path, folder: Path, budget: str) -> str:
    """Train a convolutional network on the same images by `plain` for longer; return what --teacher takes."""
    export = folder.with_name("teacher-export")
    if not export.exists():
        begin_study(folder, str(HERE / "teacher_space.yaml"), images, 0, budget)
        recipe = str(HERE / "plain.yaml")
        nas(
            "retrain", str(folder), "--recipe", recipe, "--epochs", "24", "--from-scratch", "--budget", budget
        )
        nas("export", str(folder), "--out", str(export), "--format", "source")
    return str(export)


def describe_teacher(folder: Path) -> dict[str, Any] | None:
    """Return what the teacher is and reaches, where this script trained it."""
    results = sorted(folder.glob("retrained/*/scratch/result.json"))
    if not results:
        return None
    result = read_json(results[0])
    return {key: result[key] for key in ("digest", "macs", "params", "val_top1", "test_top1", "recipe")}


def run_cell(
    cell: str, seed: int, images: Path, designs: dict[str, Path], teacher: str, scratch: Path, budget: str
) -> list[dict[str, Any]]:
    """Return the rows of a cell with one seed: what an earlier run stored, or what retraining both designs says."""
    recipe, with_teacher = CELLS[cell]
    name = f"{recipe}{'-teacher' if with_teacher else ''}-{seed}"
    stored = scratch / f"{name}.json"
    if not stored.exists():
        study = scratch / name
        if not (study / "study.yaml").exists():
            begin_study(study, str(SPACE), images, seed, budget)
        words = [str(study), "--recipe", str(HERE / f"{recipe}.yaml"), "--from-scratch", "--budget", budget]
        words += [word for file in designs.values() for word in ("--arch", str(file))]
        results = nas("retrain", *words, *(["--teacher", teacher] if with_teacher else []))
        names = {Architecture.from_json(read_json(file)).digest: design for design, file in designs.items()}
        write_json(stored, [read_row(cell, seed, names[result["digest"]], result) for result in results])
    rows: list[dict[str, Any]] = read_json(stored)
    return rows


def read_json(file: Path) -> Any:
    """Return the content of a JSON file."""
    return json.loads(file.read_text(encoding="utf-8"))


def read_row(cell: str, seed: int, design: str, result: dict[str, Any]) -> dict[str, Any]:
    """Return a run's row from the result of its retraining."""
    keys = ("digest", "macs", "params", "val_top1", "test_top1", "test_top1_se", "test_images", "recipe")
    return {"cell": cell, "design": design, "seed": seed, **{key: result[key] for key in keys}}


def score_designs(
    seed: int, images: Path, teacher: str | None, scratch: Path, budget: str
) -> dict[str, Any]:
    """Return the accuracies by digest that designs reach with a supernet's weights: first a search's, then random ones."""
    study = scratch / f"supernet-{seed}{'' if teacher is None else '-teacher'}"
    stored = scratch / f"{study.name}.json"
    if not stored.exists():
        words = ["--space", str(SPACE), "--data", f"folder:{images}", "--image-size", str(SIDE)]
        words += ["--epochs", str(SUPERNET_EPOCHS), "--sampler", "random", "--seed", str(seed), "--study", str(study)]
        words += ["--budget", f"{budget},{SCORED_DESIGNS}trials", *([] if teacher is None else ["--teacher", teacher])]
        nas("search", *words)
        scores = {each.architecture.digest: each.scores["top1"] for each in Study(study).records()}
        write_json(stored, {"seed": seed, "teacher": teacher is not None, "val_top1": scores})
    row: dict[str, Any] = read_json(stored)
    return row


def compare_supernets(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean and the best accuracy of the same designs in supernets with and without a teacher, over seeds."""
    by_seed = {(row["seed"], row["teacher"]): row["val_top1"] for row in rows}
    found: dict[str, list[dict[str, float]]] = {"without teacher": [], "with teacher": [], "difference": []}
    for seed in sorted({seed for seed, _ in by_seed}):
        pair = by_seed[seed, False], by_seed[seed, True]
        common = sorted(pair[0].keys() & pair[1].keys())
        without, taught = (
            {
                "mean": statistics.fmean(scores[digest] for digest in common),
                "best": max(scores[digest] for digest in common),
            }
            for scores in pair
        )
        found["without teacher"].append(without)
        found["with teacher"].append(taught)
        found["difference"].append({key: taught[key] - without[key] for key in taught})
    return [
        {"supernet": name, "seeds": len(each), **{key: spread([v[key] for v in each]) for key in ("mean", "best")}}
        for name, each in found.items()
    ]


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Return the mean and the standard deviation of values over seeds; no deviation of a single one."""
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else None}


def to_supernet_table(compared: Sequence[dict[str, Any]]) -> str:
    """Return a Markdown table of the supernets, mean ± standard deviation over seeds."""
    lines = ["| supernet | mean validation top-1 of the same designs | best of them |", "|---|---|---|"]
    for line in compared:
        unit, form = (" points", "+.1f") if line["supernet"] == "difference" else ("%", ".1f")
        cells = [format_spread(line[key], unit, form) for key in ("mean", "best")]
        lines.append(f"| {line['supernet']} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def summarize(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for each design and cell the mean and spread over seeds, and the same of the difference to `plain`."""
    test = {(row["design"], row["cell"], row["seed"]): row["test_top1"] for row in rows}
    lines = []
    for design, cell in product(DESIGNS, CELLS):
        seeds = sorted(seed for of, in_cell, seed in test if (of, in_cell) == (design, cell))
        accuracies = [test[design, cell, seed] for seed in seeds]
        gains = [test[design, cell, seed] - test[design, "plain", seed] for seed in seeds]
        line: dict[str, Any] = {"design": design, "cell": cell, "seeds": len(seeds)}
        for key, values in (("test_top1", accuracies), ("gain", gains)):
            line[key] = spread(values)
        lines.append(line)
    return lines


def to_table(summary: Sequence[dict[str, Any]]) -> str:
    """Return a Markdown table: a line for each design and cell, mean ± standard deviation over seeds."""
    lines = ["| design | recipe | test top-1 | difference to plain, same seeds |", "|---|---|---|---|"]
    for line in summary:
        gain = "" if line["cell"] == "plain" else format_spread(line["gain"], " points", "+.1f")
        accuracy = format_spread(line["test_top1"], "%", ".1f")
        lines.append(f"| {line['design']} | {line['cell']} | {accuracy} | {gain} |")
    return "\n".join(lines)


def format_spread(value: dict[str, float | None], unit: str, form: str) -> str:
    """Return ``mean ± std`` with its unit."""
    deviation = "" if value["std"] is None else f" ± {value['std']:.1f}"
    return f"{value['mean']:{form}}{deviation}{unit}"


if __name__ == "__main__":
    main()
