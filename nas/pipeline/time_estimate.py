"""How long a search will take and how many device-hours it will use, from a few timed steps.

What is timed is one worker by itself (`nas.training.step_times`); the estimate is that of a machine with nothing else
to do, on which workers side by side do not slow one another down. A range is twice the standard error of what was
timed, a tenth at least; that of a retraining goes from the smallest design of the space to the largest.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from nas.cluster.teams import Teams, allocate_team
from nas.data.batching import SHARD_IMAGES, batch_sizes, usable_shards
from nas.data.images import InMemoryImages
from nas.evaluation.population import CALIBRATION_IMAGES
from nas.pipeline.following import Following, Stage, plan_retraining_stages
from nas.pipeline.gate import GATE_DESIGNS
from nas.pipeline.plan import DEFAULT_TRIALS, SearchPlan
from nas.runtime.console import duration
from nas.runtime.own_process import call_in_own_process
from nas.training.step_times import StepTimes, Team, TimingRequest, measure_step_times
from nas.training.supernet import steps_per_epoch
from nas.training.supernet_checkpoint import read_progress
from search_spaces.errors import WorkError

#: After which the timing is given up.
_MOST_SECONDS = 180.0
_LEAST_ERROR = 0.1
#: Slowdown from which a plan says that the machine is busy.
_BUSY = 1.3
#: Starting a worker: Ray, Python, torch.
START_SECONDS = 10.0


@dataclass(frozen=True)
class Span:
    """Seconds of a phase: about, at least and at most."""

    seconds: float
    low: float
    high: float

    @classmethod
    def of_samples(cls, samples: Sequence[float]) -> Span:
        """Return the mean of what was timed and its range."""
        mean = statistics.fmean(samples)
        error = 2 * statistics.stdev(samples) / math.sqrt(len(samples)) if len(samples) > 1 else 0.0
        error = max(error, _LEAST_ERROR * mean)
        return cls(mean, max(0.0, mean - error), mean + error)

    def __add__(self, other: Span) -> Span:
        return Span(self.seconds + other.seconds, self.low + other.low, self.high + other.high)

    def times(self, factor: float) -> Span:
        """Return it for so many of the same."""
        return Span(self.seconds * factor, self.low * factor, self.high * factor)

    def at_most(self, limit: float) -> Span:
        """Return it where a time limit ends it."""
        return Span(min(self.seconds, limit), min(self.low, limit), min(self.high, limit))

    def __str__(self) -> str:
        return f"about {duration(self.seconds)} ({duration(self.low)} to {duration(self.high)})"


@dataclass(frozen=True)
class TimeEstimate:
    """What a search takes, or why that is not known.

    Args:
        phases: By name, those that are still to be done.
        one_retraining: Both trainings of one design, which this command does not do; None where it retrains some.
        devices: Devices that the budget holds all the time.
        device_noun: What they are, ``GPU`` or ``core``.
        hardware: What was timed.
        notes: What is not in it.
        reason: Why nothing was measured; None where it was.
    """

    phases: dict[str, Span]
    devices: float
    device_noun: str
    one_retraining: Span | None = None
    hardware: str = ""
    notes: tuple[str, ...] = ()
    reason: str | None = None

    @property
    def total(self) -> Span:
        """All phases, one after another."""
        return sum(self.phases.values(), Span(0, 0, 0))

    @property
    def device_hours(self) -> Span:
        """Hours of all devices of the budget together."""
        return self.total.times(self.devices / 3600)

    def lines(self) -> list[str]:
        """Return it for people."""
        if self.reason is not None:
            return [f"time      not measured: {self.reason}"]
        if not self.phases:
            return []
        hours = self.device_hours
        return [
            "time      " + ", ".join(f"{name} {span}" for name, span in self.phases.items()),
            f"          together {self.total}: {hours.seconds:.2g} {self.device_noun}-hours ({hours.low:.2g} to "
            f"{hours.high:.2g})",
            *(
                []
                if self.one_retraining is None
                else [f"          retraining one design afterwards {self.one_retraining}"]
            ),
            f"          by a few steps on {self.hardware}, as if nothing else ran there and workers did not "
            "slow one another",
            *(f"          {note}" for note in self.notes),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data, in seconds and hours."""
        if self.reason is not None:
            return {"measured": False, "reason": self.reason}
        return {
            "measured": True,
            "hardware": self.hardware,
            "phases": {name: asdict(span) for name, span in self.phases.items()},
            "one_retraining": None if self.one_retraining is None else asdict(self.one_retraining),
            "total": asdict(self.total),
            "device_hours": self.device_hours.seconds,
            "device": self.device_noun,
            "notes": list(self.notes),
        }


