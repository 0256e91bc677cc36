"""What runs networks where they are used: torch as it is, ONNX Runtime, OpenVINO. All of them on a CPU.

A design that is fast in one need not be in another: they fuse and thread differently, and torch pays for every
operator that it launches.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.latency.runtime_names import Runtime
from nas.runtime.stopwatch import Clock

Run = Callable[[Tensor], Tensor]


def runtime_version(runtime: Runtime) -> str:
    """Return the version of a runtime that is installed."""
    if runtime == "torch":
        return torch.__version__
    if runtime == "onnxruntime":
        import onnxruntime

        return str(onnxruntime.__version__)
    import openvino

    return str(openvino.__version__).partition("-")[0]


def runtime_clock(runtime: Runtime, threads: int) -> Clock:
    """Return the clock that suits a runtime with so many threads.

    OpenVINO computes in threads of its own even where it is given one, so that only the wall's clock sees its work.
    """
    return "core" if threads == 1 and runtime != "openvino" else "wall"


def open_file(path: Path, runtime: Runtime, threads: int | None = None) -> Run:
    """Return what runs an ONNX file, or OpenVINO's own, on the CPU.

    Args:
        path: ``.onnx``, or ``.xml`` for OpenVINO.
        runtime: ``onnxruntime`` or ``openvino``.
        threads: How many it may use; None leaves it to the runtime.
    """
    if runtime == "openvino":
        return _open_in_openvino(path, threads)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: images.numpy()})[0])

    return run


def _open_in_openvino(path: Path, threads: int | None) -> Run:
    import openvino

    # Processors with bfloat16 or float16 units would compute a float32 network in those.
    hints: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if threads is not None:
        hints["INFERENCE_NUM_THREADS"] = threads
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", hints)
    request, output = compiled.create_infer_request(), compiled.output(0)

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(request.infer([images.numpy()])[output].copy())

    return run


def write_openvino(onnx: Path, path: Path) -> None:
    """Write OpenVINO's file of an ONNX file, ``path`` with the ending ``.xml`` and its weights beside it.

    Weights stay float32: OpenVINO would halve them by default.
    """
    import openvino

    openvino.save_model(openvino.Core().read_model(onnx), path, compress_to_fp16=False)
