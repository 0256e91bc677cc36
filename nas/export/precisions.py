"""Files of fewer bits: float16, and int8 by ONNX Runtime's quantisation.

Their logits differ from the network's by more than rounding, so it is their accuracy that is compared: on validation
images, with the file in float32, image by image. Ranges of activations are calibrated on training images. Test images
have no part in it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.export.formats import FORMATS, open_exported, write_file
from nas.export.image_sizes import ImageSizes
from nas.export.onnx_metadata import add_metadata, read_metadata
from nas.export.options import FileOptions
from nas.latency.onnx_writer import silence
from nas.runtime.error_text import first_line
from nas.runtime.uncertainty import standard_error
from search_spaces.errors import WorkError

#: Points of accuracy that a file may lose without a warning.
TOLERATED_POINTS = 1.0
#: Training images whose activations set the ranges of int8.
CALIBRATION_IMAGES = 256
#: Validation images on which accuracies are compared, at most.
COMPARED_IMAGES = 2000
_BATCH_SIZE = 32
#: Products of weights; attention's products of activations, norms and softmax stay in float32.
_QUANTISED_OPERATORS = ["Conv", "MatMul", "Gemm"]


@dataclass(frozen=True)
class Samples:
    """Images that files of fewer bits are made and judged with, normalised.

    Args:
        calibration: Training images ``(N, C, H, W)``, not augmented.
        compared: Returns batches of validation images and their classes.
    """

    calibration: Tensor
    compared: Callable[[], Iterable[tuple[Tensor, Tensor]]]


class HalfNetwork(nn.Module):
    """A network that computes in float16, between images and logits in float32.

    Args:
        network: The network; a copy of it is taken.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).half()

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images ``(B, C, H, W)`` to logits ``(B, num_classes)``."""
        logits: Tensor = self.network(images.half()).float()
        return logits


def write_int8(source: Path, path: Path, calibration: Tensor | None) -> None:
    """Write an ONNX file in int8: weights by channel, symmetric.

    Args:
        source: The file in float32.
        path: The file to write.
        calibration: Images as the file takes them, by which the ranges of activations are fixed; None to compute
            those anew for every input.

    Raises:
        WorkError: If it cannot be quantised.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = path.with_suffix(".prepared.onnx")
    common: dict[str, Any] = {
        "op_types_to_quantize": _QUANTISED_OPERATORS,
        "per_channel": True,
        "weight_type": quantization.QuantType.QInt8,
        "extra_options": {"MatMulConstBOnly": True},
    }
    try:
        with silence():
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            if calibration is None:
                quantization.quantize_dynamic(str(prepared), str(path), **common)
            else:
                quantization.quantize_static(
                    str(prepared),
                    str(path),
                    _reader(calibration),
                    quant_format=quantization.QuantFormat.QDQ,
                    activation_type=quantization.QuantType.QInt8,
                    **common,
                )
    except Exception as error:  # the tools raise what they like
        raise WorkError(
            f"ONNX Runtime could not quantise {source.name} ({first_line(error)}); leave it out with --precision"
        ) from error
    finally:
        prepared.unlink(missing_ok=True)


def _reader(images: Tensor) -> Any:
    """Return what hands the quantisation one batch of images after the other."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        """Batches, then None."""

        def __init__(self) -> None:
            self.batches = iter(images.split(_BATCH_SIZE))

        def get_next(self) -> dict[str, Any] | None:
            """Return the next batch by the name of the input."""
            batch = next(self.batches, None)
            return None if batch is None else {"images": batch.numpy()}

    return Reader()


def write_precisions(
    folder: Path,
    half: nn.Module,
    given: Tensor,
    calibration: Tensor,
    sizes: Mapping[str, ImageSizes],
    options: FileOptions,
) -> list[str]:
    """Write the files of fewer bits of an export and return their names.

    Args:
        folder: The export folder, with ``model.onnx`` in float32.
        half: What the files in float32 hold, computing in float16.
        given: Images as the files take them.
        calibration: Training images likewise.
        sizes: The heights and widths that the files in float32 take, by format.
        options: Which precisions, and how the files are written.

    Raises:
        WorkError: If one cannot be made.
    """
    written = []
    properties = read_metadata(folder / "model.onnx")
    for precision in options.precisions:
        if precision == "fp16":
            for format_name in (each for each in FORMATS if each in sizes):
                written.append(f"model.fp16.{format_name}")
                path, taken = folder / written[-1], sizes[format_name]
                write_file(half, path, given, format_name, taken, options.opset)
        else:
            written.append(f"model.{precision}.onnx")
            images = calibration if precision == "int8" else None
            write_int8(folder / "model.onnx", folder / written[-1], images)
        if written[-1].endswith(".onnx"):
            add_metadata(folder / written[-1], {**properties, "precision": precision})
    return written


def compare_accuracy(
    folder: Path, names: Sequence[str], batches: Iterable[tuple[Tensor, Tensor]]
) -> dict[str, Any]:
    """Return what files of fewer bits reach on validation images beside ``model.onnx``.

    Args:
        folder: The export folder.
        names: The files.
        batches: Images as the files take them, and their classes.

    Returns:
        ``images``, ``tolerated_points`` and by file ``top1`` in percent with its standard error, ``difference`` to the
        file in float32 in points with the standard error of paired images, ``same_class``, the share of images in
        percent that are given the same class, ``bytes``, and whether it ``loses`` more than is tolerated.

    Raises:
        WorkError: If a file cannot be run, or gives logits that are no numbers.
    """
    reference = "model.onnx"
    classes: dict[str, list[Tensor]] = {name: [] for name in (reference, *names)}
    runs = {name: open_exported(folder / name, name.rpartition(".")[2]) for name in classes}
    labels: list[Tensor] = []
    for images, targets in batches:
        labels.append(targets)
        for name, found in classes.items():
            logits = runs[name](images)
            if not bool(logits.isfinite().all()):
                raise WorkError(f"the exported {name} gives logits that are no numbers; nothing was exported")
            found.append(logits.argmax(dim=1))
    truth, predicted = torch.cat(labels), {name: torch.cat(found) for name, found in classes.items()}
    count = len(truth)
    return {
        "images": count,
        "split": "validation",
        "tolerated_points": TOLERATED_POINTS,
        "files": {
            name: _compare(found, predicted[reference], truth) | {"bytes": (folder / name).stat().st_size}
            for name, found in predicted.items()
        },
    }


def _compare(found: Tensor, reference: Tensor, truth: Tensor) -> dict[str, Any]:
    """Return the scores of classes that a file gave, beside those of the reference."""
    right, count = found == truth, len(truth)
    change = 100 * (right.double() - (reference == truth).double())
    top1, difference = 100 * float(right.double().mean()), float(change.mean())
    return {
        "top1": top1,
        "top1_se": standard_error(top1, count),
        "difference": difference,
        "difference_se": float(change.std(correction=0)) / math.sqrt(count),
        "same_class": 100 * float((found == reference).double().mean()),
        "loses": difference < -TOLERATED_POINTS,
    }