def estimate_time(plan: SearchPlan, following: Following) -> TimeEstimate:
    """Time a few steps in a process of its own and return what the search and what follows it will take.

    A real run does not ask for it: its progress bars say how long each phase will take from its own first steps.
    """
    has_gpus = plan.allocation.gpus_per_worker > 0
    devices = plan.allocation.workers * (1 if has_gpus else plan.allocation.cpus_per_worker)
    nothing = TimeEstimate({}, devices, "GPU" if has_gpus else "core")
    if not plan.settings.needs_supernet and not following.retrain:
        return nothing
    stages = plan_retraining_stages(plan, following)
    team = stages[0].teams
    request = TimingRequest(
        plan.space,
        plan.settings,
        plan.data,
        plan.allocation.device,
        _supernet_team(plan) if plan.settings.needs_supernet else None,
        Team(team.size, team.allocation.threads),
        plan.allocation.threads,
    )
    try:
        times = call_in_own_process(partial(measure_step_times, request), _MOST_SECONDS)
    except WorkError as error:
        return replace(nothing, reason=str(error))
    if times is None:
        return replace(nothing, reason="this machine has no GPU, and the workers' are elsewhere")
    return replace(
        nothing,
        phases=extrapolate(plan, following, stages, times),
        one_retraining=None if following.retrain else estimate_retraining(plan, stages, times),
        hardware=f"this machine's {times.device}",
        notes=(*_describe_missing(plan), *_describe_busy_machine(times)),
    )


def extrapolate(
    plan: SearchPlan, following: Following, stages: Sequence[Stage], times: StepTimes
) -> dict[str, Span]:
    """Return the phases that are still to be done, from what was timed."""
    phases: dict[str, Span] = {}
    start = Span(START_SECONDS, START_SECONDS, START_SECONDS)
    settings = plan.settings
    if steps := _steps_to_do(plan):
        phases["supernet"] = start + Span.of_samples(times.supernet).times(steps)
    if following.gate is not None:
        workers = plan.allocation.workers
        alone = Teams(
            GATE_DESIGNS, min(GATE_DESIGNS, workers), 1, workers, replace(plan.allocation, workers=1)
        )
        phases["gate"] = estimate_retraining(plan, [Stage(settings.retraining.epochs, alone)], times)
    if settings.needs_supernet:
        workers = plan.allocation.workers
        one = (
            Span.of_samples(times.extraction)
            + Span.of_samples(times.calibration).times(min(CALIBRATION_IMAGES, len(plan.data.train)))
            + Span.of_samples(times.evaluation).times(plan.images_scored)
        )
        search = start + one.times(_designs_to_do(plan) / workers)
        phases["search"] = search if plan.budget.seconds is None else search.at_most(plan.budget.seconds)
    if following.retrain:
        phases["retraining"] = estimate_retraining(plan, stages, times)
    return phases


def estimate_retraining(plan: SearchPlan, stages: Sequence[Stage], times: StepTimes) -> Span:
    """Return what all stages of retraining take: about as long as the typical design's, at most as the largest's.

    A team of the first stage was timed; one of twice its size takes half of that.
    """
    recipe, data, start = (
        plan.settings.retraining,
        plan.data,
        Span(START_SECONDS, START_SECONDS, START_SECONDS),
    )
    shards = usable_shards(len(data.train), recipe.shards)
    steps = len(batch_sizes(len(data.train), recipe.batch_size, SHARD_IMAGES * shards))
    small, typical, large = (
        steps * step + len(data.val) * image
        for step, image in zip(times.retraining, times.validation, strict=True)
    )
    epoch = Span(typical, min(small, typical), max(typical, large))
    size, total = stages[0].teams.size, Span(0, 0, 0)
    for stage in stages:
        waves = math.ceil(stage.teams.jobs / stage.teams.count)
        total += start + epoch.times(stage.epochs * waves * size / stage.teams.size)
    return total


def _supernet_team(plan: SearchPlan) -> Team:
    ranks = plan.supernet_ranks
    return Team(ranks, allocate_team(plan.allocation, ranks, one_machine=not plan.cluster.running).threads)


def _steps_to_do(plan: SearchPlan) -> int:
    if not plan.settings.trains_supernet:
        return 0
    done, _ = read_progress(plan.study.supernet_file)
    return max(0, plan.settings.recipe.epochs * steps_per_epoch(plan.settings, plan.data) - done)


def _designs_to_do(plan: SearchPlan) -> int:
    designs = plan.num_listed if plan.num_listed is not None else plan.budget.trials or DEFAULT_TRIALS
    if not plan.study.settings_file.exists():
        return designs
    evaluated = {trial.architecture.digest for trial in plan.study.records() if trial.evaluated}
    return max(0, designs - len(evaluated))


def _describe_missing(plan: SearchPlan) -> list[str]:
    """Return what the estimate leaves out, as far as it matters to this plan."""
    settings, notes = plan.settings, []
    if settings.needs_supernet:
        notes.append("beginnings that designs share, and racing, make the search shorter")
    if settings.teacher is not None:
        notes.append("the teacher's answers are not in it")
    if settings.compile:
        notes.append("it is that of uncompiled blocks")
    if plan.goal.needs_latency and plan.latency is None:
        notes.append("measuring latencies is not in it")
    if not isinstance(plan.data.train.images, InMemoryImages):
        notes.append("waiting for images from the disk is not in it")
    return notes


def _describe_busy_machine(times: StepTimes) -> list[str]:
    if times.slowdown < _BUSY:
        return []
    return [
        f"other programs keep this machine busy: while they do, it takes about {times.slowdown:.1f} times as long"
    ]
