"""Teachers of timm: pretrained ones, and those whose weights lie in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nas.runtime.documents import read_json
from nas.runtime.error_text import first_line
from nas.training.teacher import Teacher, make_teacher
from nas.training.weight_files import read_weights
from search_spaces.errors import CheckpointError, RequestError, nearest


def read_timm_teacher(name: str, file: Path | None) -> Teacher:
    """Return a network of timm as a teacher.

    Its images are those that timm knows it to want; a ``config.json`` beside the file, as timm writes it for the
    Hugging Face hub, says otherwise where a network was trained on others.

    Args:
        name: What timm calls it, with or without the tag of its weights.
        file: Its weights, safetensors or torch (which is read without running code of it); None lets timm fetch them.

    Raises:
        RequestError: If timm has no such network.
        CheckpointError: If its weights cannot be fetched or read, or are of another network.
    """
    import timm  # takes seconds

    if not timm.is_model(name):
        known = timm.list_models()
        raise RequestError(f"--teacher timm:{name}: timm has no such network ({_nearest_of(name, known)})")
    if file is None:
        network, shown = _fetch(name), f"timm:{name}"
        config: dict[str, Any] = {}
    else:
        network, config = _read(name, file)
        shown = f"timm:{name}={file}"
    wanted = {**network.pretrained_cfg, **config}
    channels, height, width = map(int, wanted["input_size"])
    return make_teacher(
        shown,
        network,
        f"timm:{name.partition('.')[0]}",
        (channels, height, width),
        tuple(map(float, wanted["mean"])),
        tuple(map(float, wanted["std"])),
        int(network.num_classes),
        tuple(config.get("label_names") or ()),
        count_macs(network, (channels, height, width)),
    )


def count_macs(network: nn.Module, input_size: tuple[int, int, int]) -> int:
    """Return the multiply-adds of a network for one image."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, *input_size))
    return int(counter.get_total_flops()) // 2


def _fetch(name: str) -> Any:
    import timm

    try:
        return timm.create_model(name, pretrained=True)
    except Exception as error:  # whatever the hub, its cache or the network may raise
        raise CheckpointError(
            f"the pretrained weights of --teacher timm:{name} cannot be fetched ({first_line(error)}); give them as "
            f"timm:{name}=FILE"
        ) from None


def _read(name: str, file: Path) -> tuple[Any, dict[str, Any]]:
    """Return a network with the weights of a file, and what ``config.json`` beside it says of its images."""
    import timm

    weights = read_weights(file)
    classifier = timm.get_pretrained_cfg_value(name, "classifier") or "head"
    head = weights.get(f"{classifier if isinstance(classifier, str) else classifier[0]}.weight")
    if head is None:
        raise CheckpointError(
            f"{file} has no classifier ({classifier}.weight), so it cannot teach; give weights of timm's {name} with "
            "its head"
        )
    network = timm.create_model(name, num_classes=int(head.shape[0]))
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        *_, last = str(error).splitlines()
        raise CheckpointError(f"{file} does not hold the weights of timm's {name} ({last.strip()})") from None
    path = file.parent / "config.json"
    if not path.is_file():
        return network, {}
    content = read_json(path)
    if not isinstance(content, dict) or content.get("architecture") != name.partition(".")[0]:
        return network, {}
    names = content.get("label_names") or content.get("pretrained_cfg", {}).get("label_names")
    return network, {**content.get("pretrained_cfg", {}), "label_names": names}


def _nearest_of(name: str, known: list[str]) -> str:
    # The whole list, which `nearest` gives, is of a thousand names.
    hint = nearest(name, known).partition("; ")[2]
    return hint or "timm.list_models() lists them"
