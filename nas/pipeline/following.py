"""What a command does beside a search: a gate before it, retraining and export after it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from nas.cluster.teams import Teams, plan_teams
from nas.data.batching import usable_shards
from nas.pipeline.candidates import count_candidates
from nas.pipeline.gate import GATE_DESIGNS
from nas.pipeline.plan import SearchPlan
from nas.search.halving import Rung, plan_rungs
from nas.training.retraining import MODES
from search_spaces.analogues import analogues


@dataclass(frozen=True)
class Following:
    """A gate before a search, retraining and export after it.

    Args:
        retrain: Designs to retrain to the end.
        baselines: Whether analogues of published designs are retrained as well.
        export: Whether the best of them is exported.
        gate: Kendall's tau that is asked of the supernet's order before it is searched, or None.
    """

    retrain: int = 0
    baselines: bool = False
    export: bool = False
    gate: float | None = None

    def describe(self, plan: SearchPlan) -> list[str]:
        """Return it in lines for people; none where nothing follows."""
        lines = []
        if self.gate is not None:
            lines.append(
                f"gate      {min(GATE_DESIGNS, plan.space.size)} designs trained alone before the search; a Kendall "
                f"tau surely above {self.gate:g} is asked of the supernet's order of them"
            )
        if not self.retrain:
            return lines
        return [
            *lines,
            f"then      {self._describe_retraining(plan)}" + (", export the best" if self.export else ""),
            f"          {plan_retraining_stages(plan, self)[0].teams}",
        ]

    def _describe_retraining(self, plan: SearchPlan) -> str:
        rungs, epochs = plan_rungs_after(plan, self), plan.settings.retraining.epochs
        beside = " and the analogues of published designs" if self.baselines else ""
        candidates, inherits = _count_candidates(plan, self), "the best also from the supernet's weights"
        if not _halves(plan, self):
            designs = "the best design" if self.retrain == 1 else f"{self.retrain} designs of the front"
            return f"retrain {designs}{beside}"
        if not rungs:
            best = "the best" if self.retrain == 1 else f"{self.retrain}"
            return f"retrain {best} of {candidates} designs, spread over the costs{beside}; {inherits}"
        going = ", ".join(f"{rung.keep} after {rung.epochs}" for rung in rungs)
        return (
            f"train {candidates} designs alone, spread over the costs{beside}; {going} of {epochs} epochs go on; "
            f"{inherits}"
        )


@dataclass(frozen=True)
class Stage:
    """Trainings side by side.

    Args:
        epochs: Epochs of each.
        teams: How the workers are divided for them.
    """

    epochs: int
    teams: Teams

    def to_json(self) -> dict[str, int]:
        """Return it as JSON."""
        teams = self.teams
        return {
            "epochs": self.epochs,
            "trainings": teams.jobs,
            "at_once": teams.count,
            "size": teams.size,
        }


def _count_candidates(plan: SearchPlan, following: Following) -> int:
    """Return how many designs are trained alone at first; no more than the search can evaluate."""
    most = plan.search_config.trials if plan.num_listed is None else plan.num_listed
    return min(most, count_candidates(plan.settings, following.retrain))


def _halves(plan: SearchPlan, following: Following) -> bool:
    """Return whether candidates fall out: in pauses, or by the supernet's word alone where one epoch has none."""
    return _count_candidates(plan, following) > following.retrain > 0


def plan_rungs_after(plan: SearchPlan, following: Following) -> list[Rung]:
    """Return the rungs of the halving that follows a search; none where the best of the front are retrained."""
    if not following.retrain:
        return []
    candidates = _count_candidates(plan, following)
    return plan_rungs(candidates, following.retrain, plan.settings.retraining.epochs)


def plan_retraining_stages(plan: SearchPlan, following: Following) -> list[Stage]:
    """Return what is trained alone after the search, one stage after another; one design where nothing is."""
    baselines = len(analogues(plan.space)) if following.baselines else 0
    modes = len(MODES) if plan.settings.needs_supernet else 1
    shards = usable_shards(len(plan.data.train), plan.settings.retraining.shards)

    def stage(epochs: int, jobs: int) -> Stage:
        teams = plan_teams(jobs, shards, plan.allocation, one_machine=not plan.cluster.running)
        return Stage(epochs, teams)

    rungs, epochs = plan_rungs_after(plan, following), plan.settings.retraining.epochs
    if not _halves(plan, following):
        return [stage(epochs, max(1, following.retrain + baselines) * modes)]
    ends = [0, *(rung.epochs for rung in rungs), epochs]
    first = _count_candidates(plan, following) if rungs else following.retrain
    left = [first, *(rung.keep for rung in rungs)]
    stages = [stage(end - begin, jobs) for (begin, end), jobs in zip(pairwise(ends), left, strict=True)]
    return [*stages, *([stage(epochs, baselines * modes)] if baselines else []), stage(epochs, 1)]
