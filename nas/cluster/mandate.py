"""What a worker is told of who it works for: with which process it ends, and where it may write."""

from __future__ import annotations

from dataclasses import dataclass

from nas.runtime.fence import Fence, adopt, fences
from nas.runtime.processes import ProcessId, end_with

_given: list[Mandate] = []  # in a worker: what it was told


@dataclass(frozen=True)
class Mandate:
    """On whose behalf a worker works.

    Args:
        driver: The process of the command; on its machine workers end as soon as it has.
        fences: Where it may replace files, until another command takes over.
    """

    driver: ProcessId
    fences: tuple[Fence, ...]

    @classmethod
    def for_workers(cls) -> Mandate:
        """Return what workers of this process are told; those of a worker get its own."""
        return _given[-1] if _given else cls(ProcessId.of_this_process(), fences())

    def accept(self) -> None:
        """Work so from now on; called in the worker."""
        _given.append(self)
        adopt(self.fences)
        end_with(self.driver)
