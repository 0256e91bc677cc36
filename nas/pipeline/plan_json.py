"""A plan as plain data, for ``nas search --dry-run --json``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from nas.pipeline.following import Following, plan_retraining_stages
from nas.pipeline.plan import SearchPlan
from nas.pipeline.plan_description import describe_plan
from nas.pipeline.time_estimate import TimeEstimate


def plan_to_json(plan: SearchPlan, following: Following, time: TimeEstimate) -> dict[str, Any]:
    """Return everything that a plan says: in numbers, in the lines for people, and the complete settings."""
    allocation, data, config, space = plan.allocation, plan.data, plan.search_config, plan.space
    return {
        "study": str(plan.study.folder),
        "storage": plan.storage_url,
        "resumes": plan.study.settings_file.exists(),
        "workers": allocation.workers,
        "device": allocation.device,
        "cpus_per_worker": allocation.cpus_per_worker,
        "gpus_per_worker": allocation.gpus_per_worker,
        "where": plan.cluster.where,
        "space": {
            "name": space.name,
            "scale": space.scale,
            "digest": space.digest,
            "architectures": str(space.size),
            "choices": len(space.choices),
        },
        "images": {
            **data.summary.to_json(),
            "name": data.name,
            "train": len(data.train),
            "val": len(data.val),
            "scored": plan.images_scored if plan.settings.needs_supernet else None,
            "classes": len(data.class_names),
            "channels": data.in_channels,
            "image_size": data.image_size,
            "resized": plan.resizing,
        },
        "supernet": None if not plan.settings.needs_supernet else plan.settings.supernet or "trained",
        "starts": [start.name for start in plan.pretrained],
        "teacher": None if plan.teacher is None else plan.teacher.name,
        "teacher_top1": None
        if plan.teacher is None or plan.teacher.accuracy is None
        else plan.teacher.accuracy.top1,
        "memory": None if plan.footprint is None else plan.footprint.to_json(),
        "time": time.to_json(),
        "trials": config.trials,
        "seconds": config.seconds,
        "objectives": list(plan.goal.objectives),
        "limits": dict(plan.goal.constraints),
        "latency": None if plan.latency is None else str(plan.latency),
        "settings": asdict(plan.settings),
        "warnings": list(plan.warnings),
        "then": asdict(following),
        "teams": _teams_to_json(plan, following),
        "lines": [*describe_plan(plan), *following.describe(plan), *time.lines()],
    }


def _teams_to_json(plan: SearchPlan, following: Following) -> dict[str, Any]:
    """Return how the workers train together; in retraining stage by stage."""
    stages = plan_retraining_stages(plan, following) if following.retrain else []
    return {
        "supernet": plan.supernet_ranks if plan.settings.trains_supernet else None,
        "retraining": [stage.to_json() for stage in stages],
    }
