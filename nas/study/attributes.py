"""What a study is, in words, as attributes of it in Optuna's database and dashboard."""

from __future__ import annotations

from functools import partial

from nas.runtime.console import quantity
from nas.runtime.secrets import redact_command
from nas.search.database_wait import insist
from nas.search.trial_store import Store
from nas.study.folder import Study


def write_attributes(study: Study, store: Store) -> None:
    """Write what a study is into its database, for those who look at it with tools of Optuna.

    Raises:
        WorkError: If the database does not answer for long, or there is no room in it.
    """
    known = insist(store.url, lambda: store.study.user_attrs)
    for name, value in study_attributes(study).items():
        if known.get(name) != value:
            insist(store.url, partial(store.study.set_user_attr, name, value))


def study_attributes(study: Study) -> dict[str, str]:
    """Return what a study is, by name, for people.

    Raises:
        StudyError: If it cannot be read.
    """
    origin, goal = study.provenance(), study.goal()
    settings, dataset = study.settings(), study.dataset()
    limits = ", ".join(f"{name} {goal.relation(name)} {quantity(limit)}" for name, limit in goal.constraints)
    recipe = settings.recipe
    trained = (
        f"{recipe.epochs} epochs, batch size {recipe.batch_size}, lr {recipe.lr:g}, policy {settings.policy}"
    )
    return {
        "space": str(study.space()),
        "images": f"{dataset.data}: {len(dataset.class_names)} classes, {dataset.image_size} px",
        "objectives": ", ".join(goal.objectives),
        **({"limits": limits} if limits else {}),
        "sampler": f"{settings.sampler}, batches of {settings.batch}, seed {settings.seed}",
        "supernet": f"read from {settings.supernet}" if settings.supernet else trained,
        "command": " ".join(redact_command(origin.get("command", []))),
        "commit": str(origin.get("commit") or "unknown") + (" with changes" if origin.get("dirty") else ""),
        "begun": str(origin.get("time", "unknown")),
    }
