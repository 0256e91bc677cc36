"""Where tensors live and in which type they are computed.

This module alone decides the device. A budget is planned once (``nas.cluster.budget.allocate_workers``), and
everything that runs under it, in this process or in workers, gets its device from that plan through
`planned_device`. Commands without a budget use `default_device`. What else differs between devices, the type
of products and the backend of torch.distributed, follows from the device.
"""

from __future__ import annotations

import contextlib
from typing import Literal

import torch

DeviceType = Literal["cuda", "cpu"]


def default_device() -> torch.device:
    """Return the GPU of this process if it has one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def planned_device(planned: DeviceType) -> torch.device:
    """Return the device that a plan means in this process.

    A plan for CPUs leaves every GPU alone: Ray hides none from a worker that reserved none. A plan for GPUs may
    mean the logical GPUs of a cluster, which a node can declare without having any; those are computed on the CPU.
    """
    return torch.device("cpu") if planned == "cpu" else default_device()


def start_worker(planned: DeviceType, threads: int) -> torch.device:
    """Give this process the threads that were planned for it and return its device."""
    torch.set_num_threads(threads)
    return planned_device(planned)


def autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return mixed precision where it pays: bfloat16 on GPUs, float32 on CPUs."""
    dtype = compute_dtype(device)
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def compute_dtype(device: torch.device) -> torch.dtype:
    """Return the type of convolutions and products under `autocast`.

    Images may be kept in it: a stem begins with a convolution, for which they would be rounded anyway.
    """
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def distributed_backend(device: torch.device) -> Literal["nccl", "gloo"]:
    """Return the backend of torch.distributed for tensors on ``device``."""
    return "nccl" if device.type == "cuda" else "gloo"
