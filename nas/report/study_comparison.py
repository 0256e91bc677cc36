"""Several studies side by side: what of them can be compared, their fronts over it, and in what they differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from nas.report.findings import Findings, read_findings
from nas.report.hypervolume import compute_in_common_box
from nas.runtime.uncertainty import is_tie
from nas.search.objectives import OBJECTIVES, QUALITIES, Direction, directions_of
from nas.search.pareto import front
from nas.search.trial_store import TrialRecord
from nas.study.folder import Study
from search_spaces.errors import RequestError

_NO_SETTINGS = {"supernet", "latency_table", "data", "data_dir"}  # paths say where, not what


@dataclass(frozen=True)
class ComparedStudy:
    """One of the studies.

    Args:
        name: What tells it from the others.
        findings: What it found.
        front: Its designs that no other one of it is better than in what is compared, cheapest first.
        volumes: Share of the common box that it dominates after each measured design, in percent.
    """

    name: str
    findings: Findings
    front: list[TrialRecord]
    volumes: list[float]

    @property
    def hypervolume(self) -> float | None:
        """The share in the end; None where it cannot be told."""
        return self.volumes[-1] if self.volumes else None

    @property
    def most_accurate(self) -> TrialRecord | None:
        """The design with the highest accuracy by the supernet's weights."""
        known = [trial for trial in self.findings.eligible if "top1" in trial.scores]
        return max(known, key=lambda trial: trial.scores["top1"], default=None)


@dataclass(frozen=True)
class StudyComparison:
    """Studies that can be compared.

    Args:
        studies: The studies.
        gain: The score by which designs are good.
        cost: The score by which they are dear.
        notes: What cannot be compared, or only with care, in sentences.
    """

    studies: tuple[ComparedStudy, ...]
    gain: str
    cost: str
    notes: tuple[str, ...]

    @property
    def directions(self) -> tuple[Direction, Direction]:
        """Optuna's direction of gain and cost."""
        gain, cost = directions_of((self.gain, self.cost), self.studies[0].findings.goal.own)
        return gain, cost

    @property
    def reference(self) -> tuple[float, float]:
        """The corner of the common box that every design is at least as good as."""
        trials = [trial for study in self.studies for trial in study.findings.measured]
        worst = []
        for name, direction in zip((self.gain, self.cost), self.directions, strict=True):
            values = [trial.scores[name] for trial in trials]
            worst.append(min(values) if direction == "maximize" else max(values))
        return worst[0], worst[1]

    @cached_property
    def tied_with_best(self) -> dict[str, bool]:
        """Whether the most accurate design of each study is within noise of that of all, by study."""
        known = {study.name: study.most_accurate for study in self.studies}
        accuracies = {name: trial.accuracy for name, trial in known.items() if trial is not None}
        found = {name: accuracy for name, accuracy in accuracies.items() if accuracy is not None}
        if not found:
            return {}
        best = max(found.values(), key=lambda accuracy: accuracy.top1)
        return {name: accuracy is best or is_tie(best, accuracy) for name, accuracy in found.items()}

    def settings(self) -> dict[str, list[str]]:
        """Return the values of every setting in which the studies differ, in their order."""
        each = [_flatten(asdict(study.findings.study.settings())) for study in self.studies]
        for values, study in zip(each, self.studies, strict=True):
            space = study.findings.study.space()
            values["space"] = f"{space.name}/{space.scale} ({space.digest[:12]})"
        names = list(dict.fromkeys(name for values in each for name in values))
        rows = {name: [values.get(name, "–") for values in each] for name in names}
        return {name: row for name, row in rows.items() if len(set(row)) > 1 and name not in _NO_SETTINGS}

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "compared": [self.gain, self.cost],
            "reference": list(self.reference),
            "notes": list(self.notes),
            "studies": [
                {
                    "name": study.name,
                    "folder": str(study.findings.study.folder),
                    "objectives": list(study.findings.goal.objectives),
                    "evaluated": len(study.findings.evaluated),
                    "hypervolume": study.hypervolume,
                    "front": [
                        {"digest": trial.architecture.digest, "scores": dict(trial.scores)}
                        for trial in study.front
                    ],
                    "tied_with_best": self.tied_with_best.get(study.name),
                    "retrained": [
                        {name: result.get(name) for name in ("digest", "mode", "val_top1", "test_top1")}
                        for result in study.findings.results
                    ],
                    "spent": [each.to_json() for each in study.findings.spent],
                }
                for study in self.studies
            ],
            "settings": self.settings(),
        }


