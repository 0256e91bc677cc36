"""What must stay the same from version to version: spaces, proposals, weights' initialisation and training.

The JSON files beside this module hold what version 0.1.0 (commit 7c9782e) computed, but for ``proposals.json``: since
then repeated designs are drawn again, and designs over a limit take part in NSGA-II. ``before_repeats.json`` holds the
proposals of version 0.1.0 without limits until the first that was a repeat, which never changed. After a change that is
meant to alter them, write them anew and say in the commit why they differ::

    python -m tests.golden.values
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch.nn import functional as F

from nas.search.loop import Search, SearchConfig, analytic_costs
from nas.search.objectives import Goal
from nas.search.trial_store import Store
from search_spaces.architecture import Architecture
from search_spaces.declaration import Declaration, known_spaces, load_declaration
from search_spaces.space import Space
from supernet.sampling import POLICIES
from supernet.sampling import policy as find_policy
from supernet.supernet import Supernet
from tests.golden.training import compute_training

FOLDER = Path(__file__).parent
SAMPLES = 20
STEPS = 5
#: Sampler, limits and number of trials of each search; TPE takes a fifth of a second a proposal.
SEARCHES: dict[str, tuple[str, tuple[tuple[str, float], ...], int]] = {
    "nsga2": ("nsga2", (), 96),
    "nsga2, at most 3M MACs": ("nsga2", (("macs", 3e6),), 64),
    "random": ("random", (), 64),
    "tpe": ("tpe", (), 24),
}


def declarations() -> dict[str, Declaration]:
    """Return the named spaces, `twins_cswin` as it was when these values were computed: of one width."""
    named = {name: load_declaration(name) for name in known_spaces()}
    return named | {"twins_cswin": load_declaration(FOLDER / "twins_cswin_fixed_width.yaml")}


def nano() -> Space:
    """Return the main job's space."""
    return declarations()["twins_cswin"].space("nano", 28, 1, 10)


def compute_spaces() -> dict[str, Any]:
    """Return digest, size and a few samples of every named space at every scale."""
    return {
        f"{name}/{scale}": {
            "digest": space.digest,
            "size": space.size,
            "samples": [space.sample(Random(seed)).digest for seed in range(SAMPLES)],
        }
        for name, declaration in declarations().items()
        for scale in declaration.scales
        for space in [declaration.space(scale)]
    }


def compute_proposals() -> dict[str, Any]:
    """Return the digests of all designs that searches with each sampler propose, in their order."""
    return {name: propose(*search) for name, search in SEARCHES.items()}


def propose(sampler: str, limits: tuple[tuple[str, float], ...], trials: int) -> list[str]:
    """Search the main job's space with made-up accuracies and return the digests of all proposals."""
    goal, space = Goal(("top1", "macs"), limits), nano()

    def evaluate(
        designs: list[Architecture], required_top1: list[float], more: object = None
    ) -> Iterator[dict[int, dict[str, float]]]:
        yield {index: {"top1": made_up_top1(design)} for index, design in enumerate(designs)}

    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/study.db", "golden", goal.objectives, space.choices)
        config = SearchConfig(
            goal, sampler=sampler, batch_size=32 if sampler == "nsga2" else 8, trials=trials
        )
        records = Search(space, store, config, evaluate, analytic_costs).run(lambda record, done: None)
    return [record.architecture.digest for record in records]


def made_up_top1(architecture: Architecture) -> float:
    """Return a made-up accuracy in percent that rises with the design's size and that its digest alters a little."""
    chance = int(architecture.digest[:6], 16) / 16**6
    return round(9 * math.log10(analytic_costs(architecture)["macs"]) + chance, 6)


def compute_supernet() -> dict[str, Any]:
    """Return initial weights, the first paths of every policy, and the losses of a short training in float64."""
    space = nano()
    torch.manual_seed(0)
    supernet = Supernet(space)
    state = supernet.state_dict()
    return {
        "layout": layout_digest(state),
        "weights": {name: projection(tensor) for name, tensor in state.items()},
        "paths": {
            name: [[path.architecture.digest for path in policy(space, 0, step)] for step in range(STEPS)]
            for name, policy in ((name, find_policy(name)) for name in POLICIES)
        },
        "losses": train(float64_supernet(space), space),
    }


def float64_supernet(space: Space) -> Supernet:
    """Return a supernet whose initial weights are drawn in float64, so that processors agree on them to 1e-15."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(0)
        return Supernet(space)
    finally:
        torch.set_default_dtype(before)


def layout_digest(state: dict[str, torch.Tensor]) -> str:
    """Return a digest of names, shapes and types: what a checkpoint's layout is."""
    layout = [[name, list(tensor.shape), str(tensor.dtype)] for name, tensor in state.items()]
    return hashlib.sha256(json.dumps(layout).encode()).hexdigest()


def projection(tensor: torch.Tensor) -> float:
    """Return one number that every entry takes part in; unlike a hash it bears the last bit of another processor."""
    flat = tensor.detach().double().flatten()
    return float(flat @ torch.cos(torch.arange(flat.numel(), dtype=torch.float64)))


def train(supernet: Supernet, space: Space) -> list[float]:
    """Return the losses of a few steps of SGD with momentum on random images, one uniform path a step."""
    optimizer = torch.optim.SGD(supernet.parameters(), lr=0.05, momentum=0.9)
    noise = torch.Generator().manual_seed(1)
    images = torch.rand(
        (STEPS, 8, space.in_channels, *space.image_size), generator=noise, dtype=torch.float64
    )
    labels = torch.randint(space.num_classes, (STEPS, 8), generator=noise)
    losses = []
    supernet.train()
    for step in range(STEPS):
        (path,) = find_policy("uniform")(space, 0, step)
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(supernet(images[step], path.architecture), labels[step])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


GOLDEN = {
    "spaces": compute_spaces,
    "proposals": compute_proposals,
    "supernet": compute_supernet,
    "training": compute_training,
}


def golden_file(name: str) -> Path:
    """Return the file of the stored values called ``name``."""
    return FOLDER / f"{name}.json"


def main() -> None:
    """Write all values anew."""
    for name, compute in GOLDEN.items():
        golden_file(name).write_text(json.dumps(compute(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
