"""Training one design by itself, in this process or as one rank of a team."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from nas.data.batching import SHARD_IMAGES, batch_sizes, usable_shards
from nas.data.dataset import Data
from nas.evaluation.accuracy import accuracy, evaluation_batch_size
from nas.runtime import interrupt
from nas.training.augmentation import recipe_augmentation
from nas.training.epoch_history import FILE_NAME, Epoch, EpochHistory
from nas.training.loop import Training
from nas.training.retraining_job import RetrainingJob
from nas.training.retraining_result import write_result
from nas.training.sharded_step import meet_workers
from nas.training.stored_answers import TrainingTeacher, images_to_teach
from nas.training.subnet_step import subnet_step
from nas.training.training_step import recipe_step
from supernet.network import Network
from supernet.resizing import AtImageSize
from supernet.subnet import build_subnet


def train_one(
    job: RetrainingJob,
    payload: Mapping[str, Any],
    device: torch.device,
    on_result: Callable[[dict[str, Any]], None],
    rank: int = 0,
    world: int = 1,
) -> None:
    """Train one design, from where it stopped if it was begun; runs in a worker, or in each of a team.

    A job that pauses has the schedule of its whole length, so going on gives what an uninterrupted training gives.

    Shards, not workers, decide what is computed: two ranks give what one process gives, bit for bit, if each has one
    thread; more than two add floats in another order. The first rank evaluates and writes.

    Args:
        job: What to train.
        payload: ``data``, by digest the weights that designs inherit, and where there is one the ``teacher``, the
            ``training_step`` and the ``own_scoring``.
        device: Where to train.
        on_result: Called with the validation accuracy and the images/s of each epoch, by the first rank.
        rank: Number of this rank.
        world: Number of ranks, a divisor of the shards.
    """
    if job.is_finished:
        return
    data: Data = payload["data"]
    recipe, size = job.recipe, job.architecture.image_size
    network = _build(job, payload).to(device)
    shards = usable_shards(len(data.train), recipe.shards)
    sizes = batch_sizes(len(data.train), recipe.batch_size, SHARD_IMAGES * shards)
    steps_per_epoch, batch_size = len(sizes), fmean(sizes)
    training = Training(
        network, recipe, steps_per_epoch, job.checkpoint_file, job.identity, job.former_identities
    )
    sum_over_workers = meet_workers(world)
    teacher: TrainingTeacher | None = payload.get("teacher")
    run_step = subnet_step(
        network,
        recipe,
        device,
        shards // world,
        shards,
        rank,
        sum_over_workers,
        compile=job.compile,
        teaching=None if teacher is None else teacher.on(device, data),
        image_size=size,
        training_step=payload.get("training_step") or recipe_step,
    )

    augmentation, images = recipe_augmentation(recipe, data), images_to_teach(data.train, teacher)

    def epoch_batches(epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        return images.batches(
            recipe.batch_size,
            device=device,
            shuffle_seed=recipe.seed,
            epoch=epoch,
            augment=augmentation,
            least=SHARD_IMAGES * shards,
            start=first,
            rank=rank,
            world=world,
        )

    history = EpochHistory(job.folder / FILE_NAME, training.step // steps_per_epoch, Epoch)
    losses: list[float] = []
    started = time.monotonic()

    def report_epoch() -> None:
        nonlocal started
        seconds = time.monotonic() - started
        if rank == 0:
            batches = data.val.batches(evaluation_batch_size(size), device=device)
            top1 = accuracy(AtImageSize(training.averaged_network, size), batches)["top1"]
            epoch = training.step // steps_per_epoch
            if losses:
                lr = training.optimizer.param_groups[0]["lr"]
                history.add(Epoch(epoch, top1, fmean(losses), lr, seconds))
            rate = batch_size * len(losses) / seconds if losses else None
            on_result({"name": job.name, "epoch": epoch, "top1": top1, "images_per_second": rate})
        losses.clear()
        started = time.monotonic()

    end = job.last_epoch * steps_per_epoch
    if training.step > end:  # it went on before, so that what it had reached by then is in its history
        if rank == 0:
            top1 = next(row.val_top1 for row in history.epochs if row.epoch == job.last_epoch)
            on_result({"name": job.name, "epoch": job.last_epoch, "top1": top1, "images_per_second": None})
    elif training.step == end:  # stopped after its last step; Tune wants a report of every trial
        report_epoch()
    training.run(
        run_step,
        epoch_batches,
        on_progress=lambda step, loss: losses.append(loss),
        on_epoch=report_epoch,
        save_checkpoints=rank == 0,
        until=end,
    )
    interrupt.check()
    if rank == 0 and training.step == training.total_steps:
        write_result(job, training.averaged_network, data, device, teacher, payload.get("own_scoring"))


def _build(job: RetrainingJob, payload: Mapping[str, Any]) -> Network:
    """Return the network of a job with the weights that it starts from."""
    torch.manual_seed(job.recipe.seed)
    network = build_subnet(job.architecture, job.recipe.drop_path)
    if job.mode == "inherit":
        weights = payload["inherited"][job.architecture.digest]
        network.load_state_dict({name: torch.tensor(weight) for name, weight in weights.items()})
    return network
