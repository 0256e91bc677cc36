"""Latency of any design of a space, from a table of its parts that is measured once on a device.

A design's latency is predicted as the sum of its stem, downsamplings, blocks and head. Each of them is
measured as the static part that a subnet holds: the supernet's layers slice their weights first, which
would be measured with them. A part that runs over and over keeps caches to itself that it shares with the
others in a network, so a few whole networks are measured beside the parts, and the entries are scaled until
their sums meet them.
"""

from __future__ import annotations

import itertools
import json
import math
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from nas.latency.timing import seconds_of
from nas.runtime.console import log
from nas.runtime.provenance import provenance
from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.checks import is_number
from search_spaces.errors import CheckpointError, RequestError
from search_spaces.operators import FeatureMap
from search_spaces.skeleton import Style
from search_spaces.space import Space
from supernet.blueprint import Call, call
from supernet.subnet import (
    block_blueprint,
    downsample_blueprint,
    ends_blueprint,
    initialise,
    network_blueprint,
    stem_blueprint,
)

FORMAT = 1

_WHOLES = 6  # whole networks measured beside the parts


@dataclass(frozen=True)
class Part:
    """A piece of a network that is measured by itself.

    Args:
        name: What it is called in a table; parts with one name are the same.
        blueprint: What makes its static module.
        shape: Its input for one image: ``(C, H, W)`` of a stem, ``(H, W, C)`` of all others.
    """

    name: str
    blueprint: Call
    shape: tuple[int, int, int]


class _GivenMaps(nn.Module):
    """A block that takes attention maps, with maps to take.

    Args:
        block: The block.
        num_heads: Its heads.
        tokens: Its positions N.
    """

    maps: Tensor

    def __init__(self, block: nn.Module, num_heads: int, tokens: int) -> None:
        super().__init__()
        self.block = block
        self.register_buffer("maps", torch.full((1, num_heads, tokens, tokens), 1 / tokens))

    @classmethod
    def around(cls, block: Block, feature_map: FeatureMap, style: Style) -> Call:
        """Return what makes ``block`` at ``feature_map`` so that it runs by itself."""
        return call(
            cls,
            block_blueprint(block, feature_map, style, shares_attention=True),
            feature_map.num_heads,
            feature_map.tokens,
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x, self.maps.expand(x.shape[0], -1, -1, -1))[0]


def parts(architecture: Architecture) -> Iterator[Part]:
    """Yield every part of the network of ``architecture``, first to last; equal parts as often as they occur."""
    style, stages, maps = architecture.style, architecture.stages, architecture.maps()
    channels, (height, width) = architecture.in_channels, architecture.image_size
    yield Part(
        f"stem {architecture.stem} on {height}x{width}x{channels} to {stages[0].dim}",
        stem_blueprint(architecture.stem, channels, architecture.feature_map(0), style),
        (channels, height, width),
    )
    for index, stage in enumerate(stages):
        if stage.downsample is not None:
            dim, (height, width) = stages[index - 1].dim, maps[index - 1]
            yield Part(
                f"downsample {stage.downsample} on {height}x{width}x{dim} to {stage.dim}",
                downsample_blueprint(stage.downsample, dim, stage.dim),
                (height, width, dim),
            )
        feature_map = architecture.feature_map(index)
        # A sequence with a class token is a map of one row.
        height, width = (1, feature_map.tokens) if feature_map.class_token else maps[index]
        for block in stage.blocks:
            # Not str(block): its short spelling is for people and need not tell all blocks apart.
            spelled = " ".join(f"{key}={value}" for key, value in block.to_json().items())
            yield Part(
                f"block {spelled} on {height}x{width}x{stage.dim} num_heads={stage.num_heads}",
                _GivenMaps.around(block, feature_map, style)
                if block.needs_previous_attention
                else block_blueprint(block, feature_map, style),
                (height, width, stage.dim),
            )
    last = stages[-1].dim
    yield Part(
        f"head on {height}x{width}x{last} to {architecture.num_classes}",
        ends_blueprint(last, architecture.num_classes, style),
        (height, width, last),
    )


