"""Where tensors live and in which type they are computed."""

from __future__ import annotations

import contextlib

import torch


def autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Return mixed precision where it pays: bfloat16 on GPUs, float32 on CPUs."""
    dtype = compute_dtype(device)
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def compute_dtype(device: torch.device) -> torch.dtype:
    """Return what convolutions and products are computed in under ``autocast``.

    Images may be kept in it: a stem begins with a convolution, for which they would be rounded anyway.
    """
    return torch.bfloat16 if device.type == "cuda" else torch.float32
