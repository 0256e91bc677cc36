"""One training loop, for supernets and for single networks, that can be stopped at any step.

Everything random is a function of the seed and the step, and a checkpoint holds weights, average and
optimizer, so a resumed run computes what an uninterrupted one would have.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.runtime import interrupt
from nas.runtime.device import seed_generators
from nas.runtime.error_text import first_line
from nas.runtime.files import load_tensors
from nas.study.recipe import Recipe
from nas.training.checkpoint_writer import CheckpointWriter
from nas.training.ema import ModelEma
from nas.training.gradient_scale import GradientScale
from nas.training.loss_check import LossCheck
from nas.training.optimizer import create_optimizer, create_schedule
from nas.training.throughput import StepTimer
from search_spaces.errors import CheckpointError, RequestError

DEFAULT_SAVE_SECONDS = 20.0

#: ``(step, images, labels) -> loss``: runs forward and backward, leaving the gradients of the whole batch. The loss is
#: a detached scalar on the device, which nobody has waited for.
ForwardBackward = Callable[[int, Tensor, Tensor], Tensor]
#: ``(epoch, first batch) -> batches`` of one epoch from that batch on.
EpochBatches = Callable[[int, int], Iterator[tuple[Tensor, Tensor]]]


class Training:
    """A network in training.

    Args:
        model: The network, on its device.
        recipe: How to train it.
        steps_per_epoch: Batches of an epoch.
        checkpoint: Where the state is kept; read at once if it is there.
        identity: What the state belongs to; a checkpoint of something else is refused.
        former: How earlier versions wrote that.

    Raises:
        CheckpointError: If the checkpoint is damaged or belongs to something else.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        steps_per_epoch: int,
        checkpoint: Path,
        identity: str,
        former: Sequence[str] = (),
    ) -> None:
        self.model, self.recipe, self.steps_per_epoch = model, recipe, steps_per_epoch
        self.checkpoint, self.identity = checkpoint, identity
        self.total_steps = recipe.epochs * steps_per_epoch
        self.parameters = list(model.parameters())
        self.step, self.timer = 0, StepTimer(self.parameters[0].device)
        self.optimizer = create_optimizer(model, recipe)
        self.schedule = create_schedule(self.optimizer, recipe, steps_per_epoch)
        self.ema = ModelEma(model, recipe.ema_decay, self.total_steps)
        self.scale, self.writer = GradientScale(model), CheckpointWriter(checkpoint)
        if checkpoint.exists():
            self._load((identity, *former))

    @property
    def averaged_network(self) -> nn.Module:
        """The average of the network over its training, which is what gets evaluated."""
        return self.ema.averaged(self.step)

    def run(
        self,
        forward_backward: ForwardBackward,
        epoch_batches: EpochBatches,
        *,
        on_progress: Callable[[int, float], None] | None = None,
        on_epoch: Callable[[], None] | None = None,
        save_seconds: float | None = None,
        until: int | None = None,
        save_checkpoints: bool = True,
    ) -> None:
        """Train on, saving now and then beside the training, and at the end and when interrupted before it returns.

        Args:
            forward_backward: Forward and backward of one batch.
            epoch_batches: The images.
            on_progress: Called after each step with ``(steps done, loss)``, the loss that was read last: of this
                step on a CPU, of one of the last ten on a GPU.
            on_epoch: Called at the end of each epoch; an interruption that comes meanwhile is answered after the
                next step.
            save_seconds: Least time between two checkpoints; ``NAS_CHECKPOINT_SECONDS`` of the environment,
                or 20, where it is left out. It is more where copying the state would take over 3% of the time.
            until: Step to stop at; the recipe's last where it is left out.
            save_checkpoints: Whether this process writes the checkpoints (one of several workers does).

        Raises:
            Interrupted: After saving, if the user asked to stop.
            WorkError: If the loss or the gradients are no longer finite, the last checkpoint being of weights that
                were; or if a checkpoint could not be written.
        """
        end = self.total_steps if until is None else min(until, self.total_steps)
        save_seconds = checkpoint_seconds() if save_seconds is None else save_seconds
        check = LossCheck(self.parameters[0].device, self.recipe.lr)
        while self.step < end:
            self.model.train()
            epoch, first = divmod(self.step, self.steps_per_epoch)
            for images, labels in epoch_batches(epoch, first):
                with self.timer.step():
                    loss, norm = self.take_step(forward_backward, images, labels)
                check.add(self.step, loss, norm)
                if on_progress is not None:
                    on_progress(self.step, check.loss)
                is_interrupted = interrupt.is_requested()
                if save_checkpoints and (is_interrupted or self.writer.is_due(save_seconds)):
                    check.read()
                    self.start_saving()
                if is_interrupted:
                    self.writer.wait()
                    interrupt.check()
                if self.step >= end or self.step % self.steps_per_epoch == 0:
                    break
            if on_epoch is not None and self.step % self.steps_per_epoch == 0:
                check.read()
                on_epoch()
        check.read()
        if save_checkpoints:
            self.save()

    def take_step(
        self, forward_backward: ForwardBackward, images: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Train on one batch; return its loss and the norm of its gradients, both on the device."""
        seed_generators(self.recipe.seed * 1_000_003 + self.step)  # stochastic depth, on resumption too
        self.schedule.step_update(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss = forward_backward(self.step, images, labels)
        used = [parameter for parameter in self.parameters if parameter.grad is not None]
        self.scale.unscale(self.optimizer)
        norm = nn.utils.get_total_norm([parameter.grad for parameter in used if parameter.grad is not None])
        if self.recipe.clip_grad:
            nn.utils.clip_grads_with_norm_(used, self.recipe.clip_grad, norm)
        self.ema.before_step(self.step, used)
        self.scale.step(self.optimizer)
        self.ema.after_step(self.step, used)
        self.step += 1
        return loss, self.scale.excuse_overflow(norm.to(loss.device, loss.dtype))

    def save(self) -> None:
        """Write the whole state and wait until it is on the disk; raises as `start_saving` does."""
        self.start_saving()
        self.writer.wait()

    def start_saving(self) -> None:
        """Copy the whole state and begin to write it beside the training.

        Raises:
            WorkError: If the former checkpoint could not be written.
        """
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        if self.step == self.total_steps:
            self.ema.averaged(self.step)  # others read the average of a finished checkpoint
        tensors |= {f"ema.{name}": value for name, value in self.ema.state_dict().items()}
        tensors["seen"] = torch.tensor(self.ema.steps_included)
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in values.items()}
        tensors |= {f"scale.{name}": value for name, value in self.scale.state_dict().items()}
        metadata = {
            "identity": self.identity,
            "step": str(self.step),
            "total": str(self.total_steps),
            "recipe": json.dumps(asdict(self.recipe)),
        }
        self.writer.start(tensors, metadata)

    def _load(self, identities: Sequence[str]) -> None:
        """Read the whole state from the checkpoint, which belongs to one of ``identities``."""
        tensors, metadata = load_tensors(self.checkpoint)
        with _refusing_other_networks(self.checkpoint):
            recipe = {**asdict(Recipe()), **json.loads(metadata.get("recipe", "{}"))}
        if metadata.get("identity") not in identities or recipe != asdict(self.recipe):
            raise CheckpointError(
                f"{self.checkpoint} belongs to another network, teacher or recipe; choose another study folder, or "
                "delete that file to train anew"
            )
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "ema": {}, "optimizer": {}, "scale": {}}
        for name, value in tensors.items():
            group, _, rest = name.partition(".")
            groups.setdefault(group, {})[rest] = value
        with _refusing_other_networks(self.checkpoint):
            self.model.load_state_dict(groups["model"])
            self.ema.module.load_state_dict(groups["ema"])
            self.ema.steps_included = tensors.pop("seen").tolist()
            optimizer_state: dict[int, dict[str, Tensor]] = {}
            for name, value in groups["optimizer"].items():
                index, _, key = name.partition(".")
                optimizer_state.setdefault(int(index), {})[key] = value
            self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": optimizer_state})
            self.scale.load_state_dict(groups["scale"])
            self.step = int(metadata["step"])


@contextlib.contextmanager
def _refusing_other_networks(path: Path) -> Iterator[None]:
    """Turn torch's complaint about names, shapes and values into an error of ours."""
    try:
        yield
    except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} does not hold this network's weights ({first_line(error)})") from None


def checkpoint_seconds() -> float:
    """Return the least time between two checkpoints, ``NAS_CHECKPOINT_SECONDS`` or 20.

    Raises:
        RequestError: If it is not a number.
    """
    text = os.environ.get("NAS_CHECKPOINT_SECONDS", str(DEFAULT_SAVE_SECONDS))
    try:
        return float(text)
    except ValueError:
        raise RequestError(
            f"NAS_CHECKPOINT_SECONDS must be a number of seconds, not '{text}'; set it to 20, or unset it"
        ) from None
