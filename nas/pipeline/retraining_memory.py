"""Whether designs that are about to be retrained fit the devices, by what each of them saves."""

from __future__ import annotations

from collections.abc import Sequence

from nas.cluster.budget import WorkerAllocation
from nas.cluster.ray_cluster import Cluster
from nas.cluster.teams import plan_teams
from nas.data.batching import usable_shards
from nas.pipeline.memory import find_device_memory, largest_shard, teacher_bytes
from nas.runtime.resources import format_bytes
from nas.study.recipe import Recipe
from nas.training.footprint import measure_designs, training_memory
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.errors import RequestError


def require_memory(
    designs: Sequence[Architecture],
    recipe: Recipe,
    train_images: int,
    allocation: WorkerAllocation,
    cluster: Cluster,
    teacher_params: int = 0,
) -> None:
    """Refuse a retraining in which a design does not fit its device in the recipe's shards.

    Args:
        designs: What is to be trained, once for each training.
        recipe: How.
        train_images: Images to train on.
        allocation: The workers that they share.
        cluster: Where they run.
        teacher_params: Parameters of their teacher; 0 for none.

    Raises:
        RequestError: If one does not fit; the sentence says which, what it takes and what there is.
    """
    if not designs:
        return
    shards = usable_shards(train_images, recipe.shards)
    teams = plan_teams(len(designs), shards, allocation, one_machine=not cluster.running)
    images = largest_shard(recipe, train_images, shards)
    paths = measure_designs(list(dict.fromkeys(designs)), allocation.device)
    device, has = find_device_memory(paths[0], allocation.device, teams.count * teams.size, cluster)
    if has is None:
        return
    for path in paths:
        needed = training_memory(
            costs(path.design).params,
            path.saved,
            images,
            allocation.device,
            in_turn=shards > teams.size,
            teacher=teacher_bytes(recipe, teacher_params, train_images, path.design.num_classes),
        ).total
        if needed > has:
            raise RequestError(
                f"training {path.design.digest} on {images} images at a time takes {format_bytes(needed)} and {device} "
                f"has {format_bytes(has)}; give a --recipe FILE of a smaller batch_size, or devices with more memory"
            )