def all_parts(space: Space) -> tuple[Part, ...]:
    """Return every distinct part that some design of ``space`` has."""
    found: dict[str, Part] = {}
    for stem, *downsamples in itertools.product(space.stems, *(s.downsamples for s in space.stages[1:])):
        # One design a skeleton that holds, beyond any depth of the space, all blocks its stages may have.
        everything = Architecture(
            tuple(
                Stage(stage.dim, stage.num_heads, stage.blocks, downsample)
                for stage, downsample in zip(space.stages, (None, *downsamples), strict=True)
            ),
            space.image_size,
            space.in_channels,
            space.num_classes,
            stem,
            space.style,
        )
        found |= {part.name: part for part in parts(everything)}
    return tuple(found.values())


def whole(architecture: Architecture) -> Part:
    """Return the network of ``architecture`` as a part."""
    return Part(
        f"network {architecture.digest}",
        network_blueprint(architecture),
        (architecture.in_channels, *architecture.image_size),
    )


@dataclass(frozen=True)
class LatencyTable:
    """What every part of a space takes on one device.

    Args:
        entries: Milliseconds by part; of a whole batch.
        device: Name of the device.
        dtype: Type that weights and activations had, as in ``float32``.
        batch: Images in a batch.
        image_size: Height and width of the images in pixels.
        space: Digest of the space.
        provenance: Where the measurements came from.
    """

    entries: Mapping[str, float]
    device: str
    dtype: str
    batch: int
    image_size: tuple[int, int]
    space: str
    provenance: Mapping[str, Any]

    def latency_ms(self, architecture: Architecture) -> float:
        """Return the predicted latency of a batch in milliseconds.

        Raises:
            RequestError: If the architecture has a part that was not measured.
        """
        try:
            return math.fsum(self.entries[part.name] for part in parts(architecture))
        except KeyError as missing:
            raise RequestError(
                f"the latency table of space {self.space} has no {missing.args[0]}, which design "
                f"{architecture.digest} needs; measure a table of that design's space"
            ) from None

    def to_json(self) -> dict[str, object]:
        """Return a plain object that ``from_json`` reads back to an equal table."""
        return {
            "format": FORMAT,
            "device": self.device,
            "dtype": self.dtype,
            "batch": self.batch,
            "image_size": list(self.image_size),
            "space": self.space,
            "latency_ms": dict(self.entries),
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_json(cls, value: object) -> LatencyTable:
        """Read what ``to_json`` wrote.

        Raises:
            CheckpointError: If it is something else.
        """
        if not isinstance(value, Mapping) or not isinstance(value.get("latency_ms"), Mapping):
            raise CheckpointError("not a latency table")
        if value.get("format") != FORMAT:
            raise CheckpointError(f"a latency table of format {value.get('format')!r}, not {FORMAT}")
        for name, kind in (("device", str), ("dtype", str), ("space", str), ("batch", int)):
            if not isinstance(value.get(name), kind):
                raise CheckpointError(f"a latency table whose '{name}' is {value.get(name)!r}")
        size = value.get("image_size")
        if not isinstance(size, list) or len(size) != 2 or not all(isinstance(side, int) for side in size):
            raise CheckpointError(f"a latency table whose 'image_size' is {size!r}, not [height, width]")
        for name, entry in value["latency_ms"].items():
            if not is_number(entry) or not 0 < entry < math.inf:
                raise CheckpointError(f"a latency table that gives '{name}' {entry!r} ms")
        if not isinstance(value.get("provenance"), Mapping):
            raise CheckpointError("a latency table without 'provenance'")
        return cls(
            entries={name: float(entry) for name, entry in value["latency_ms"].items()},
            device=value["device"],
            dtype=value["dtype"],
            batch=value["batch"],
            image_size=(size[0], size[1]),
            space=value["space"],
            provenance=dict(value["provenance"]),
        )

    def __str__(self) -> str:
        images = "1 image" if self.batch == 1 else f"{self.batch} images"
        return f"{images} of {self.image_size[0]}x{self.image_size[1]} px in {self.dtype} on {self.device}"


def read_table(path: Path, space: Space) -> LatencyTable:
    """Read a table of ``space``; one of a device that this machine does not have is used with a warning.

    Raises:
        CheckpointError: If the file is absent or no latency table.
        RequestError: If it is the table of another space.
    """
    try:
        table = LatencyTable.from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise CheckpointError(
            f"cannot read the latency table {path} ({error.strerror}); check the path"
        ) from None
    except ValueError:
        raise CheckpointError(f"{path} is truncated or not JSON; give a latency.json of a search") from None
    except CheckpointError as error:
        raise CheckpointError(
            f"{path} is {error}; give a latency.json of a search, or measure it anew"
        ) from None
    if table.space != space.digest:
        raise RequestError(
            f"{path} is the latency table of space {table.space} ({table.image_size[0]}x{table.image_size[1]} px), "
            f"not of {space.name}/{space.scale} ({space.digest}); measure one of this space, images and classes"
        )
    if table.device not in _devices_here():
        log.say(f"latencies are those of {table.device}, which is not in this machine ({path})")
    return table


def device_name(device: torch.device) -> str:
    """Return what a table calls ``device``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.processor() or platform.machine()}, 1 thread"


def _devices_here() -> set[str]:
    gpus = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    return {device_name(device) for device in (torch.device("cpu"), *gpus)}


def measure(
    space: Space,
    device: torch.device,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[int, int], None] | None = None,
) -> LatencyTable:
    """Measure every distinct part of ``space``.

    Parts are timed in turn, round after round (``timing.py``); a part's latency is the median over the rounds,
    scaled as the whole networks ask for (``provenance`` says by how much). A CPU is measured with one thread: small
    maps do not gain from more, and its latencies do not depend on what else uses the other cores.

    Args:
        space: What to measure.
        device: Where.
        batch: Images at once.
        dtype: Type of weights and activations.
        progress: Told ``(done, total)`` timings.

    Raises:
        Interrupted: If the user asked to stop.
    """
    return tabled(space, time_parts(needed(space), device, batch, dtype, progress), device, batch, dtype)


def needed(space: Space) -> list[Part]:
    """Return what has to be timed for the table of ``space``: all its parts, and the networks they are scaled by."""
    return [*all_parts(space), *map(whole, _scaling(space))]


def _scaling(space: Space) -> list[Architecture]:
    rng = Random(0)
    return [space.sample(rng) for _ in range(_WHOLES)]


def tabled(
    space: Space,
    times: Mapping[str, float],
    device: torch.device,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
) -> LatencyTable:
    """Return the table of ``space`` that ``times`` make.

    Args:
        space: What was measured.
        times: What ``time_parts`` found for all that is ``needed``, in milliseconds.
        device: Where.
        batch: Images at once.
        dtype: Type of weights and activations.
    """
    factor = whole_over_parts(times, _scaling(space))
    return LatencyTable(
        entries={part.name: factor * times[part.name] for part in all_parts(space)},
        device=device_name(device),
        dtype=str(dtype).removeprefix("torch."),
        batch=batch,
        image_size=space.image_size,
        space=space.digest,
        provenance={**provenance(0, []), "whole_over_parts": factor},
    )


def whole_over_parts(times: Mapping[str, float], designs: Iterable[Architecture]) -> float:
    """Return how much longer whole networks take than the sum of their parts: the median over ``designs``.

    Args:
        times: Milliseconds by name, of the designs' parts and of their networks.
        designs: What to compare.
    """
    return median(
        times[whole(design).name] / math.fsum(times[part.name] for part in parts(design))
        for design in designs
    )


def time_parts(
    found: Sequence[Part],
    device: torch.device,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Return what every part takes in milliseconds, by name; arguments as those of ``measure``.

    Raises:
        Interrupted: If the user asked to stop.
    """
    # What is built and what goes in decide the time: parts that agree in both are measured once.
    key = {part.name: (repr(part.blueprint), part.shape) for part in found}
    distinct = {key[part.name]: part for part in found}

    def made(part: Part) -> tuple[nn.Module, Tensor]:
        module: nn.Module = part.blueprint.build()
        initialise(module)
        inputs = torch.randn(batch, *part.shape)
        return module.eval().to(device, dtype), inputs.to(device, dtype)

    threads = torch.get_num_threads()
    # The weights' values do not matter, but drawing them may not change what is drawn after.
    with torch.random.fork_rng(devices=()), torch.inference_mode():
        torch.set_num_threads(1)
        try:
            runs = {content: partial(made, part) for content, part in distinct.items()}
            times = seconds_of(runs, device, progress or (lambda done, total: None))
        finally:
            torch.set_num_threads(threads)
    return {name: 1e3 * times[content] for name, content in key.items()}
