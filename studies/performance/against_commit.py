"""A training step of the nano supernet here beside the same step at an earlier commit, in turns.

Both sides train the space of one width of each stage, which the commit's own nano was, by today's default recipe, each
in a process of its own: the same paths on the same images, by the trainer's own loop. A step is done by one side, then
by the other, then the next the other way round; a pair of processes is a round. Times are seconds of a core at one
thread, and of the wall beside them. The losses of both sides are compared, so that it is seen that they do the same.
Two minutes a round on an idle core::

    python studies/performance/against_commit.py 7c9782e --rounds 5
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nas.runtime.files import write_json
from nas.runtime.provenance import provenance
from nas.study.recipe import Recipe
from nas.study.recipes import RecipeOverrides, default_recipes
from nas.study.settings import Settings

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "tests" / "golden" / "twins_cswin_fixed_width.yaml"
RESULTS = Path(__file__).parent / "results" / "against_commit.json"
IN_TREE = Path(__file__).with_name("in_tree.py")
#: What is compared: the time of a whole step, of its forward and backward, and of the rest.
KINDS = ("whole step", "forward and backward", "the rest")


class SideOfCommit:
    """A process that trains by the code of one tree.

    Args:
        tree: The folder of the code.
        recipe: Numbers of the recipe that are not the usual ones.
    """

    def __init__(self, tree: Path, recipe: dict[str, Any]) -> None:
        script = Path(__file__).with_name("steps_of_a_tree.py")
        asked = json.dumps({"recipe": recipe, "space": str(SPACE)})
        self._process = subprocess.Popen(
            [sys.executable, str(IN_TREE), str(script), asked],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.parameters: int = self._read()["parameters"]

    def step(self) -> dict[str, float]:
        """Do the next step; return its times in seconds, and its loss."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def end(self) -> None:
        """End the process."""
        self._process.communicate()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"a side ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.contextmanager
def tree_of(commit: str) -> Iterator[Path]:
    """Check a commit out beside this tree, and yield the folder."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "-q", "--detach", str(tree), commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def default_recipe() -> dict[str, Any]:
    """Return the numbers of the default recipe of small images that are not a recipe's usual ones."""
    recipe = default_recipes(Settings(), RecipeOverrides(), image_size=28, gpus=0).recipe
    usual = asdict(Recipe())
    return {name: value for name, value in asdict(recipe).items() if value != usual[name]}


def compare(
    tree: Path, recipe: dict[str, Any], steps: int, warm_up: int
) -> list[dict[str, dict[str, float]]]:
    """Run a pair of processes; return each step's times of both sides, without the first ``warm_up`` steps."""
    sides = {"before": SideOfCommit(tree, recipe), "now": SideOfCommit(ROOT, recipe)}
    if len({side.parameters for side in sides.values()}) > 1:
        sys.exit(f"the supernets differ: {[side.parameters for side in sides.values()]} parameters")
    found = []
    for number in range(warm_up + steps):
        order = list(sides) if number % 2 == 0 else list(reversed(sides))
        found.append({name: sides[name].step() for name in order})
    for side in sides.values():
        side.end()
    return found[warm_up:]


def seconds_of(step: dict[str, float], kind: str, clock: str) -> float:
    """Return the seconds of one kind of work in a step by a clock, ``core`` or ``wall``."""
    whole, within = step[clock], step[f"{clock}_within"]
    return {"whole step": whole, "forward and backward": within, "the rest": whole - within}[kind]


def summarize(rounds: Sequence[Sequence[dict[str, dict[str, float]]]]) -> dict[str, Any]:
    """Return, by kind and clock, the median and quartiles of the ratios now / before, and the medians of the rounds."""
    summary: dict[str, Any] = {}
    for kind in KINDS:
        for clock in ("core", "wall"):
            ratios = [
                [seconds_of(step["now"], kind, clock) / seconds_of(step["before"], kind, clock) for step in steps]
                for steps in rounds
            ]
            low, middle, high = statistics.quantiles([one for each in ratios for one in each], n=4)
            summary[f"{kind}, {clock}"] = {
                "ratio": middle,
                "quartiles": [low, high],
                "rounds": [statistics.median(each) for each in ratios],
                **{
                    f"{side}_ms": 1e3
                    * statistics.median(seconds_of(step[side], kind, clock) for steps in rounds for step in steps)
                    for side in ("before", "now")
                },
            }
    losses = [abs(step["now"]["loss"] - step["before"]["loss"]) for steps in rounds for step in steps]
    summary["largest_loss_difference"] = max(losses)
    return summary


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the result with its provenance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commit", help="what to compare with; its layout is that of 7c9782e, or today's")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of processes")
    parser.add_argument("--steps", type=int, default=200, help="of a round")
    parser.add_argument("--batch-size", type=int, help="images of a step; the recipe's where it is left out")
    parser.add_argument("--warm-up", type=int, default=20, help="steps before them, which are not counted")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON file to write")
    options = parser.parse_args(arguments)
    recipe, rounds, loads = default_recipe(), [], []
    if options.batch_size is not None:
        recipe["batch_size"] = options.batch_size
    with tree_of(options.commit) as tree:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tree, capture_output=True, text=True, check=True)
        for _ in range(options.rounds):
            rounds.append(compare(tree, recipe, options.steps, options.warm_up))
            loads.append(os.getloadavg()[0])
            one = summarize([rounds[-1]])
            print("  ".join(f"{kind} {one[f'{kind}, core']['ratio']:.3f}" for kind in KINDS), flush=True)
    summary = summarize(rounds)
    for name, value in summary.items():
        print(f"{name:28} {value}")
    command = ["python", "studies/performance/against_commit.py", *(arguments or sys.argv[1:])]
    found = {
        "before": commit.stdout.strip(),
        "recipe": recipe,
        "steps": options.steps,
        "load": loads,
        "summary": summary,
        "provenance": provenance(0, command),
    }
    write_json(options.out, found)


if __name__ == "__main__":
    main()
