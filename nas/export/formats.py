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

from nas.export.image_sizes import ImageSizes
from nas.runtime.error_text import first_line
from search_spaces.errors import RequestError, WorkError, nearest


@dataclass(frozen=True)
class _Format:
    """A file format of networks.

    Args:
        title: Name of its exporter, for error messages.
        write: Writes ``(network, path, images, dimensions, opset)``; the images show shape and type, ``dimensions``
            which of their sides may vary.
        run: Returns the logits of the file at ``path`` for images.
    """

    title: str
    write: Callable[[nn.Module, Path, Tensor, dict[int, object], int], None]
    run: Callable[[Path, Tensor], Tensor]


def write_program(
    network: nn.Module, path: Path, images: Tensor, dimensions: dict[int, object], opset: int
) -> None:
    """Write a ``torch.export`` program; ``opset`` is ONNX's and means nothing here."""
    program = torch.export.export(network, (images,), dynamic_shapes={"images": dimensions})
    torch.export.save(program, path)


@torch.inference_mode()
def run_program(path: Path, images: Tensor) -> Tensor:
    """Return what a ``torch.export`` program gives for images."""
    logits: Tensor = torch.export.load(path).module()(images)
    return logits


def write_onnx(
    network: nn.Module, path: Path, images: Tensor, dimensions: dict[int, object], opset: int
) -> None:
    """Write an ONNX file with an input ``images`` and an output ``logits``."""
    with sdpa_kernel(SDPBackend.MATH):  # the decompositions of the others do not know additive masks
        torch.onnx.export(
            network,
            (images,),
            path,
            dynamo=True,
            external_data=False,
            input_names=["images"],
            output_names=["logits"],
            opset_version=opset,
            dynamic_shapes={"images": dimensions},
            verbose=False,
        )


def run_onnx(path: Path, images: Tensor) -> Tensor:
    """Return what ONNX Runtime gives for images on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


_BY_NAME = {
    "pt2": _Format("torch.export", write_program, run_program),
    "onnx": _Format("ONNX", write_onnx, run_onnx),
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


def write_file(
    network: nn.Module, path: Path, images: Tensor, format_name: str, sizes: ImageSizes, opset: int
) -> ImageSizes:
    """Write a network as a file.

    Args:
        network: Maps images to logits.
        path: The file.
        images: Two images or more of the size ``sizes.own`` and the type that the file takes.
        format_name: One of ``FORMATS``.
        sizes: The heights and widths that it should take.
        opset: Version of ONNX's operators.

    Returns:
        Those that it takes: its own alone where its operators could not be recorded for others, or not for both.

    Raises:
        WorkError: If the format's exporter fails.
    """
    if sizes.step is not None:
        shape = (2, images.shape[1], *sizes.example)
        try:
            _write(network, path, torch.zeros(shape, dtype=images.dtype), format_name, sizes, opset)
            run_file(path, images, format_name)
            return sizes
        except WorkError as error:
            sizes = sizes.fixed(str(error))
    _write(network, path, images, format_name, sizes, opset)
    return sizes


def _write(
    network: nn.Module, path: Path, images: Tensor, format_name: str, sizes: ImageSizes, opset: int
) -> None:
    file_format = _BY_NAME[format_name]
    with _one_sentence(f"{file_format.title} could not export this model"), _without_gradients(network):
        file_format.write(network, path, images, sizes.dimensions, opset)


def run_file(path: Path, images: Tensor, format_name: str) -> Tensor:
    """Return the logits that a file gives for ``images``.

    Raises:
        WorkError: If it cannot be run.
    """
    with _one_sentence(f"the exported {path.name} cannot be run"):
        return _BY_NAME[format_name].run(path, images)


@contextlib.contextmanager
def _one_sentence(what: str) -> Iterator[None]:
    """Turn whatever an exporter or a runtime raises into one sentence, and keep its messages off the terminal."""
    try:
        with _silence():
            yield
    except Exception as error:
        raise WorkError(f"{what} ({first_line(error)}); leave it out with --format") from error


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
