"""The same work for every image of a set, in threads: Pillow and hashing run outside the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_CHUNK = 16  # images that a thread takes at once

#: Called with ``(done, total)`` images.
OnProgress = Callable[[int, int], None]
Result = TypeVar("Result")


def map_indices(
    function: Callable[[int], Result], count: int, on_progress: OnProgress | None
) -> list[Result]:
    """Return ``function(0)`` to ``function(count - 1)``, calling ``on_progress`` after each."""
    results: list[Result] = []

    def run(first: int) -> list[Result]:
        return [function(index) for index in range(first, min(first + _CHUNK, count))]

    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        try:
            for chunk in pool.map(run, range(0, count, _CHUNK)):
                for result in chunk:
                    results.append(result)
                    if on_progress is not None:
                        on_progress(len(results), count)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results
