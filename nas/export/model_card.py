"""The model card of an export: its ``README.md``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.export.card_sections import files_section
from nas.export.card_use import classes_text, describe_command, use_sections
from nas.export.formats import KNOWN_FORMATS, file_name
from nas.runtime.console import quantity
from nas.runtime.uncertainty import Accuracy, error_fields

_FILES = {
    "model.py": "the network as readable source; imports torch, and safetensors to read the weights",
    "model.safetensors": "its weights",
    "config.json": "design, preprocessing, classes, metrics, provenance, and what timm reads",
    "model.pt2": "`torch.export` program, any batch size",
    "model.onnx": "ONNX file, any batch size",
    "model.xml": "OpenVINO file, any batch size; its weights are in `model.bin`",
    "verification.json": "differences to the network that was exported, measured when this folder was made",
}


def model_card(
    config: Mapping[str, Any], verification: Mapping[str, Any], formats: tuple[str, ...], description: str
) -> str:
    """Return the Markdown of an export's model card.

    Args:
        config: Content of its ``config.json``.
        verification: Content of its ``verification.json``.
        formats: Formats beside source and weights.
        description: What kind of image classifier it is.
    """
    channels, height, width = config["input_size"]
    rows = _metric_rows(config["metrics"]) | describe_command(config["provenance"])
    metrics = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    absent = {file_name(name) for name in set(KNOWN_FORMATS) - set(formats)}
    files = "\n".join(f"- `{file}`: {content}" for file, content in _FILES.items() if file not in absent)
    by_file = verification["max_abs_difference"]
    differences = ", ".join(f"`{file}` {value:.1e}" for file, value in by_file.items())
    return f"""# {config["name"]}

An image classifier {description}.

| | |
|---|---|
| design | `{config["digest"]}` |
| input | {channels} x {height} x {width} |
| classes | {classes_text(config["num_classes"], config["class_names"])} |
| parameters | {config["params"]:,} |
| MACs | {quantity(config["macs"])} an image |
{metrics}

Blocks, stage by stage: `{config["design"]}`

{use_sections(config)}
## Files

{files}

Largest difference of the logits to the network that was exported: {differences}.
{files_section(verification)}"""


def accuracy_metrics(split: str, accuracy: Accuracy) -> dict[str, Any]:
    """Return what ``config.json`` says of an accuracy on the ``test`` or ``validation`` images."""
    errors = error_fields("top1", accuracy.top1, accuracy.images)
    values = (accuracy.top1, errors["top1_se"], errors["top1_interval"], accuracy.images)
    return dict(zip(_accuracy_names(split), values, strict=True))


def _accuracy_names(split: str) -> tuple[str, str, str, str]:
    return (
        f"top-1 on the {split} images (%)",
        f"standard error on the {split} images (points)",
        f"95% interval on the {split} images (%)",
        f"{split} images",
    )


def _metric_rows(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return metrics as rows, with an accuracy, its error and its images in one."""
    rows, left = {}, dict(metrics)
    for split in ("test", "validation"):
        top1, *rest = _accuracy_names(split)
        if top1 in left:
            accuracy = Accuracy(left.pop(top1), left.get(rest[-1]))
            rows[top1.removesuffix(" (%)")] = f"{accuracy}" + (
                f" of {accuracy.images:,}" if accuracy.images else ""
            )
            for name in rest:
                left.pop(name, None)
    return rows | {name: _format_value(value) for name, value in left.items()}


def _format_value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
