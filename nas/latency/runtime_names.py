"""The names of what runs networks; read without importing any of it."""

from __future__ import annotations

from typing import Literal, get_args

from nas.runtime.extras import require_package
from search_spaces.errors import RequestError, nearest

Runtime = Literal["torch", "onnxruntime", "openvino"]
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)


def parse_runtime(name: str, option: str = "--runtime") -> Runtime:
    """Return the runtime of that name.

    Raises:
        RequestError: If there is none, or it is not installed.
    """
    for runtime in RUNTIMES:
        if runtime == name:
            if runtime != "torch":
                require_package(runtime, f"{option} {runtime}")
            return runtime
    raise RequestError(f"{option}: unknown runtime '{name}' ({nearest(name, RUNTIMES)})")
