"""Where tensors live and in which type they are computed.

This module alone decides the device. A budget is planned once (``nas.cluster.budget.allocate_workers``), and
everything that runs under it, in this process or in workers, gets its device from that plan through
`planned_device`. Commands without a budget use `default_device`, or what their ``--device`` says (`parse_device`).
What else differs between devices, the type of products and the backend of torch.distributed, follows from the device.

The process that plans and watches a search never initialises CUDA, which would hold memory beside its workers: what
it has to know of a GPU is asked in a worker or in a process of its own.
"""

from __future__ import annotations

import contextlib
import functools
import platform
from pathlib import Path
from typing import Literal

import torch

from nas.runtime.own_process import call_in_own_process
from search_spaces.errors import RequestError, WorkError, nearest

DeviceType = Literal["cuda", "cpu"]
_ANSWER_SECONDS = 120.0


def default_device() -> torch.device:
    """Return the GPU of this process if it has one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def parse_device(name: str) -> torch.device:
    """Return the device called ``auto``, ``cpu`` or ``cuda``.

    Raises:
        RequestError: If it is unknown or not there.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise RequestError(f"--device: unknown device '{name}' ({nearest(name, ('auto', 'cpu', 'cuda'))})")
    device = torch.device("cpu") if name == "cpu" else default_device()
    if name == "cuda" and device.type != "cuda":
        raise RequestError("--device cuda: torch finds no CUDA device here; use --device cpu")
    return device


def planned_device(planned: DeviceType) -> torch.device:
    """Return the device that a plan means in this process.

    A plan for CPUs leaves every GPU alone: Ray hides none from a worker that reserved none. A plan for GPUs may
    mean the logical GPUs of a cluster, which a node can declare without having any; those are computed on the CPU.
    """
    return torch.device("cpu") if planned == "cpu" else default_device()


def start_worker(planned: DeviceType, threads: int) -> torch.device:
    """Give this process the threads that were planned for it and return its device.

    What is computed in float32 on a GPU, outside `autocast`, may use TF32 in its products (10 bits of mantissa, as
    float16 has, with float32's range and sums). CPUs compute float32 as it is.
    """
    torch.set_num_threads(threads)
    device = planned_device(planned)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    return device


def seed_generators(seed: int) -> None:
    """Seed torch's generators of the CPU, and of the GPUs where this process uses any.

    ``torch.manual_seed`` does the same, but where no GPU is in use yet it keeps the whole call stack for the time when
    one is, which takes a fifth of a millisecond.
    """
    if torch.cuda.is_initialized():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return mixed precision where it pays: `compute_dtype` on GPUs, float32 on CPUs."""
    dtype = compute_dtype(device)
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def compute_dtype(device: torch.device) -> torch.dtype:
    """Return the type of convolutions and products under `autocast`.

    On a GPU that is bfloat16 where the GPU computes it (compute capability 8.0 and later), else float16, whose narrow
    range a training needs `gradient_scaler` for. Images may be kept in it: a stem begins with a convolution, for which
    they would be rounded anyway.
    """
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if _computes_bfloat16() else torch.float16


@functools.cache
def _computes_bfloat16() -> bool:
    """Return whether this process's GPU computes bfloat16 itself; a GPU that is planned for elsewhere is taken to."""
    return not torch.cuda.is_available() or torch.cuda.is_bf16_supported(including_emulation=False)


def gradient_scaler(device: torch.device) -> torch.amp.GradScaler:
    """Return what keeps the gradients of a training within float16's range; it does nothing for other types."""
    return torch.amp.GradScaler(device.type, enabled=compute_dtype(device) == torch.float16)


def distributed_backend(device: torch.device) -> Literal["nccl", "gloo"]:
    """Return the backend of torch.distributed for tensors on ``device``."""
    return "nccl" if device.type == "cuda" else "gloo"


@functools.cache
def gpu_names() -> tuple[str, ...]:
    """Return the models of the GPUs that this process sees, without initialising CUDA in it."""
    count = torch.cuda.device_count()
    if not count or torch.cuda.is_initialized():
        return _ask_gpu_names(count)
    try:
        return call_in_own_process(functools.partial(_ask_gpu_names, count), _ANSWER_SECONDS)
    except WorkError:  # as where others have it for themselves
        return ("unknown GPU",) * count


def _ask_gpu_names(count: int) -> tuple[str, ...]:
    return tuple(torch.cuda.get_device_name(index) for index in range(count))


def hardware_name(device: torch.device) -> str:
    """Return the model of the GPU or processor that ``device`` is."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
