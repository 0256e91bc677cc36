"""Whether a supernet orders designs well enough to be searched: a small ranking between training and search."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from nas.pipeline.plan import SearchPlan
from nas.pipeline.ranking import Ranking, RankingPlan, open_table, run_ranking, supernet_weights
from nas.ranking.stratified import sample_evenly
from nas.runtime.console import log

#: Designs that are trained alone for it.
GATE_DESIGNS = 16


def check_order(plan: SearchPlan, least_tau: float, command: Sequence[str]) -> Ranking:
    """Train a few designs alone, and warn where the supernet's order of them is not surely as good as asked.

    Args:
        plan: A search whose supernet is trained.
        least_tau: Kendall's tau that the lower end of its interval is to reach.
        command: The command line.

    Raises:
        Interrupted: If the user asked to stop; finished trainings are kept.
        RequestError: If a design does not fit its device.
        WorkError: If a training failed.
    """
    ranking = run_ranking(_plan_ranking(plan), command)
    log.say(describe_order(ranking, least_tau))
    return ranking


def describe_order(ranking: Ranking, least_tau: float) -> str:
    """Return how good the order is, as a warning where it is not surely as good as asked."""
    (supernet, *_), (macs, *_) = ranking.predictors, ranking.baselines
    found = (
        f"the {supernet.predictor} orders {supernet.designs} designs with a Kendall tau of {supernet.tau} "
        f"(MACs alone: {macs.tau})"
    )
    if supernet.tau.low is not None and supernet.tau.low >= least_tau:
        return f"gate      {found}, surely {least_tau:g} or more"
    return (
        f"warning   {found}, not surely the {least_tau:g} of --gate: what the search finds may be no better than "
        "chance; train the supernet longer, or retrain many designs of the front"
    )


def _plan_ranking(plan: SearchPlan) -> RankingPlan:
    """Return the ranking of the plan's supernet by as many designs as a gate has."""
    study, settings, recipe = plan.study, plan.settings, plan.settings.retraining
    return RankingPlan(
        study,
        plan.data,
        supernet_weights(study),
        open_table(study, recipe, plan.data),
        recipe.epochs,
        recipe,
        tuple(sample_evenly(plan.space, Random(settings.seed), GATE_DESIGNS)),
        0,
        {},
        plan.allocation,
        plan.cluster,
    )
