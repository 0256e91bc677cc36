"""Every file of an export gives the logits of the network that was exported, or there is no export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.export.card_sections import describe_sizes
from nas.export.formats import KNOWN_FORMATS, file_name, open_exported, write_file
from nas.export.graph_input import GraphInput
from nas.export.image_sizes import ImageSizes
from nas.export.onnx_metadata import add_metadata, onnx_metadata, require_metadata
from nas.export.options import DEFAULT_OPTIONS, FileOptions
from nas.export.precisions import HalfNetwork, Samples, compare_accuracy, write_precisions
from nas.export.source_module import load_source
from nas.export.target_latency import measure_targets
from search_spaces.errors import WorkError
from supernet.network import Network

#: Largest difference of logits allowed in float32, times the largest logit where that exceeds 1.
TOLERANCE = 1e-5

#: Called with what is done and all there is to do.
OnProgress = Callable[[int, int], None]


def ignore_progress(done: int, total: int) -> None:
    """Show nothing."""


def write_and_verify(
    network: Network,
    folder: Path,
    images: Tensor,
    formats: tuple[str, ...],
    config: Mapping[str, Any],
    sizes: ImageSizes,
    options: FileOptions = DEFAULT_OPTIONS,
    samples: Samples | None = None,
    on_progress: OnProgress = ignore_progress,
) -> dict[str, Any]:
    """Write the formats of an export whose source and weights are written, and compare all of it with the network.

    Args:
        network: The network, in evaluation mode on the CPU.
        folder: The export folder with ``model.py`` and its weights.
        images: Normalised images ``(B, C, H, W)``.
        formats: Formats beside source and weights.
        config: Content of its ``config.json``.
        sizes: The heights and widths that the formats should take.
        options: How they are written.
        samples: What files of fewer bits are made and judged with.
        on_progress: Called with ``(files done, files)``, the source being the first.

    Returns:
        The content of ``verification.json``: among others ``max_abs_difference`` of the logits by file.

    Raises:
        WorkError: If a file cannot be made, its logits differ, or it does not say what it should.
    """
    total = 1 + len(formats) + len(options.precisions)
    on_progress(0, total)
    source = load_source(folder)
    check = _Check(network)
    check.compare("model.py", source.load_model(), images)
    graph_input = GraphInput(options.input, tuple(config["mean"]), tuple(config["std"]))
    given = graph_input.convert(images)
    check.normalise = source.normalise if options.input == "uint8" else None
    written: dict[str, ImageSizes] = {}
    for name in (each for each in KNOWN_FORMATS if each in formats):
        on_progress(1 + len(written), total)
        path = folder / file_name(name)
        written[name] = write_file(graph_input.wrap(network), path, given, name, sizes, options.opset)
        if name == "onnx":
            properties = onnx_metadata(config, options, describe_sizes(written[name].to_json()))
            add_metadata(path, properties)
            require_metadata(path, properties, options)
        run = open_exported(path, name)
        check.compare(path.name, run, given)
        if written[name].step is not None:
            check.compare_at_other_size(path.name, run, _resize(given, sizes.other))
    measured = {}
    if options.precisions:
        if samples is None:
            raise ValueError("files of fewer bits are made and judged with images; none were given")
        on_progress(1 + len(written), total)
        half = graph_input.wrap(HalfNetwork(network))
        names = write_precisions(
            folder, half, given, graph_input.convert(samples.calibration), written, options
        )
        compared = ((graph_input.convert(batch), labels) for batch, labels in samples.compared())
        calibrated = {"calibration_images": len(samples.calibration)}
        measured["precision"] = calibrated | compare_accuracy(folder, names, compared)
    if options.targets:
        measured["latency"] = measure_targets(folder, options.targets, images, given, options.threads)
    on_progress(total, total)
    return {
        "images": list(images.shape),
        "input": options.input,
        "opset": options.opset if "onnx" in formats else None,
        "sizes": {file_name(name): each.to_json() for name, each in written.items()},
        "largest_logit": check.largest_logit,
        "allowed": check.allowed,
        "max_abs_difference": check.differences,
        "max_abs_difference_at_other_size": check.differences_at_other_size,
        **measured,
    }


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return two of the images, repeated over ``size``: what they show does not matter, their values do."""
    repeats = [-(-side // own) for side, own in zip(size, images.shape[2:], strict=True)]
    return images[:2].repeat(1, 1, *repeats)[:, :, : size[0], : size[1]].contiguous()


class _Check:
    """Compares the logits of files with those of the network.

    Args:
        network: The network, which takes normalised images.

    Attributes:
        normalise: Turns what the files take into what the network takes; None where that is the same.
        largest_logit: Largest logit of the network at its own size.
        differences: Largest difference of the logits by file.
        differences_at_other_size: The same at another height and width.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.normalise: Callable[[Tensor], Tensor] | None = None
        self.largest_logit, self.allowed = 0.0, TOLERANCE
        self.differences: dict[str, float] = {}
        self.differences_at_other_size: dict[str, float] = {}

    def compare(self, file: str, run: Callable[[Tensor], Tensor], images: Tensor) -> None:
        """Compare a file at the size that the network is for; raise where it differs."""
        expected = self._expect(images)
        self.largest_logit = max(self.largest_logit, float(expected.abs().max()))
        self.allowed = TOLERANCE * max(1.0, self.largest_logit)
        self.differences[file] = self._compare(file, run, images, expected)

    def compare_at_other_size(self, file: str, run: Callable[[Tensor], Tensor], images: Tensor) -> None:
        """Compare a file at another size; raise where it differs."""
        self.differences_at_other_size[file] = self._compare(file, run, images, self._expect(images))

    @torch.inference_mode()
    def _expect(self, images: Tensor) -> Tensor:
        return self.network(images if self.normalise is None else self.normalise(images))

    @torch.inference_mode()
    def _compare(self, file: str, run: Callable[[Tensor], Tensor], images: Tensor, expected: Tensor) -> float:
        difference = float((run(images) - expected).abs().max())
        allowed = TOLERANCE * max(1.0, self.largest_logit, float(expected.abs().max()))
        if not difference <= allowed:
            height, width = images.shape[2:]
            raise WorkError(
                f"the exported {file} differs from the subnet by {difference:.2g} (allowed {allowed:.2g}) at "
                f"{height} x {width} pixels; nothing was exported"
            )
        return difference
