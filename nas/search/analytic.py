"""Scores that are known without a forward pass, of designs and of their parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from nas.search.own_objectives import Cost, compute
from search_spaces.architecture import Architecture
from search_spaces.cost import costs, part_cost
from search_spaces.skeleton import Style
from search_spaces.walk import Part


class Latencies(Protocol):
    """Knows the latency of every part of a space."""

    def latency_ms(self, architecture: Architecture) -> float:
        """Return the latency of a design in milliseconds: the sum of its parts'."""

    def part_ms(self, part: Part, style: Style) -> float:
        """Return the latency of a part of a design of that style in milliseconds."""


@dataclass(frozen=True)
class AnalyticScores:
    """Returns what is known of a design without a forward pass.

    Args:
        latencies: Where latencies are known; None where they are not asked for.
        own: Functions of a program's own objectives, by name.
    """

    latencies: Latencies | None = None
    own: Mapping[str, Cost] = field(default_factory=dict)
    _known: dict[str, dict[str, float]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __call__(self, architecture: Architecture) -> dict[str, float]:
        """Return ``macs``, ``params`` and ``activation_bytes`` of a design, and other scores where they are asked for.

        Raises:
            WorkError: If a program's own function fails.
        """
        known = costs(architecture)
        scores: dict[str, float] = {
            "macs": known.macs,
            "params": known.params,
            "activation_bytes": known.activation_bytes,
        }
        if self.latencies is not None:
            scores["latency_ms"] = self.latencies.latency_ms(architecture)
        return scores | self.own_scores(architecture) if self.own else scores

    def own_scores(self, architecture: Architecture) -> dict[str, float]:
        """Return the scores of a program's own functions, each of which is asked once for each design."""
        digest = architecture.digest
        if digest not in self._known:
            self._known[digest] = {
                name: compute(name, function, architecture, architecture)
                for name, function in self.own.items()
            }
        return self._known[digest]

    def of_part(self, name: str, part: Part, style: Style) -> float:
        """Return a part's share of the score ``name``, one that adds up over the parts of a design."""
        if name == "latency_ms" and self.latencies is not None:
            return self.latencies.part_ms(part, style)
        cost = part_cost(part, style)
        return {"macs": cost.macs, "params": cost.params}[name]
