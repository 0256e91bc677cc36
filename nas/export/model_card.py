"""The model card of an export: its ``README.md``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.export.formats import FORMATS
from nas.runtime.console import quantity

_FILES = {
    "model.py": "the network as readable source; imports torch, and safetensors to read the weights",
    "model.safetensors": "its weights",
    "config.json": "design, input, normalisation, classes, metrics, provenance",
    "model.pt2": "`torch.export` program, any batch size",
    "model.onnx": "ONNX file, any batch size",
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
    metrics = "\n".join(f"| {name} | {_format_value(value)} |" for name, value in config["metrics"].items())
    absent = {f"model.{name}" for name in set(FORMATS) - set(formats)}
    files = "\n".join(f"- `{file}`: {content}" for file, content in _FILES.items() if file not in absent)
    by_file = verification["max_abs_difference"]
    differences = ", ".join(f"`{file}` {value:.1e}" for file, value in by_file.items())
    return f"""# {config["name"]}

An image classifier {description}.

| | |
|---|---|
| design | `{config["digest"]}` |
| input | {channels} x {height} x {width}, normalised with mean {config["mean"]} and std {config["std"]} |
| classes | {config["num_classes"]} |
| parameters | {config["params"]:,} |
| MACs | {quantity(config["macs"])} an image |
{metrics}

Blocks, stage by stage: `{config["design"]}`

## Use

```python
from model import load_model, normalise

logits = load_model()(normalise(images))  # images: uint8 (B, {channels}, {height}, {width})
```

## Files

{files}

Largest difference of the logits to the network that was exported: {differences}.
"""


def _format_value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
