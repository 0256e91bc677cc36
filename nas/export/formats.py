"""The formats of an export beside its source: written from the network, and run to see what they give."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from nas.runtime.error_text import first_line
from search_spaces.errors import RequestError, WorkError, nearest

_MAX_BATCH = 4096


@dataclass(frozen=True)
class _Format:
    """A file format of networks.

    Args:
        title: Name of its exporter, for error messages.
        write: Writes ``(network, path, images)``; the images show the shape, their number may vary.
        run: Returns the logits of the file at ``path`` for images.
    """

    title: str
    write: Callable[[nn.Module, Path, Tensor], None]
    run: Callable[[Path, Tensor], Tensor]


def _write_program(network: nn.Module, path: Path, images: Tensor) -> None:
    batch = torch.export.Dim("batch", min=1, max=_MAX_BATCH)
    program = torch.export.export(network, (images,), dynamic_shapes={"images": {0: batch}})
    torch.export.save(program, path)


@torch.inference_mode()
def _run_program(path: Path, images: Tensor) -> Tensor:
    logits: Tensor = torch.export.load(path).module()(images)
    return logits


def _write_onnx(network: nn.Module, path: Path, images: Tensor) -> None:
    with sdpa_kernel(SDPBackend.MATH):  # the decompositions of the others do not know additive masks
        torch.onnx.export(
            network,
            (images,),
            path,
            dynamo=True,
            external_data=False,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1, max=_MAX_BATCH)}},
            verbose=False,
        )


def _run_onnx(path: Path, images: Tensor) -> Tensor:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


_BY_NAME = {
    "pt2": _Format("torch.export", _write_program, _run_program),
    "onnx": _Format("ONNX", _write_onnx, _run_onnx),
}
#: File formats beside the source and the weights, which are always written.
FORMATS = tuple(_BY_NAME)


def parse_formats(text: str) -> tuple[str, ...]:
    """Read ``all``, ``source`` or a list such as ``pt2,onnx``.

    Raises:
        RequestError: If a format is unknown.
    """
    if text == "all":
        return FORMATS
    names = tuple(part.strip() for part in text.split(",") if part.strip() != "source")
    for name in names:
        if name not in FORMATS:
            raise RequestError(
                f"--format: unknown format '{name}' ({nearest(name, ('all', 'source', *FORMATS))})"
            )
    return names


def write_and_run(network: nn.Module, folder: Path, images: Tensor, format_name: str) -> Tensor:
    """Write ``model.<format>`` into a folder and return the logits that the file gives for ``images``.

    Raises:
        WorkError: If the format's exporter fails or its file cannot be run.
    """
    file_format = _BY_NAME[format_name]
    path = folder / f"model.{format_name}"
    try:
        with _silence(), _without_gradients(network):
            file_format.write(network, path, images)
            return file_format.run(path, images)
    except Exception as error:
        # Exporters raise anything; whatever it is, the user gets one sentence and nothing half-made.
        raise WorkError(
            f"{file_format.title} could not export this model ({first_line(error)}); leave it out with --format"
        ) from error


@contextlib.contextmanager
def _without_gradients(network: nn.Module) -> Iterator[None]:
    """Make parameters constants: the ONNX exporter cannot decompose attention with a trainable bias."""
    trainable = [parameter.requires_grad for parameter in network.parameters()]
    network.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, flag in zip(network.parameters(), trainable, strict=True):
            parameter.requires_grad_(flag)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
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
