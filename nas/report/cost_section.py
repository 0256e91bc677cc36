"""What a study has cost: time by phase, and hours of the devices that it held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nas.insight.spent_time import SpentTime
from nas.report.html import section, sorted_by, table
from nas.runtime.console import duration

_PHASES = {
    "latencies": "measuring latencies",
    "teacher": "asking the teacher",
    "supernet": "training the supernet",
    "ranking": "training designs alone to judge its order",
    "search": "searching",
    "retraining": "retraining",
}
_UNITS = {"cuda": "GPU-hours", "cpu": "core-hours"}


def cost_section(spent: Sequence[SpentTime], *, supernet_unknown: bool) -> str:
    """Return the times by phase with their sum; empty where nothing is known.

    Args:
        spent: What each phase has cost.
        supernet_unknown: Whether the study trained a supernet whose time nobody recorded.
    """
    if not spent:
        return ""
    rows = [
        [
            _PHASES.get(each.phase, each.phase),
            sorted_by(each.seconds, duration(each.seconds)),
            format_device_hours(each.device_hours) or "not recorded",
            "" if each.runs is None else str(each.runs),
            each.record,
        ]
        for each in spent
    ]
    text = (
        "Time by the wall of every run, those that were interrupted included; device-hours are hours times the GPUs, "
        "or the CPU cores where there are none, that were held meanwhile, idle ones too. Exports, reports and "
        "other drivers that joined the search are not counted."
    )
    if supernet_unknown:
        text += " The supernet was trained by a version that did not record its time: the sum is without it."
    total = f"<p><b>{describe_total(spent)}</b> in all.</p>"
    return section(
        "Cost", text, total, table(["phase", "time", "device-hours", "runs", "read from"], rows, numbers=3)
    )


def describe_total(spent: Sequence[SpentTime]) -> str:
    """Return the time of all phases together, with the device-hours as far as they are known."""
    hours: dict[str, float] = {}
    for each in spent:
        for device, value in each.device_hours.items():
            hours[device] = hours.get(device, 0.0) + value
    held = format_device_hours(hours)
    return duration(sum(each.seconds for each in spent)) + (f", {held}" if held else "")


def format_device_hours(hours: Mapping[str, float]) -> str:
    """Return hours by kind of device as people read them; empty where none are known."""
    return ", ".join(
        f"{value:.2g} {_UNITS.get(device, f'{device}-hours')}" for device, value in hours.items()
    )
