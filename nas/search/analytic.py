"""Scores that are known without a forward pass, of designs and of their parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

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
    """

    latencies: Latencies | None = None

    def __call__(self, architecture: Architecture) -> dict[str, float]:
        """Return ``macs``, ``params`` and ``activation_bytes`` of a design, and ``latency_ms`` where it is known."""
        known = costs(architecture)
        scores: dict[str, float] = {
            "macs": known.macs,
            "params": known.params,
            "activation_bytes": known.activation_bytes,
        }
        if self.latencies is not None:
            scores["latency_ms"] = self.latencies.latency_ms(architecture)
        return scores

    def of_part(self, name: str, part: Part, style: Style) -> float:
        """Return a part's share of the score ``name``, one that adds up over the parts of a design."""
        if name == "latency_ms" and self.latencies is not None:
            return self.latencies.part_ms(part, style)
        cost = part_cost(part, style)
        return {"macs": cost.macs, "params": cost.params}[name]
