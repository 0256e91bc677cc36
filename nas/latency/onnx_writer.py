"""Writing a network, or a part of one, as an ONNX file: for an export, and for measuring it as it will run."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

_LARGEST_BATCH = 4096


def any_batch_size() -> dict[int, object]:
    """Return the dynamic dimensions of images of one size, as ``torch.export`` takes them."""
    return {0: torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)}


def write_onnx(
    network: nn.Module,
    path: Path,
    images: Tensor,
    dimensions: Mapping[int, object] | None = None,
    opset: int = 20,
) -> None:
    """Write an ONNX file with an input ``images`` and an output ``logits``.

    Args:
        network: Maps one tensor to one tensor.
        path: The file.
        images: Shows shape and type of what goes in.
        dimensions: Which of its sides may vary; none where it is left out.
        opset: Version of the operators.
    """
    with (
        silence(),
        constant_weights(network),
        sdpa_kernel(SDPBackend.MATH),  # the decompositions of the others do not know additive masks
    ):
        torch.onnx.export(
            network,
            (images,),
            path,
            dynamo=True,
            external_data=False,
            input_names=["images"],
            output_names=["logits"],
            opset_version=opset,
            verbose=False,
            dynamic_shapes=None if dimensions is None else (dict(dimensions),),
        )


@contextlib.contextmanager
def constant_weights(network: nn.Module) -> Iterator[None]:
    """Make parameters constants: the ONNX exporter cannot decompose attention with a trainable bias."""
    trainable = [parameter.requires_grad for parameter in network.parameters()]
    network.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, flag in zip(network.parameters(), trainable, strict=True):
            parameter.requires_grad_(flag)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep the exporters' messages off the terminal; those that matter become errors."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
