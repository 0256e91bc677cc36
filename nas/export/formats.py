"""The formats of an export beside its source: written from the network, and run to see what they give."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.export.image_sizes import ImageSizes
from nas.latency.onnx_writer import constant_weights, silence, write_onnx
from nas.latency.runtimes import Run, open_file, write_openvino
from nas.runtime.error_text import first_line
from nas.runtime.extras import require_package
from search_spaces.errors import RequestError, WorkError, nearest


@dataclass(frozen=True)
class _Format:
    """A file format of networks.

    Args:
        title: Name of its exporter, for error messages.
        file: What its file is called.
        write: Writes ``(network, path, images, dimensions, opset)``; the images show shape and type, ``dimensions``
            which of their sides may vary.
        open: Returns what maps images to the logits of the file at ``path``.
    """

    title: str
    file: str
    write: Callable[[nn.Module, Path, Tensor, Mapping[int, object], int], None]
    open: Callable[[Path], Run]


def write_program(
    network: nn.Module, path: Path, images: Tensor, dimensions: Mapping[int, object], opset: int
) -> None:
    """Write a ``torch.export`` program; ``opset`` is ONNX's and means nothing here."""
    program = torch.export.export(network, (images,), dynamic_shapes=(dict(dimensions),))
    torch.export.save(program, path)


def open_program(path: Path) -> Run:
    """Return what runs a ``torch.export`` program."""
    return torch.inference_mode()(torch.export.load(path).module())


def write_intermediate(
    network: nn.Module, path: Path, images: Tensor, dimensions: Mapping[int, object], opset: int
) -> None:
    """Write OpenVINO's intermediate representation, by way of an ONNX file that does not stay."""
    passing = path.with_suffix(".passing.onnx")
    write_onnx(network, passing, images, dimensions, opset)
    write_openvino(passing, path)
    passing.unlink()


_BY_NAME = {
    "pt2": _Format("torch.export", "model.pt2", write_program, open_program),
    "onnx": _Format("ONNX", "model.onnx", write_onnx, partial(open_file, runtime="onnxruntime")),
    "openvino": _Format("OpenVINO", "model.xml", write_intermediate, partial(open_file, runtime="openvino")),
}
#: File formats beside the source and the weights, which are always written.
FORMATS = ("pt2", "onnx")
#: Those that need a package which is not always there, and are written where they are named.
EXTRA_FORMATS = ("openvino",)
KNOWN_FORMATS = (*FORMATS, *EXTRA_FORMATS)
#: The package that writes and runs a format.
_PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}


def file_name(format_name: str) -> str:
    """Return what the file of a format is called."""
    return _BY_NAME[format_name].file


def parse_formats(text: str) -> tuple[str, ...]:
    """Read ``all``, ``source`` or a list such as ``pt2,onnx``.

    Raises:
        RequestError: If a format is unknown, or its package is not installed.
    """
    names: list[str] = []
    for name in (part.strip() for part in text.split(",")):
        if name in ("all", "source"):
            names += FORMATS if name == "all" else ()
        elif name not in KNOWN_FORMATS:
            raise RequestError(
                f"--format: unknown format '{name}' ({nearest(name, ('all', 'source', *KNOWN_FORMATS))})"
            )
        else:
            names.append(name)
    for name, package in _PACKAGES.items():
        if name in names:
            require_package(package, f"--format {name}")
    return tuple(dict.fromkeys(names))


def write_file(
    network: nn.Module, path: Path, images: Tensor, format_name: str, sizes: ImageSizes, opset: int
) -> ImageSizes:
    """Write a network as a file.

    Args:
        network: Maps images to logits.
        path: The file.
        images: Two images or more of the size ``sizes.own`` and the type that the file takes.
        format_name: One of ``KNOWN_FORMATS``.
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
            open_exported(path, format_name)(images)
            return sizes
        except WorkError as error:
            sizes = sizes.fixed(str(error))
    _write(network, path, images, format_name, sizes, opset)
    return sizes


def _write(
    network: nn.Module, path: Path, images: Tensor, format_name: str, sizes: ImageSizes, opset: int
) -> None:
    file_format = _BY_NAME[format_name]
    with _one_sentence(f"{file_format.title} could not export this model"), constant_weights(network):
        file_format.write(network, path, images, sizes.dimensions, opset)


def open_exported(path: Path, format_name: str) -> Run:
    """Return what maps images to the logits of an exported file.

    Raises:
        WorkError: If it cannot be opened, and later if it cannot be run.
    """
    failure = f"the exported {path.name} cannot be run"
    with _one_sentence(failure):
        run = _BY_NAME[format_name].open(path)

    def run_or_say(images: Tensor) -> Tensor:
        with _one_sentence(failure):
            return run(images)

    return run_or_say


@contextlib.contextmanager
def _one_sentence(what: str) -> Iterator[None]:
    """Turn whatever an exporter or a runtime raises into one sentence, and keep its messages off the terminal."""
    try:
        with silence():
            yield
    except Exception as error:
        raise WorkError(f"{what} ({first_line(error)}); leave it out with --format") from error
