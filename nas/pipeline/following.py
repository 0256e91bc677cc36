"""What follows a search in the same command."""

from __future__ import annotations

from dataclasses import dataclass


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

    def describe(self) -> list[str]:
        """Return it in lines for people; none where nothing follows."""
        if not self.retrain:
            return []
        designs = "the best design" if self.retrain == 1 else f"{self.retrain} designs of the front"
        beside = " and the analogues of published designs" if self.baselines else ""
        return [f"then      retrain {designs}{beside}" + (", export the best" if self.export else "")]
