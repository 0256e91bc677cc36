"""A planned search in lines for people."""

from __future__ import annotations

from collections.abc import Sequence

from nas.data.batching import SHARD_IMAGES, batch_sizes
from nas.pipeline.plan import SearchPlan
from nas.pipeline.teachers import count_supernet_macs, describe_teacher
from nas.runtime.console import duration, quantity
from nas.runtime.uncertainty import describe_resolution
from nas.training.pretrained import PretrainedStart
from nas.training.supernet import count_shards, steps_per_epoch


def describe_plan(plan: SearchPlan) -> list[str]:
    """Return the plan in lines for people."""
    data, config, allocation = plan.data, plan.search_config, plan.allocation
    limits = ", ".join(
        f"{name} {'>=' if plan.goal.is_least(name) else '<='} {quantity(limit)}"
        for name, limit in plan.goal.constraints
    )
    time_limit = "" if plan.budget.seconds is None else f", at most {duration(plan.budget.seconds)}"
    cores = "core" if allocation.cpus_per_worker == 1 else "cores"
    return [
        f"space     {plan.space}",
        f"images    {data.name}: {len(data.train)} to train, {len(data.val)} to validate, "
        f"{len(data.class_names)} classes, {data.in_channels}x{data.image_size}x{data.image_size}",
        *([] if plan.resizing is None else [f"resized   {plan.resizing}"]),
        *data.summary.lines(),
        f"workers   {allocation.workers} on {plan.cluster.where}, each {allocation.cpus_per_worker:g} CPU {cores}"
        + (f" and {allocation.gpus_per_worker:g} GPU" if allocation.gpus_per_worker else ""),
        f"supernet  {_describe_supernet(plan)}",
        *_describe_pretrained(plan.pretrained),
        *([] if plan.footprint is None else plan.footprint.lines()),
        *_describe_teaching(plan),
        *_describe_noise(plan),
        f"search    {_describe_designs(plan)}, objectives {plan.settings.objectives}"
        + (f", limits {limits}" if limits else "")
        + ("" if config.racing is None else f", racing {config.racing:g}")
        + time_limit,
        *([] if plan.latency is None else [f"latency   of {plan.latency}"]),
        f"study     {plan.study.folder} (id {plan.identity.short_id}; {plan.storage_url})",
        *[f"warning   {warning}" for warning in plan.warnings],
    ]


def _describe_designs(plan: SearchPlan) -> str:
    if plan.num_listed is None:
        return f"{plan.search_config.trials} designs by {plan.search_config.sampler}"
    within = " within the limits" if plan.goal.constraints else " of the space"
    listed = "the only design" if plan.num_listed == 1 else f"all {plan.num_listed} designs, each once,"
    return f"{listed}{within}, so that {plan.search_config.sampler} has nothing to choose"


def _describe_supernet(plan: SearchPlan) -> str:
    settings, recipe = plan.settings, plan.settings.recipe
    if not settings.needs_supernet:
        return f"none: {settings.objectives} needs no weights"
    if settings.supernet:
        return f"read from {settings.supernet}"
    steps = steps_per_epoch(settings, plan.data) * recipe.epochs
    images, count = len(plan.data.train), count_shards(settings, plan.data)
    shards = f"{count} {'shards' if count > 1 else 'shard'}"
    if (ranks := plan.supernet_ranks) > 1:
        shards += f" on {ranks} workers together"
    rest = images - sum(batch_sizes(images, recipe.batch_size, SHARD_IMAGES * count))
    left_out = (
        f"; {rest} of {images} images sit out each epoch in turn, too few for another step" if rest else ""
    )
    compiled = ", compiled by region" if settings.compile else ""
    epochs = "epoch" if recipe.epochs == 1 else "epochs"
    return (
        f"{recipe.epochs} {epochs}, {steps} steps of {min(recipe.batch_size, images)} images in {shards}, "
        f"policy {settings.policy}, paths {settings.paths}{compiled}{left_out}"
    )


def _describe_teaching(plan: SearchPlan) -> list[str]:
    """Return who teaches the supernet, or designs that are retrained."""
    if plan.teacher is None:
        return [] if plan.settings.teacher is None else [f"teacher   {plan.settings.teacher}, in retraining"]
    macs = count_supernet_macs(plan.space, plan.settings)
    return [f"teacher   {describe_teacher(plan.teacher, macs, plan.settings.recipe)}"]


def _describe_noise(plan: SearchPlan) -> list[str]:
    """Return what the validation images can tell of two designs, where a search compares them on accuracy."""
    if not plan.settings.needs_supernet:
        return []
    return [f"noise     {describe_resolution(plan.images_scored)}"]


def _describe_pretrained(starts: Sequence[PretrainedStart]) -> list[str]:
    lines = [
        f"starts    from {start.name}, "
        + (
            "the head that all paths share included"
            if start.with_head
            else "all but the head: its classes differ"
        )
        for start in starts
    ]
    if len(starts) > 1:
        lines.append(f"          where two want the same weights, {starts[-1].name} has them")
    return lines
