"""Whether what a Python program brings can be sent to workers, found out before anything is begun."""

from __future__ import annotations

import io
from typing import Any

from nas.cluster.ray_cluster import load_ray
from nas.runtime.error_text import first_line
from search_spaces.errors import RequestError


class _Nowhere(io.RawIOBase):
    """Takes bytes and keeps none, since a data set may be large."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return memoryview(data).nbytes


def require_sendable(what: str, value: object) -> None:
    """Check that a value can be pickled as Ray does it: classes and functions of scripts and notebooks by value.

    Args:
        what: What the sentence calls it.
        value: The value.

    Raises:
        RequestError: If it cannot.
    """
    try:
        load_ray().cloudpickle.CloudPickler(_Nowhere(), protocol=5).dump(value)
    # What cannot be pickled says so in its own way.
    except Exception as error:
        raise RequestError(
            f"{what} cannot be sent to workers ({type(error).__name__}: {first_line(error)}); keep what cannot be "
            "pickled, such as an open file, a lock or a connection, out of it, and open it when it is first used"
        ) from error
