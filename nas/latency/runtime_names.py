"""The names of what runs networks; read without importing any of it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal, get_args

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
            require_runtime(runtime, option)
            return runtime
    raise RequestError(f"{option}: unknown runtime '{name}' ({nearest(name, RUNTIMES)})")


def require_runtime(runtime: Runtime, option: str) -> None:
    """Raise unless a runtime is installed; OpenVINO is an extra.

    Raises:
        RequestError: If it is not.
    """
    if runtime == "openvino" and find_spec("openvino") is None:
        raise RequestError(
            f"{option} {runtime}: the package openvino is not installed; install it: pip install 'nas[openvino]'"
        )
