"""What the files of an export can be asked to be like, beside which of them are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from nas.latency.runtime_names import RUNTIMES, Runtime, parse_runtime
from search_spaces.errors import RequestError, nearest

Input = Literal["normalized", "uint8"]
INPUTS: tuple[Input, ...] = get_args(Input)
Precision = Literal["fp16", "int8", "int8-dynamic"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
#: The oldest and the newest opset that every operator was written in and run.
OLDEST_OPSET, NEWEST_OPSET = 18, 24
#: The usual one: ONNX Runtime runs it since 1.17 and OpenVINO since 2024.
OPSET = 20

#: The format whose file a runtime runs; torch runs the source, which is always there.
_NEEDED: dict[Runtime, str] = {"onnxruntime": "onnx", "openvino": "openvino"}


@dataclass(frozen=True)
class FileOptions:
    """How ``model.pt2`` and ``model.onnx`` are written; source and weights are the same for all of them.

    Args:
        input: What the files take: ``normalized`` float32 images, or ``uint8`` ones as they are decoded, which the
            graph normalises by itself.
        dynamic_size: Whether images of other heights and widths than the design's can be given.
        opset: Version of ONNX's operators.
        precisions: Files of fewer bits to write beside those in float32.
        targets: Runtimes in which the latency of the files is measured.
        threads: How many threads they may use.
    """

    input: Input = "normalized"
    dynamic_size: bool = False
    opset: int = OPSET
    precisions: tuple[Precision, ...] = ()
    targets: tuple[Runtime, ...] = ()
    threads: int = 1


DEFAULT_OPTIONS = FileOptions()


def parse_options(
    formats: Sequence[str],
    *,
    input: str = "normalized",
    dynamic_size: bool = False,
    opset: int | None = None,
    precision: str = "fp32",
    targets: Sequence[str] = (),
    threads: int | None = None,
) -> FileOptions:
    """Return options that were given on a command line.

    Args:
        formats: The formats that are written.
        input: One of ``INPUTS``.
        dynamic_size: Whether other heights and widths are asked for.
        opset: Version of ONNX's operators; None for the usual one.
        precision: ``fp32``, or a list of ``PRECISIONS`` to write beside it, whose latency in ONNX Runtime is measured.
        targets: Runtimes by name.
        threads: How many threads they may use; None for one.

    Raises:
        RequestError: If one of them is unknown, or would change nothing since no file of its kind is written.
    """
    if input not in INPUTS:
        raise RequestError(f"--input: unknown input '{input}' ({nearest(input, INPUTS)})")
    if not formats and (input != "normalized" or dynamic_size):
        option = "--dynamic-size" if dynamic_size else f"--input {input}"
        raise RequestError(
            f"{option} is for model.pt2 and model.onnx; give --format all, pt2 or onnx with it"
        )
    if opset is not None and "onnx" not in formats:
        raise RequestError(f"--opset {opset} is for model.onnx; give --format all or onnx with it")
    precisions = parse_precisions(precision, formats)
    if precisions:
        targets = (*targets, "onnxruntime")
    if threads is not None and not targets:
        raise RequestError(f"--threads {threads} is for measuring latency; give a --target with it")
    return FileOptions(
        input,
        dynamic_size,
        OPSET if opset is None else opset,
        precisions,
        parse_targets(targets, formats),
        threads or 1,
    )


def parse_precisions(text: str, formats: Sequence[str]) -> tuple[Precision, ...]:
    """Read ``fp32``, which is always written, or a list such as ``fp16,int8``.

    Args:
        text: What was given for ``--precision``.
        formats: The formats that are written.

    Raises:
        RequestError: If one is unknown, or there is no ONNX file to make it of.
    """
    names = [name for part in text.split(",") if (name := part.strip()) != "fp32"]
    for name in names:
        if name not in PRECISIONS:
            raise RequestError(f"--precision: unknown '{name}' ({nearest(name, ('fp32', *PRECISIONS))})")
    if names and "onnx" not in formats:
        raise RequestError(f"--precision {text} is made of model.onnx; give --format all or onnx with it")
    return tuple(each for each in PRECISIONS if each in names)


def parse_targets(names: Sequence[str], formats: Sequence[str]) -> tuple[Runtime, ...]:
    """Return the runtimes of those names, in the usual order.

    Args:
        names: What was given for ``--target``.
        formats: The formats that are written.

    Raises:
        RequestError: If one is unknown or not installed, or nothing that it runs is written.
    """
    given = {parse_runtime(name, "--target") for name in names}
    for runtime in given:
        needed = _NEEDED.get(runtime)
        if needed is not None and needed not in formats:
            raise RequestError(f"--target {runtime} runs the file of --format {needed}; name that format too")
    return tuple(runtime for runtime in RUNTIMES if runtime in given)
