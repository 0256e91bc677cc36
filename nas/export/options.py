"""What the files of an export can be asked to be like, beside which of them are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from search_spaces.errors import RequestError, nearest

Input = Literal["normalized", "uint8"]
INPUTS: tuple[Input, ...] = get_args(Input)
#: The oldest and the newest opset that every operator was written in and run.
OLDEST_OPSET, NEWEST_OPSET = 18, 24
#: ONNX Runtime runs it since 1.17 and OpenVINO since 2024.
OPSET = 20


@dataclass(frozen=True)
class FileOptions:
    """How ``model.pt2`` and ``model.onnx`` are written; source and weights are the same for all of them.

    Args:
        input: What the files take: ``normalized`` float32 images, or ``uint8`` ones as they are decoded, which the
            graph normalises by itself.
        dynamic_size: Whether images of other heights and widths than the design's can be given.
        opset: Version of ONNX's operators.
    """

    input: Input = "normalized"
    dynamic_size: bool = False
    opset: int = OPSET


DEFAULT_OPTIONS = FileOptions()


def parse_options(input: str, dynamic_size: bool, opset: int | None, formats: Sequence[str]) -> FileOptions:
    """Return options that were given on a command line.

    Args:
        input: One of ``INPUTS``.
        dynamic_size: Whether other heights and widths are asked for.
        opset: Version of ONNX's operators; None for the usual one.
        formats: The formats that are written.

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
    return FileOptions(input, dynamic_size, OPSET if opset is None else opset)
