"""Latency of any design of a space, from a table of its parts that is measured once on a device.

A design's latency is predicted as the sum of its stem, downsamplings, blocks and head. Each of them is
measured as the static part that a subnet holds: the supernet's layers slice their weights first, which
would be measured with them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nas.latency.parts import timed_part, timed_parts
from nas.latency.runtime_names import RUNTIMES, Runtime
from nas.runtime.console import log
from nas.runtime.device import gpu_names, hardware_name
from nas.runtime.documents import read_json
from search_spaces.architecture import Architecture
from search_spaces.checks import is_number
from search_spaces.errors import CheckpointError, RequestError, StudyError
from search_spaces.skeleton import Style
from search_spaces.space import Space
from search_spaces.walk import Part

FORMAT = 1


@dataclass(frozen=True)
class LatencyTable:
    """The latency of every part of a space on one device.

    Args:
        entries: Milliseconds of a whole batch, by the name of the part.
        device: Name of the device.
        dtype: Type that weights and activations had, as in ``float32``.
        batch: Images in a batch.
        image_size: Height and width of the images in pixels.
        space: Digest of the space.
        provenance: Where the measurements came from.
        runtime: What ran the parts.
    """

    entries: Mapping[str, float]
    device: str
    dtype: str
    batch: int
    image_size: tuple[int, int]
    space: str
    provenance: Mapping[str, Any]
    runtime: Runtime = "torch"

    def latency_ms(self, architecture: Architecture) -> float:
        """Return the predicted latency of a batch in milliseconds.

        Raises:
            RequestError: If the architecture has a part that was not measured.
        """
        try:
            return math.fsum(self.entries[part.name] for part in timed_parts(architecture))
        except KeyError as missing:
            raise RequestError(
                f"the latency table of space {self.space} has no {missing.args[0]}, which design "
                f"{architecture.digest} needs; measure a table of that design's space"
            ) from None

    def part_ms(self, part: Part, style: Style) -> float:
        """Return the latency of one part of an architecture of that style in milliseconds.

        Raises:
            RequestError: If it was not measured.
        """
        name = timed_part(part, style).name
        if name not in self.entries:
            raise RequestError(
                f"the latency table of space {self.space} has no {name}; measure a table of the space that is searched"
            )
        return self.entries[name]

    def to_json(self) -> dict[str, object]:
        """Return a plain object that ``from_json`` reads back to an equal table."""
        return {
            "format": FORMAT,
            "device": self.device,
            "dtype": self.dtype,
            "batch": self.batch,
            "image_size": list(self.image_size),
            "space": self.space,
            "runtime": self.runtime,
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
        runtime = value.get("runtime", "torch")  # the only one that early tables were measured in
        if runtime not in RUNTIMES:
            raise CheckpointError(f"a latency table whose 'runtime' is {runtime!r}")
        return cls(
            entries={name: float(entry) for name, entry in value["latency_ms"].items()},
            device=value["device"],
            dtype=value["dtype"],
            batch=value["batch"],
            image_size=(size[0], size[1]),
            space=value["space"],
            provenance=dict(value["provenance"]),
            runtime=runtime,
        )

    def __str__(self) -> str:
        images = "1 image" if self.batch == 1 else f"{self.batch} images"
        where = self.device if self.runtime == "torch" else f"{self.device}, by {self.runtime}"
        return f"{images} of {self.image_size[0]}x{self.image_size[1]} px in {self.dtype} on {where}"


def read_table(path: Path, space: Space, runtime: str = "torch") -> LatencyTable:
    """Read a table of ``space``; one of a device that this machine does not have is used with a warning.

    Args:
        path: The file.
        space: What is searched.
        runtime: What the latencies are wanted of.

    Raises:
        CheckpointError: If the file is absent or no latency table.
        RequestError: If it is the table of another space or another runtime.
    """
    try:
        table = LatencyTable.from_json(read_json(path))
    except StudyError as error:
        raise CheckpointError(f"{error}; give a latency.json of a search") from None
    except CheckpointError as error:
        raise CheckpointError(
            f"{path} is {error}; give a latency.json of a search, or measure it anew"
        ) from None
    if table.space != space.digest:
        raise RequestError(
            f"{path} is the latency table of space {table.space} ({table.image_size[0]}x{table.image_size[1]} px), "
            f"not of {space.name}/{space.scale} ({space.digest}); measure one of this space, images and classes"
        )
    if table.runtime != runtime:
        raise RequestError(
            f"{path} has latencies of {table.runtime}, but those of {runtime} are wanted; give "
            f"--latency-runtime {table.runtime}, or a table of nas bench latency --runtime {runtime}"
        )
    if not _is_here(table.device):
        log.say(f"latencies are those of {table.device}, which is not in this machine ({path})")
    return table


def device_name(device: torch.device) -> str:
    """Return what a table calls ``device``."""
    name = hardware_name(device)
    return name if device.type == "cuda" else f"{name}, 1 thread"


def _is_here(name: str) -> bool:
    return name == device_name(torch.device("cpu")) or name in gpu_names()
