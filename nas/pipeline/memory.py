"""What the trainings of a search take of each device's memory, and as many shards as it takes to fit.

A batch that is too large for a device is computed in more shards, in turn. Their number belongs to the recipe of a
new study, where it is written down; the recipe of a study that has begun, or of a complete study file, stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from nas.cluster.budget import WorkerAllocation
from nas.cluster.ray_cluster import Cluster
from nas.data.batching import SHARD_IMAGES, usable_shards
from nas.runtime.device import DeviceType
from nas.runtime.resources import format_bytes, measure_memory
from nas.study.recipe import Recipe
from nas.study.settings import Settings
from nas.study.teacher_spec import LARGEST
from nas.training.footprint import (
    FLOAT_BYTES,
    PROCESS_BYTES,
    PathMemory,
    TrainingMemory,
    count_supernet_parameters,
    measure_worst_path,
    training_memory,
)
from nas.training.stored_answers import count_bytes
from search_spaces.cost import costs
from search_spaces.errors import RequestError
from search_spaces.space import Space


@dataclass(frozen=True)
class PhaseMemory:
    """What one training takes of each device.

    Args:
        shards: Shards of a batch.
        stated_shards: Shards that its recipe had before they were made to fit.
        images: Images of the largest shard.
        memory: What they take.
    """

    shards: int
    stated_shards: int
    images: int
    memory: TrainingMemory


@dataclass(frozen=True)
class Footprint:
    """What a search's trainings take of each device, at most.

    Args:
        supernet: The worst path of the supernet.
        retraining: The same design, trained by itself; no other takes more.
        dtype: Type of products.
        device: What has the memory, in words.
        device_bytes: How much it has, or None where that is not known here.
        warnings: What does not fit.
    """

    supernet: PhaseMemory
    retraining: PhaseMemory
    dtype: str
    device: str
    device_bytes: int | None
    warnings: tuple[str, ...] = ()

    def phases(self) -> dict[str, PhaseMemory]:
        """Return the trainings by name."""
        return {"supernet": self.supernet, "retraining": self.retraining}

    def lines(self) -> list[str]:
        """Return it for people."""
        has = "" if self.device_bytes is None else f"; {self.device} has {format_bytes(self.device_bytes)}"
        totals = [
            f"{name} at most {format_bytes(phase.memory.total)}" for name, phase in self.phases().items()
        ]
        saved = self.supernet
        return [
            f"memory    {', '.join(totals)} on each device{has}",
            f"          the worst path saves {format_bytes(saved.memory.saved)} for {saved.images} images in "
            f"{self.dtype}",
            *(
                f"          of the {name}'s, its teacher takes {format_bytes(phase.memory.teacher)}"
                for name, phase in self.phases().items()
                if phase.memory.teacher
            ),
            *(
                f"          {name} in {phase.shards} shards instead of {phase.stated_shards}, so that it fits"
                for name, phase in self.phases().items()
                if phase.shards != phase.stated_shards
            ),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data, in bytes."""
        return {
            "device": self.device,
            "device_bytes": self.device_bytes,
            "dtype": self.dtype,
            **{name: {**asdict(phase), "bytes": phase.memory.total} for name, phase in self.phases().items()},
        }


