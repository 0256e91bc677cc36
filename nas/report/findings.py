"""What a report is about: the trials, front and results of a study, read once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from nas.insight.best_practices import Check, check_practices
from nas.insight.comparison import Comparison, compare_with_nearest
from nas.insight.lessons import Lesson, find_lessons
from nas.insight.spent_time import SpentTime, compute_spent_times
from nas.search.loop import pareto_records
from nas.search.objectives import Goal
from nas.search.ties import with_images
from nas.search.trial_store import TrialRecord
from nas.study.designs import best_of_search
from nas.study.folder import Study
from search_spaces.architecture import Architecture
from search_spaces.errors import StudyError

_PAUSE = timedelta(minutes=10)  # no trial for so long: the search did not run


@dataclass(frozen=True)
class Findings:
    """What a study found.

    Args:
        study: The study.
        goal: Its objectives and constraints.
        trials: All its trials.
        front: Those of the Pareto front, best in the first objective first.
        results: Results of retraining, best first.
        times: When each trial was completed.
        ranking: How well the supernet orders designs, where that was measured.
        halving: How candidates were trained alone, where they were.
    """

    study: Study
    goal: Goal
    trials: list[TrialRecord]
    front: list[TrialRecord]
    results: list[dict[str, Any]]
    times: list[datetime]
    ranking: dict[str, Any] | None = None
    halving: dict[str, Any] | None = None

    @property
    def evaluated(self) -> list[TrialRecord]:
        """Trials that forward passes were spent on."""
        return [trial for trial in self.trials if trial.evaluated]

    @property
    def measured(self) -> list[TrialRecord]:
        """Trials that were evaluated on all validation images."""
        return [trial for trial in self.trials if trial.measured]

    @property
    def eligible(self) -> list[TrialRecord]:
        """Those of them that keep the limits, and so may be on the front."""
        return [trial for trial in self.trials if trial.eligible]

    @cached_property
    def lessons(self) -> list[Lesson]:
        """What its designs teach about choices."""
        return find_lessons(self.study, self.trials)

    @cached_property
    def checks(self) -> list[Check]:
        """How far it keeps to good practice."""
        return check_practices(self.study, self.trials, self.running_time if self.times else None)

    @cached_property
    def winner(self) -> Architecture | None:
        """The design that was best when it was trained alone; the front's first where none was."""
        if self.results:
            return Architecture.from_json(best_of_search(self.study, self.results)["architecture"])
        return self.front[0].architecture if self.front else None

    @cached_property
    def nearest(self) -> Comparison | None:
        """The winner beside the published design that is nearest to it; None where there is one of neither."""
        return None if self.winner is None else compare_with_nearest(self.winner, self.study.space())

    @cached_property
    def spent(self) -> list[SpentTime]:
        """What it has cost, phase by phase."""
        return compute_spent_times(self.study, self.running_time if self.times else None)

    @property
    def finished(self) -> bool:
        """Whether the search came to its end and nothing was found since."""
        return self.study.front_file.exists() and self.study.front_trials() == len(self.trials)

    @property
    def running_time(self) -> timedelta:
        """How long the search ran, pauses left out."""
        gaps = [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]
        return sum((gap for gap in gaps if gap < _PAUSE), timedelta())


def read_findings(study: Study) -> Findings:
    """Read what a study found so far.

    Raises:
        StudyError: If the study or its storage cannot be read.
    """
    study.require()
    store, goal = study.find_store(), study.goal()
    trials = [] if store is None else with_images(store.records())
    times = [] if store is None else store.completion_times()
    if not trials and study.front_trials():
        raise StudyError(
            f"the {study.front_trials()} trials of study {study.folder} are no longer in {study.url}, and nothing is "
            "written over what was reported of them; restore the database"
        )
    front = pareto_records(trials, goal)
    return Findings(study, goal, trials, front, study.results(), times, study.ranking(), study.halving())
