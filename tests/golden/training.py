"""Losses of short trainings and the weights they end with: what a step computes must stay the same.

``training.json`` holds what the code computed when training became a sum over shards; every part of a step (paths,
teacher, augmentation, smoothing, schedule, decay, clipping, average) takes part in it. Float32 sums differ in their
last bits between processors, and AdamW turns tiny gradients of either sign into full steps: so the tolerance is 1e-3.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.data.augment import Augmentation
from nas.runtime.files import load_tensors
from nas.study.designs import Design
from nas.study.recipe import Recipe
from nas.study.settings import Settings
from nas.training.loop import Training
from nas.training.retraining_job import RetrainingJob
from nas.training.subnet import train_one
from nas.training.supernet_step import supernet_step
from search_spaces.declaration import parse_declaration
from search_spaces.space import Space
from supernet.sampling import POLICIES
from supernet.subnet import build_subnet
from supernet.supernet import Supernet
from tests.helpers.command_line import TINY_SPACE
from tests.helpers.noise import three_splits

RECIPE = Recipe(
    epochs=3, batch_size=8, lr=2e-3, warmup=0.34, clip_grad=1.0, ema_decay=0.9, label_smoothing=0.2, shards=2
)
CPU = torch.device("cpu")


def tiny() -> Space:
    return parse_declaration(TINY_SPACE, "tiny.yaml").space("nano", 16, 3, 3)


def compute_training() -> dict[str, Any]:
    """Return the losses of a supernet's steps under every policy, and those of retrained designs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        supernets = {name: train_supernet(name) for name in POLICIES}
        return {"supernets": supernets, "designs": {str(rate): train_design(rate) for rate in (0.0, 0.3)}}
    finally:
        torch.set_num_threads(threads)


def validation_loss(network: torch.nn.Module, *path: Any) -> float:
    """Return the cross-entropy on the training images as they are, which are no single picture."""
    images, labels = next(three_splits(Augmentation("small")).train.batches(64))
    with torch.inference_mode():
        return F.cross_entropy(network.eval()(images, *path), labels).item()


def train_supernet(policy: str) -> dict[str, Any]:
    """Return the losses of all steps, and that of the averaged weights' largest path."""
    settings, space = Settings(policy=policy, recipe=RECIPE), tiny()
    data = three_splits(Augmentation("small"))
    torch.manual_seed(0)
    losses: list[float] = []

    def batches(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        return data.train.batches(8, shuffle_seed=0, epoch=epoch, augment=True, start=first)

    with tempfile.TemporaryDirectory() as folder:
        training = Training(Supernet(space), RECIPE, 3, Path(folder, "checkpoint"), "golden")
        step = supernet_step(training.model, settings, CPU, 2, 2)  # type: ignore[arg-type]
        training.run(step, batches, on_progress=lambda done, loss: losses.append(float(loss)))
        return {"losses": losses, "average": validation_loss(training.averaged_network, space.largest)}


def train_design(drop_path: float) -> float:
    """Return the loss of a retrained design."""
    recipe, design = replace(RECIPE, drop_path=drop_path, shards=1), tiny().largest
    with tempfile.TemporaryDirectory() as folder:
        job = RetrainingJob(Design(design), "scratch", Path(folder), recipe, "0")
        payload = {"data": three_splits(Augmentation("small")), "inherited": {}}
        train_one(job, payload, CPU, lambda result: None)
        network = build_subnet(design)
        network.load_state_dict(load_tensors(Path(folder, "model.safetensors"))[0])
        return validation_loss(network)
