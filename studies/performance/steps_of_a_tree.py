"""One side of ``against_commit.py``: trains the supernet of the tree that ``PYTHONPATH`` names, a step when told to.

It knows the layout of today and that of commit 7c9782e. The trainer's own loop runs and gets its batches from here, so
a step is all that the loop does between two of them: rate, gradients, clipping, AdamW, moving average, what looks for
interruptions and checkpoints that are due. Each line on stdin is one step; its answer is a line of JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

#: Batches of an epoch: of the 3,500 training images of mnist5k, 64 at once.
STEPS_PER_EPOCH = 55
#: Where the parts of a trainer are, today and at that commit.
LAYOUTS = (
    {
        "Training": "nas.training.loop",
        "supernet_step": "nas.training.supernet_step",
        "Settings": "nas.study.settings",
        "Recipe": "nas.study.recipe",
    },
    {"Training": "nas.train", "supernet_step": "nas.pretrain", "Settings": "nas.settings", "Recipe": "nas.train"},
)


def find_parts() -> dict[str, Any]:
    """Return what trains a supernet, by the same names in either layout."""
    for places in LAYOUTS:
        try:
            modules = {name: importlib.import_module(place) for name, place in places.items()}
            break
        except ModuleNotFoundError:
            continue
    else:
        sys.exit("this tree has neither layout")
    modules |= {
        "load_declaration": importlib.import_module("search_spaces.declaration"),
        "Supernet": importlib.import_module("supernet.supernet"),
    }
    return {name: getattr(module, name) for name, module in modules.items()}


def step_of_all_shards(parts: dict[str, Any], supernet: Any, settings: Any) -> Callable[..., Any]:
    """Return the forward and backward of a batch whose shards are all computed here, in turn."""
    shards = settings.recipe.shards
    takes = parts["supernet_step"].__code__.co_varnames
    more = (shards,) if "all_shards" in takes else ()
    step: Callable[..., Any] = parts["supernet_step"](
        supernet, settings, torch.device("cpu"), shards, *more
    )
    return step


def main() -> None:
    """Train as many steps as there are lines."""
    asked = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    parts = find_parts()
    recipe = parts["Recipe"](**asked["recipe"])
    settings = parts["Settings"](recipe=recipe)
    space = parts["load_declaration"](Path(asked["space"])).space("nano", 28, 1, 10)
    torch.manual_seed(0)
    supernet = parts["Supernet"](space)
    step = step_of_all_shards(parts, supernet, settings)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(recipe.batch_size, 1, 28, 28, generator=generator)
    labels = torch.randint(10, (recipe.batch_size,), generator=generator)
    passed: dict[str, float] = {}

    def forward_backward(number: int, images: Tensor, labels: Tensor) -> Any:
        core, wall = time.thread_time(), time.perf_counter()
        loss = step(number, images, labels)
        passed["loss"] = float(loss)
        passed["core_within"] = time.thread_time() - core
        passed["wall_within"] = time.perf_counter() - wall
        return loss

    def batches(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        while sys.stdin.readline():
            core, wall = time.thread_time(), time.perf_counter()
            try:
                yield images, labels
            finally:  # also where an epoch ends, after whose last batch the loop asks for no other
                passed["core"], passed["wall"] = time.thread_time() - core, time.perf_counter() - wall
                print(json.dumps(passed), flush=True)
        sys.exit()

    with tempfile.TemporaryDirectory() as folder:
        training = parts["Training"](supernet, recipe, STEPS_PER_EPOCH, Path(folder, "state"), "against")
        told = "on_progress" if "on_progress" in type(training).run.__kwdefaults__ else "report"
        print(json.dumps({"parameters": sum(each.numel() for each in training.parameters)}), flush=True)
        training.run(forward_backward, batches, save_seconds=1e9, **{told: lambda step, loss: None})


if __name__ == "__main__":
    main()
