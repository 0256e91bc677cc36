"""What a command does beside a search: a gate before it, retraining and export after it."""

from __future__ import annotations

from dataclasses import dataclass

from nas.cluster.teams import Teams, plan_teams
from nas.data.batching import usable_shards
from nas.pipeline.gate import GATE_DESIGNS
from nas.pipeline.plan import SearchPlan
from nas.training.retraining import MODES
from search_spaces.analogues import analogues


@dataclass(frozen=True)
class Following:
    """A gate before a search, retraining and export after it.

    Args:
        retrain: Designs of the front to retrain.
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
                f"gate      {GATE_DESIGNS} designs trained alone before the search; a Kendall tau surely above "
                f"{self.gate:g} is asked of the supernet's order of them"
            )
        if not self.retrain:
            return lines
        designs = "the best design" if self.retrain == 1 else f"{self.retrain} designs of the front"
        beside = " and the analogues of published designs" if self.baselines else ""
        return [
            *lines,
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
