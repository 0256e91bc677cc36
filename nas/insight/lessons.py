"""What a study teaches about choices: by designs trained alone and, as its supernet's opinion, by all it evaluated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nas.insight.effects import Effect, find_effects
from nas.insight.importance import Importance, find_importances
from nas.ranking.trained_designs import TrainingTable
from nas.search.trial_store import TrialRecord
from nas.study.folder import Study
from search_spaces.architecture import Architecture

ALONE, SUPERNET = "designs trained alone", "the supernet's opinion"


@dataclass(frozen=True)
class Lesson:
    """What one kind of accuracies says of the choices.

    Args:
        source: Whose accuracies: ``ALONE`` or ``SUPERNET``.
        designs: How many designs there are.
        effects: What values are worth at equal MACs; none where the designs are too few.
        importances: How much choices matter; none where the designs are too few.
    """

    source: str
    designs: int
    effects: tuple[Effect, ...]
    importances: tuple[Importance, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            **asdict(self),
            "effects": [each.to_json() for each in self.effects],
            "importances": [each.to_json() for each in self.importances],
        }


def find_lessons(study: Study, trials: Sequence[TrialRecord]) -> list[Lesson]:
    """Return what there is to learn, from trained designs first; nothing of what the study has no accuracies of.

    Args:
        study: The study.
        trials: Its trials.

    Raises:
        StudyError: If its table of designs trained alone is damaged.
    """
    by_digest = {
        trial.architecture.digest: (trial.architecture, trial.scores["top1"])
        for trial in trials
        if trial.measured and "top1" in trial.scores
    }
    found = [_lesson(ALONE, _trained_alone(study)), _lesson(SUPERNET, by_digest.values())]
    return [lesson for lesson in found if lesson.designs]


def _trained_alone(study: Study) -> list[tuple[Architecture, float]]:
    file = study.folder / "ranking" / "trainings.json"
    if not file.exists():
        return []
    table = TrainingTable(file)
    return [(each.architecture, each.val_top1) for each in table.trained(int(table.about["epochs"]))]


def _lesson(source: str, designs: Iterable[tuple[Architecture, float]]) -> Lesson:
    known = list(designs)
    return Lesson(source, len(known), tuple(find_effects(known)), tuple(find_importances(known)))
