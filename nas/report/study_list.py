"""All studies that lie somewhere, and how far each is; nothing is written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nas.report.scores import format_score
from nas.runtime.uncertainty import error_fields
from nas.search.loop import pareto_records
from nas.search.ties import with_images
from nas.search.trial_store import TrialRecord
from nas.study.find import find_study
from nas.study.folder import Study
from nas.study.place import STUDIES
from nas.training.supernet_checkpoint import read_progress
from search_spaces.declaration import load_declaration
from search_spaces.errors import NasError, StudyError

#: State of a folder with settings that nobody has searched by in it.
SETTINGS_ALONE = "settings alone, to search by with nas search --config"


@dataclass(frozen=True)
class StudySummary:
    """One study in a list.

    Args:
        study: Its folder.
        id: Its id; None of one of an earlier version that was not gone on with.
        name: Name of its folder.
        space: What it searches.
        images: The images that it was made for.
        state: How far it is, in words.
        holder: Who works on it now, or None.
        evaluated: Designs evaluated; None where its trials cannot be read.
        trials: Proposals stored, evaluated or not.
        asked: Designs that it was last asked to evaluate, if known.
        front: Designs on its front so far.
        best: The best score in the first objective.
        best_se: Standard error of ``best`` in points, where it is an accuracy.
        best_interval: Its interval of 95%.
        best_text: ``best`` as people read it.
        objective: Name of that.
        retrained: Retrained networks.
        storage: Where its trials are.
        changed: When its folder last changed, UTC, ISO 8601.
        problem: Why something of it cannot be read, or None.
    """

    study: str
    id: str | None = None
    name: str = ""
    space: str = ""
    images: str = ""
    state: str = "cannot be read"
    holder: str | None = None
    evaluated: int | None = None
    trials: int | None = None
    asked: int | None = None
    front: int = 0
    best: float | None = None
    best_se: float | None = None
    best_interval: tuple[float, float] | None = None
    best_text: str = ""
    objective: str = ""
    retrained: int = 0
    storage: str = ""
    changed: str = ""
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)


def list_studies(places: Sequence[str]) -> list[StudySummary]:
    """Describe studies, those that changed last first.

    Args:
        places: Studies, and folders with studies below them; ``studies/`` where there are none.

    Raises:
        StudyError: If a place is neither.
    """
    folders = [folder for place in places for folder in _studies_at(place)]
    if not places and STUDIES.is_dir():
        folders = list(_studies_below(STUDIES))
    unique = {folder.resolve(): folder for folder in reversed(folders)}
    found = [summarize_study(Study(folder)) for folder in unique.values()]
    return sorted(found, key=lambda summary: (summary.changed, summary.study), reverse=True)


def summarize_study(study: Study) -> StudySummary:
    """Describe one study; what is damaged is said, not raised."""
    known: dict[str, Any] = {"study": str(study.folder), "name": study.name, "changed": _last_change(study)}
    try:
        if study.is_settings_alone():
            settings = study.settings()
            space = load_declaration(settings.space).name
            return StudySummary(**known, space=space, images=settings.data, state=SETTINGS_ALONE)
        for each in (_describe_identity, _describe_settings, _describe_search):
            known |= each(study)
        known["state"] = _describe_state(study, known)
    except NasError as error:
        known["problem"] = str(error)
    return StudySummary(**known)


def _describe_identity(study: Study) -> dict[str, Any]:
    identity = study.identity()
    about = {} if identity is None else {"id": identity.id, "asked": identity.trials}
    return {**about, "storage": study.url, "holder": study.lock.holder()}


def _describe_settings(study: Study) -> dict[str, Any]:
    images, objective = study.settings().data, study.goal().objectives[0]
    return {
        "images": images,
        "objective": objective,
        "space": study.space().name,
        "retrained": len(study.results()),
    }


def _describe_search(study: Study) -> dict[str, Any]:
    goal = study.goal()
    trials = with_images(study.records())
    front = pareto_records(trials, goal)
    return {
        "trials": len(trials),
        "evaluated": sum(trial.evaluated for trial in trials),
        "front": len(front),
        **(_describe_best(front[0], goal.objectives[0]) if front else {}),
    }


def _describe_best(best: TrialRecord, objective: str) -> dict[str, Any]:
    value, accuracy = best.scores[objective], best.accuracy if objective == "top1" else None
    errors = {} if accuracy is None else error_fields("best", accuracy.top1, accuracy.images)
    return {"best": value, "best_text": format_score(objective, best), **errors}


def _describe_state(study: Study, known: dict[str, Any]) -> str:
    evaluated, asked = known["evaluated"], known.get("asked")
    if not known["trials"] and study.front_trials():
        return "trials lost"
    if evaluated:
        if study.front_trials() == known["trials"]:
            retrained = known["retrained"]
            return "finished" + (f", {retrained} retrained" if retrained else "")
        return f"searching {evaluated}/{asked or '?'}"
    done, total = read_progress(study.supernet_file)
    if total and done < total:
        return f"training {done}/{total} steps"
    return "trained" if total else "not begun"


def _studies_at(place: str) -> Iterator[Path]:
    study = find_study(place)
    if study.settings_file.is_file():
        yield study.folder
        return
    folder = Path(place)
    below = list(_studies_below(folder)) if folder.is_dir() else []
    if not below:
        raise StudyError(f"there is no study in {place}; give a study, or a folder with studies below it")
    yield from below


def _studies_below(folder: Path) -> Iterator[Path]:
    """Yield the studies in a folder, at any depth but not in one another; links are not followed."""
    for place, folders, files in os.walk(folder):
        if "study.yaml" in files:
            folders.clear()
            yield Path(place)


def _last_change(study: Study) -> str:
    """Return when something in a study's folder last changed."""
    times = [0.0]
    for path in (study.folder, *study.folder.iterdir(), *study.folder.glob("retrained/*/*/result.json")):
        try:
            times.append(path.lstat().st_mtime)
        except OSError:  # it went just now
            continue
    return datetime.fromtimestamp(max(times), UTC).isoformat(timespec="seconds")
