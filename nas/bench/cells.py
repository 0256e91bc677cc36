"""Measurements as people read them: the text of a table's cells, or of a line where nothing draws tables."""

from __future__ import annotations

from dataclasses import dataclass

from nas.bench.measurement import Measurement
from nas.runtime.console import quantity


@dataclass(frozen=True)
class Cells:
    """One measurement as people read it, empty where there is nothing to say.

    Args:
        name: What was measured.
        against: What the other side is.
        unit: Of both values.
        ours: Our value.
        theirs: The other side's.
        ratio: Ratio and quartiles.
        target: Target of the ratio, and whether it is met.
        memory: Our peak memory by theirs, and whether its target is met.
        macs: Multiply-accumulates of a call.
        peak: Peak memory of both sides.
    """

    name: str
    against: str
    unit: str
    ours: str
    theirs: str
    ratio: str
    target: str
    memory: str
    macs: str
    peak: str


def to_cells(measurement: Measurement) -> Cells:
    """Return the text of the cells of one measurement."""
    macs, peak = measurement.details.get("macs"), measurement.details.get("peak_bytes")
    return Cells(
        name=measurement.name,
        against=measurement.against,
        unit=measurement.unit,
        ours=quantity(measurement.ours),
        theirs="" if measurement.theirs is None else quantity(measurement.theirs),
        ratio=_format_ratio(measurement),
        target=""
        if measurement.target is None
        else f"{measurement.target} {_verdict(measurement.target_met)}",
        memory=_format_memory(measurement),
        macs="" if macs is None else quantity(macs),
        peak="" if peak is None else f"{quantity(peak['ours'], 'B')} / {quantity(peak['theirs'], 'B')}",
    )


def to_line(cells: Cells) -> str:
    """Return a measurement as one line of text.

    Args:
        cells: Of the measurement.
    """
    what = f"{cells.name}; against {cells.against}" if cells.against else cells.name
    said = {"ratio": cells.ratio, "target": cells.target, "memory": cells.memory}
    return ", ".join(
        [f"{what}: {to_values(cells)}", *(f"{name} {text}" for name, text in said.items() if text)]
    )


def to_values(cells: Cells) -> str:
    """Return the values of both sides, or of the only one, with their unit.

    Args:
        cells: Of a measurement.
    """
    return f"{cells.ours} / {cells.theirs} {cells.unit}" if cells.theirs else f"{cells.ours} {cells.unit}"


def _format_ratio(measurement: Measurement) -> str:
    ratio = "" if measurement.ratio is None else f"{measurement.ratio:.2f}"
    if measurement.quartiles is not None:
        ratio += f" ({measurement.quartiles[0]:.2f}-{measurement.quartiles[1]:.2f})"
    return ratio


def _format_memory(measurement: Measurement) -> str:
    ratio = "" if measurement.memory_ratio is None else f"{measurement.memory_ratio:.2f}"
    if measurement.memory_target is None:
        return ratio
    return f"{ratio} {_verdict(measurement.memory_target_met)}"


def _verdict(met: bool | None) -> str:
    return "met" if met else "missed"
