"""What follows a search in the same command."""

from __future__ import annotations

from dataclasses import dataclass

from nas.cluster.teams import Teams, plan_teams
from nas.data.batching import usable_shards
from nas.pipeline.plan import SearchPlan
from nas.training.retraining import MODES
from search_spaces.analogues import analogues


@dataclass(frozen=True)
class Following:
    """Retraining and export after a search.

    Args:
        retrain: Designs of the front to retrain.
        baselines: Whether analogues of published designs are retrained as well.
        export: Whether the best of them is exported.
    """

    retrain: int = 0
    baselines: bool = False
    export: bool = False

    def describe(self, plan: SearchPlan) -> list[str]:
        """Return it in lines for people; none where nothing follows."""
        if not self.retrain:
            return []
        designs = "the best design" if self.retrain == 1 else f"{self.retrain} designs of the front"
        beside = " and the analogues of published designs" if self.baselines else ""
        return [
            f"then      retrain {designs}{beside}" + (", export the best" if self.export else ""),
            f"          {plan_retraining_teams(plan, self)}",
        ]


def plan_retraining_teams(plan: SearchPlan, following: Following) -> Teams:
    """Return how the workers are divided for what is retrained after the search; for one design where nothing is."""
    baselines = len(analogues(plan.space)) if following.baselines else 0
    modes = len(MODES) if plan.settings.needs_supernet else 1
    jobs = max(1, following.retrain + baselines) * modes
    shards = usable_shards(len(plan.data.train), plan.settings.retraining.shards)
    return plan_teams(jobs, shards, plan.allocation, one_machine=not plan.cluster.running)