def compare_studies(studies: Sequence[Study]) -> StudyComparison:
    """Read studies and compare them.

    Raises:
        RequestError: If they are of other images, share no objective, or one of them has no design yet.
        StudyError: If one cannot be read.
    """
    names = _distinct_names(studies)
    found = [read_findings(study) for study in studies]
    for name, findings in zip(names, found, strict=True):
        if not findings.eligible:
            raise RequestError(f"study {name} has no evaluated design yet; let its search begin first")
    _require_same_images(names, found)
    gain, cost = _common_scores(names, found)
    directions = directions_of((gain, cost), found[0].goal.own)
    points = [[[trial.scores[gain], trial.scores[cost]] for trial in each.eligible] for each in found]
    volumes = compute_in_common_box(points, directions)
    compared = []
    for name, findings, own, growing in zip(names, found, points, volumes, strict=True):
        best = [findings.eligible[index] for index in front(own, directions)]
        best.sort(key=lambda trial: trial.scores[cost])
        compared.append(ComparedStudy(name, findings, best, growing))
    return StudyComparison(tuple(compared), gain, cost, tuple(_notes(compared, gain, cost)))


def _distinct_names(studies: Sequence[Study]) -> list[str]:
    """Return the names of studies; those of one name by their folders.

    Raises:
        RequestError: If one is given twice.
    """
    folders = [study.folder.resolve() for study in studies]
    for study, folder in zip(studies, folders, strict=True):
        if folders.count(folder) > 1:
            raise RequestError(f"study {study.folder} is given twice; give each once")
    names = [study.name for study in studies]
    return [
        name if names.count(name) == 1 else str(study.folder)
        for name, study in zip(names, studies, strict=True)
    ]


def _require_same_images(names: Sequence[str], found: Sequence[Findings]) -> None:
    first, digest = names[0], found[0].study.dataset().digest
    for name, findings in zip(names, found, strict=True):
        if findings.study.dataset().digest != digest:
            raise RequestError(
                f"studies {first} and {name} are of other images, so that neither accuracies nor losses of them can be "
                "compared; give studies of the same images"
            )


def _common_scores(names: Sequence[str], found: Sequence[Findings]) -> tuple[str, str]:
    """Return the quality and the cost by which all studies can be compared."""
    goals = [findings.goal.objectives for findings in found]
    shared = [name for name in goals[0] if all(name in goal for goal in goals)]
    known = [
        name
        for name in OBJECTIVES
        if all(name in trial.scores for findings in found for trial in findings.measured)
    ]
    gains = [name for name in (*shared, "top1", "loss") if name in QUALITIES and name in known]
    costs = [name for name in (*shared, "macs") if name not in QUALITIES and name in known]
    if not shared or not gains or not costs:
        wanted = "; ".join(f"{name}: {', '.join(goal)}" for name, goal in zip(names, goals, strict=True))
        raise RequestError(
            f"the studies have no objective in common by which designs are good and cheap ({wanted}); give studies "
            "that search for the same"
        )
    return gains[0], costs[0]


def _notes(compared: Sequence[ComparedStudy], gain: str, cost: str) -> list[str]:
    notes = []
    for study in compared:
        others = [name for name in study.findings.goal.objectives if name not in (gain, cost)]
        if others:
            notes.append(
                f"{study.name} was also searched for {', '.join(others)}, which is left out here: its front is another."
            )
        if study.findings.goal.constraints:
            goal = study.findings.goal
            limits = ", ".join(f"{name} {goal.relation(name)} {limit:g}" for name, limit in goal.constraints)
            notes.append(f"{study.name} kept limits ({limits}), which its front and hypervolume suffer from.")
        if not study.findings.finished:
            notes.append(f"The search of {study.name} has not finished.")
    images = {study.name: {trial.images for trial in study.findings.measured} for study in compared}
    if len({frozenset(numbers) for numbers in images.values()}) > 1:
        notes.append(
            "Accuracies are of other numbers of validation images: ties are told with less certainty."
        )
    if len({study.findings.study.settings().supernet or study.name for study in compared}) > 1:
        notes.append(
            "Scores are by the weights of each study's own supernet: a difference may be one of supernets, and only "
            "designs that were trained alone compare without them."
        )
    return notes


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return settings as text, those of recipes under ``recipe.NAME``."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value if isinstance(value, str) else json.dumps(value, default=str)
    return flat
