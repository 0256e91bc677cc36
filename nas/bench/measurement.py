"""What a bench measured: one value, or two sides and their ratio, beside what was aimed at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import median, quantiles
from typing import Any


@dataclass(frozen=True)
class Target:
    """What a ratio should reach.

    Args:
        limit: The value.
        at_most: Whether it should stay below rather than above.
    """

    limit: float
    at_most: bool = False

    def is_met_by(self, value: float) -> bool:
        """Return whether ``value`` reaches the target."""
        return value <= self.limit if self.at_most else value >= self.limit

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.limit:g}"


#: Of peak memory: never above theirs.
NO_MORE_MEMORY = Target(1.0, at_most=True)


@dataclass(frozen=True)
class Measurement:
    """One line of a bench.

    Args:
        name: What was measured.
        ours: Median of our side.
        unit: Of both sides: ``images/s``, ``ms``, ...
        theirs: Median of the other side, if there is one.
        against: What the other side is.
        ratio: Median over the rounds of ours to theirs; of throughputs for ``images/s``, else as the units say.
        quartiles: Quarter of the rounds below the first, above the second.
        rounds: Rounds.
        target: What the ratio should reach, or our value where there is no ratio.
        memory_target: What the ratio of peak memories should reach.
        details: Work compared, memory, differences of outputs.
    """

    name: str
    ours: float
    unit: str
    theirs: float | None = None
    against: str = ""
    ratio: float | None = None
    quartiles: tuple[float, float] | None = None
    rounds: int = 1
    target: Target | None = None
    memory_target: Target | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def target_met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.target.is_met_by(self.ours if self.ratio is None else self.ratio)

    @property
    def memory_ratio(self) -> float | None:
        """Our peak memory by theirs, to the percent: allocations of some bytes are no difference."""
        peak = self.details.get("peak_bytes")
        return None if not peak else round(peak["ours"] / max(1, peak["theirs"]), 2)

    @property
    def memory_target_met(self) -> bool | None:
        """Whether the target of memory is met; None without one."""
        if self.memory_target is None or self.memory_ratio is None:
            return None
        return self.memory_target.is_met_by(self.memory_ratio)

    def to_json(self) -> dict[str, Any]:
        """Return a plain object, with the keys that stored results have."""
        targets = {"target": self.target, "memory_target": self.memory_target}
        return {
            **asdict(self),
            **{name: None if target is None else str(target) for name, target in targets.items()},
            "met": self.target_met,
            "memory": self.memory_ratio,
            "memory_met": self.memory_target_met,
        }


def compare_times(
    name: str, ours: Sequence[float], theirs: Sequence[float], images: int | None = None, **fields: Any
) -> Measurement:
    """Return the measurement of two sides that took turns.

    Args:
        name: What was measured.
        ours: Seconds of one call of ours, round by round.
        theirs: Those of the other side.
        images: Images of a call, for a measurement in images/s; in milliseconds where left out.
        fields: The measurement's other fields.
    """
    factor = 1.0 if images is None else -1.0  # a throughput is the inverse of a time
    ratios = [(one / other) ** factor for one, other in zip(ours, theirs, strict=True)]

    def in_unit(seconds: Sequence[float]) -> float:
        return 1e3 * median(seconds) if images is None else images / median(seconds)

    return Measurement(
        name=name,
        ours=in_unit(ours),
        theirs=in_unit(theirs),
        unit="ms" if images is None else "images/s",
        ratio=median(ratios),
        quartiles=compute_quartiles(ratios),
        rounds=len(ratios),
        **fields,
    )


def pool_measurements(measurements: Sequence[Measurement], name: str, **changes: Any) -> Measurement:
    """Return one measurement for several of the same kind: the medians over all of them."""
    ratios = [one.ratio for one in measurements if one.ratio is not None]
    return replace(
        measurements[0],
        name=name,
        ours=median(one.ours for one in measurements),
        theirs=median(one.theirs or 0.0 for one in measurements),
        ratio=median(ratios),
        quartiles=compute_quartiles(ratios),
        **changes,
    )


def compute_quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the lower and the upper quartile; of one value itself, twice."""
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high