def plan_memory(
    settings: Settings,
    space: Space,
    train_images: int,
    allocation: WorkerAllocation,
    cluster: Cluster,
    *,
    is_stored: bool,
    teacher_params: int = 0,
) -> tuple[Settings, Footprint]:
    """Return settings whose recipes fit the devices, and what they take.

    Args:
        settings: With recipes.
        space: The space.
        train_images: Images to train on.
        allocation: The workers.
        cluster: Where they run.
        is_stored: Whether the recipes are those of a study that has begun, or of a complete file, and stay.
        teacher_params: Parameters of the teacher of the supernet, which teaches in retraining too; 0 for none.

    Raises:
        RequestError: If the supernet of a new study does not fit even two images at a time.
    """
    recipe, retraining = settings.recipe, settings.retraining
    first = largest_shard(recipe, train_images, usable_shards(train_images, recipe.shards))
    path = measure_worst_path(space, first, allocation.device)
    device, has = find_device_memory(path, allocation.device, allocation.workers, cluster)

    def fit(
        recipe: Recipe, parameters: int, workers: int, teacher_params: int
    ) -> tuple[PhaseMemory, PhaseMemory]:
        """Return what a training takes in the shards of its recipe, and in the fewest that fit."""
        teacher = teacher_bytes(recipe, teacher_params, train_images, space.num_classes)

        def phase(shards: int) -> PhaseMemory:
            images = largest_shard(recipe, train_images, shards)
            in_turn = shards > workers
            memory = training_memory(
                parameters, path.saved, images, allocation.device, in_turn=in_turn, teacher=teacher
            )
            return PhaseMemory(shards, stated, images, memory)

        stated = usable_shards(train_images, recipe.shards)
        most = max(stated, min(recipe.batch_size, train_images) // SHARD_IMAGES)
        candidates = [phase(shards) for shards in range(stated, most + 1, stated)]
        fits = (each for each in candidates if has is None or each.memory.total <= has)
        return candidates[0], next(fits, candidates[-1])

    # How many workers a retraining has depends on how many designs there are: one at least.
    stated, fitted = zip(
        fit(
            recipe,
            count_supernet_parameters(space, settings.sharing),
            allocation.workers,
            teacher_params,
        ),
        fit(
            retraining,
            costs(path.design).params,
            1,
            costs(space.largest).params if settings.teacher == LARGEST else teacher_params,
        ),
        strict=True,
    )
    if is_stored:
        warnings = _describe_misfits(stated, fitted, device, has)
        warnings = warnings or _describe_little_free(stated, allocation, has)
        return settings, Footprint(*stated, path.dtype, device, has, tuple(warnings))
    warnings = _describe_little_free(fitted, allocation, has)
    footprint = Footprint(*fitted, path.dtype, device, has, tuple(warnings))
    if has is not None and (needed := footprint.supernet.memory.total) > has:
        raise RequestError(
            f"training this supernet on {footprint.supernet.images} images at a time takes {format_bytes(needed)} and "
            f"{device} has {format_bytes(has)}; choose a smaller --scale or --image-size, or devices with more memory"
        )
    fits = _with_shards(recipe, footprint.supernet), _with_shards(retraining, footprint.retraining)
    return replace(settings, recipe=fits[0], retraining=fits[1]), footprint


def teacher_bytes(recipe: Recipe, params: int, images: int, classes: int) -> int:
    """Return what a teacher of ``params`` parameters takes of a device: its weights, or its stored answers."""
    if not params:
        return 0
    return count_bytes(images, classes) if recipe.teacher_images == "clean" else params * FLOAT_BYTES


def largest_shard(recipe: Recipe, train_images: int, shards: int) -> int:
    """Return the images of the largest shard of a batch."""
    return -(-min(recipe.batch_size, train_images) // shards)


def _with_shards(recipe: Recipe, phase: PhaseMemory) -> Recipe:
    return recipe if phase.shards == phase.stated_shards else replace(recipe, shards=phase.shards)


def find_device_memory(
    path: PathMemory, device: DeviceType, processes: int, cluster: Cluster
) -> tuple[str, int | None]:
    """Return what has the memory of one worker, in words, and how much it has where that is known here.

    Args:
        path: What was counted on the device.
        device: Kind of device.
        processes: Workers that train at the same time.
        cluster: Where they run.
    """
    if device == "cuda":
        return path.device_name or "a GPU", path.device_bytes
    if cluster.running:  # its nodes may be other machines
        return "a worker", None
    # All that the machine has, not what happens to be free: one command gives one recipe on one machine.
    return "a worker", (measure_memory().total - PROCESS_BYTES["cpu"]) // processes


def _describe_little_free(
    phases: Sequence[PhaseMemory], allocation: WorkerAllocation, has: int | None
) -> list[str]:
    """Return what to do where all workers together want more memory than is free at the moment."""
    if allocation.device != "cpu" or has is None:
        return []
    wanted, free = allocation.workers * max(phase.memory.total for phase in phases), measure_memory().free
    if wanted <= free:
        return []
    return [
        f"training on {allocation.workers} {'worker' if allocation.workers == 1 else 'workers'} takes up to "
        f"{format_bytes(wanted)} of memory and {format_bytes(free)} is free now; close other programs or give a "
        "smaller --budget"
    ]


def _describe_misfits(
    stated: Sequence[PhaseMemory], fitted: Sequence[PhaseMemory], device: str, has: int | None
) -> list[str]:
    """Return what to do where recipes that stay do not fit."""
    return [
        f"the {name} may not fit: its path of most memory takes {format_bytes(phase.memory.total)} in {phase.shards} "
        f"shards and {device} has {format_bytes(has)}; a new study, of another --study, would choose {other.shards}"
        for name, phase, other in zip(("supernet", "retraining"), stated, fitted, strict=True)
        if has is not None and phase.memory.total > has
    ]
