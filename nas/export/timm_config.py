"""What timm needs to know of an export: the part of ``config.json`` that its ``local-dir:`` and ``hf-hub:`` read.

timm takes ``architecture`` for the name of a function, and what it is called with from ``model_args``: the design
stands there. Earlier exports have the design itself as ``architecture``, which timm cannot load.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from torch import nn

from search_spaces.architecture import Architecture
from supernet.network import Network

#: What timm calls every network of this project; `nas.timm` registers it.
TIMM_NAME: Final = "nas_network"


def timm_entries(
    network: Network,
    architecture: Architecture,
    mean: Sequence[float],
    std: Sequence[float],
    class_names: Sequence[str],
    test_crop: float,
) -> dict[str, Any]:
    """Return the entries of ``config.json`` that timm reads, by the names that timm gives them."""
    convolutions = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    return {
        "architecture": TIMM_NAME,
        "model_args": {"architecture": architecture.to_json()},
        "num_features": network.num_features,
        "feature_info": network.feature_info,
        **({"label_names": list(class_names)} if class_names else {}),
        "pretrained_cfg": {
            **input_entries(architecture),
            "interpolation": "bicubic",
            "crop_pct": test_crop,
            "crop_mode": "center",
            "mean": list(mean),
            "std": list(std),
            "first_conv": convolutions[0],
            "classifier": [name for name in ("head", "aux_head") if hasattr(network, name)],
        },
    }


def input_entries(architecture: Architecture) -> dict[str, Any]:
    """Return what timm is told of the images and classes of a design."""
    return {
        "architecture": TIMM_NAME,
        "input_size": [architecture.in_channels, *architecture.image_size],
        "fixed_input_size": False,
        "pool_size": list(architecture.maps()[-1]),
        "num_classes": architecture.num_classes,
    }
