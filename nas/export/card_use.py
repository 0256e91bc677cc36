"""Sections of a model card that say how the model is used: its images, its classes, its loading, its maps."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from nas.export.preprocessing import preprocessing_text
from search_spaces.architecture import Architecture
from supernet.source_ends import PREDICTABLE

_MOST_NAMES, _SHOWN_NAMES = 30, 10


def use_sections(config: Mapping[str, Any]) -> str:
    """Return the Markdown of these sections, from the content of an export's ``config.json``."""
    sections = [
        _describe_images(config),
        _describe_use(config),
        _describe_timm(config),
        _describe_maps(config),
    ]
    return "\n".join(sections)


def classes_text(num_classes: int, names: Sequence[str]) -> str:
    """Return the number of the classes and their names, of many the first ones."""
    if not names:
        return f"{num_classes}, without names"
    shown = names if len(names) <= _MOST_NAMES else names[:_SHOWN_NAMES]
    # A name must not end the row of the table that it stands in.
    listed = ", ".join(" ".join(name.split()).replace("|", r"\|") for name in shown)
    more = len(names) - len(shown)
    return f"{num_classes}: {listed}" + (f" and {more} more, in `config.json`" if more else "")


def describe_command(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Return by which command or call the folder was made; nothing where that is not known."""
    command = provenance.get("command") or []
    text = command[0] if len(command) == 1 else shlex.join(command)
    return {"made by": f"`{text}`"} if command else {}


def _describe_images(config: Mapping[str, Any]) -> str:
    return f"""## Images

Images are {preprocessing_text(config)}. `config.json` lists these steps as `preprocessing`.
"""


def _describe_use(config: Mapping[str, Any]) -> str:
    channels, height, width = config["input_size"]
    by_file = 'predict("image.jpg")  # [(class, probability), ...], the most probable first\n'
    names = "load_model, normalise, predict" if channels in PREDICTABLE else "load_model, normalise"
    return f"""## Use

```python
from model import {names}

model = load_model()
images = normalise(pixels)  # pixels: uint8 (B, {channels}, {height}, {width})
logits = model(images)  # (B, {config["num_classes"]})
{by_file if channels in PREDICTABLE else ""}```

`nas predict DIR IMAGE...` and `nas evaluate DIR --data SPEC` do so without running `model.py`.
"""


def _describe_timm(config: Mapping[str, Any]) -> str:
    grey = config["input_size"][0] == 1
    note = '\nData sets of timm give greyscale images with `input_img_mode="L"`.\n' if grey else ""
    return f"""## With timm

```python
import timm
import nas.timm  # timm knows the network from then on

model = timm.create_model("local-dir:DIR", pretrained=True)  # num_classes=7 for a new classifier
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
```

timm's transform gives the same images where they are square and are resized to a whole number of pixels; others are
shifted by a part of a pixel.
{note}"""


def _describe_maps(config: Mapping[str, Any]) -> str:
    design = Architecture.from_json(config["model_args"]["architecture"])
    rows = "\n".join(
        f"| {number} | {stage.dim} | {down if down == across else f'{down} x {across}'} |"
        for number, (stage, (down, across)) in enumerate(zip(design.stages, design.strides(), strict=True))
    )
    return f"""## As a backbone

```python
maps = load_model().forward_intermediates(images, intermediates_only=True)
maps = timm.create_model("local-dir:DIR", pretrained=True, features_only=True)(images)  # the same
```

Each is (B, channels, H / stride, W / stride), of images (B, {config["input_size"][0]}, H, W) of any size:

| index | channels | stride |
|---|---|---|
{rows}
"""
