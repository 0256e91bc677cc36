"""Sections of a model card that say what its files take and give, from what was verified of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.runtime.console import log
from nas.runtime.uncertainty import format_accuracy

_INPUTS = {
    "normalized": "normalised float32 images, as `normalise` of `model.py` returns them",
    "uint8": "uint8 images as they are decoded, which they normalise by themselves; `model.py` takes normalised ones",
}


def files_section(verification: Mapping[str, Any]) -> str:
    """Return what is to be known of the files beside the source; empty where there is none.

    Args:
        verification: Content of the export's ``verification.json``.
    """
    sizes: Mapping[str, Mapping[str, Any]] = verification.get("sizes", {})
    if not sizes:
        return ""
    other = verification["max_abs_difference_at_other_size"]
    lines = [
        f"- `{file}`: {describe_sizes(each)}"
        + (f"; difference at another size {other[file]:.1e}" if file in other else "")
        for file, each in sizes.items()
    ]
    opset = verification["opset"]
    text = f"""
Input `images` of {" and ".join(f"`{file}`" for file in sizes)}: (B, C, H, W), {_INPUTS[verification["input"]]}.
Output `logits`: (B, classes). Heights and widths:

{chr(10).join(lines)}
"""
    if opset is not None:
        text += f"""
`model.onnx` has opset {opset}, and in its metadata the names of the classes and how images are prepared.
"""
    if "precision" in verification:
        text += _precision_table(verification["precision"])
    if "latency" in verification:
        text += _latency_table(verification["latency"])
    return text


def say_what_is_lost(verification: Mapping[str, Any]) -> None:
    """Log which files take fewer sizes than was asked for, and which lose more accuracy than is tolerated."""
    for file, sizes in verification["sizes"].items():
        if sizes.get("why_fixed"):
            log.say(f"{file} takes {describe_sizes(sizes)}")
    for sentence in _losses(verification.get("precision", {"files": {}})):
        log.say(f"warning   {sentence}")


def _losses(precision: Mapping[str, Any]) -> list[str]:
    """Return a sentence for every file that loses more accuracy than is tolerated."""
    return [
        f"{file} loses {-each['difference']:.1f} ± {each['difference_se']:.1f} points of accuracy on the validation "
        f"images, more than {precision['tolerated_points']:g}"
        for file, each in precision["files"].items()
        if each["loses"]
    ]


def _precision_table(precision: Mapping[str, Any]) -> str:
    """Return the section on files of fewer bits."""
    rows = "\n".join(
        f"| `{file}` | {format_accuracy(each['top1'], precision['images'])} | {each['difference']:+.2f} ± "
        f"{each['difference_se']:.2f} | {each['same_class']:.1f}% | {each['bytes']:,} |"
        for file, each in precision["files"].items()
    )
    losses = "".join(f"\n**{sentence}.**\n" for sentence in _losses(precision))
    calibrated = ""
    if "model.int8.onnx" in precision["files"]:
        calibrated = (
            f" Ranges of `model.int8.onnx` are those of {precision['calibration_images']:,} training images."
        )
    return f"""
## Fewer bits

Top-1 on {precision["images"]:,} validation images, and its difference to `model.onnx` in points with the standard error
of pairs; no test image was seen.{calibrated}

| file | top-1 | difference | same class | bytes |
|---|---|---|---|---|
{rows}
{losses}"""


def _latency_table(latency: Mapping[str, Any]) -> str:
    """Return the section on the latency of the files, side by side."""
    threads = "1 thread" if latency["threads"] == 1 else f"{latency['threads']} threads"
    height, width = latency["image_size"]
    rows = "\n".join(
        f"| `{each['file']}` | {each['runtime']} {each['version']} | {each['median_ms']:.3g} | "
        f"{each['quartiles_ms'][0]:.3g}-{each['quartiles_ms'][1]:.3g} |"
        for each in latency["results"]
    )
    return f"""
## Latency

One image of {height} x {width} on {latency["device"]} with {threads}, in turn over {latency["rounds"]} rounds:

| file | runtime | median ms | quartiles |
|---|---|---|---|
{rows}
"""


def describe_sizes(sizes: Mapping[str, Any]) -> str:
    """Return in words which heights and widths a file takes."""
    if sizes["multiples_of"] is not None:
        return (
            f"height and width any multiples of {sizes['multiples_of']} pixels, at least {sizes['smallest']}"
        )
    height, width = sizes["own"]
    why = sizes.get("why_fixed")
    return f"{height} x {width} pixels only" + (f" ({why})" if why else "")
