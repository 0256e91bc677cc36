"""The function that timm calls to make a network of this project."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from typing import Any

from timm.models import build_model_with_cfg, register_model
from torch import nn

from nas.export.timm_config import TIMM_NAME, input_entries
from nas.study.designs import TRUST
from search_spaces.architecture import Architecture
from search_spaces.errors import RequestError
from supernet.network import Network
from supernet.subnet import build_subnet


@register_model
def nas_network(pretrained: bool = False, architecture: object = None, **arguments: Any) -> nn.Module:
    """Return a network of this project, as ``timm.create_model`` asks for it.

    Args:
        pretrained: Whether weights are loaded, which are in the folder.
        architecture: The JSON of the design; timm finds it in the folder's ``config.json``.
        arguments: What ``timm.create_model`` takes: ``num_classes``, ``in_chans``, ``drop_path_rate``,
            ``features_only`` with ``out_indices``, and what it adds itself.

    Raises:
        RequestError: If no design is given, or dropout before the classifier is asked for.
        ArchitectureError: If the design cannot be built.
    """
    if architecture is None:
        raise RequestError(
            f"{TIMM_NAME} is built from a design; load an export with timm.create_model('local-dir:FOLDER')"
        )
    design = Architecture.from_json(architecture, trusted=os.environ.get(TRUST) == "1")
    if not arguments.get("pretrained_cfg"):
        arguments["pretrained_cfg"] = input_entries(design)
    return build_model_with_cfg(
        partial(_build, design),
        TIMM_NAME,
        pretrained,
        feature_cfg={"out_indices": tuple(range(len(design.stages))), "feature_cls": "getter"},
        **arguments,
    )


def _build(
    design: Architecture,
    num_classes: int,
    in_chans: int,
    drop_path_rate: float = 0.0,
    drop_rate: float = 0.0,
    global_pool: str | None = None,
) -> Network:
    """Return a network for other classes, channels or stochastic depth, with the argument names of timm."""
    if drop_rate:
        raise RequestError(
            f"{TIMM_NAME} has no dropout before its classifier (drop_rate={drop_rate}); give drop_path_rate"
        )
    fitting = replace(design, in_channels=in_chans, num_classes=num_classes or design.num_classes)
    network = build_subnet(fitting, drop_path_rate)
    if not num_classes or global_pool is not None:
        network.reset_classifier(num_classes, global_pool)
    network.in_chans = in_chans  # type: ignore[assignment]  # timm asks for it
    return network
