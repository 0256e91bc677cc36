"""Hypervolumes of the samplers against evaluations and against seconds, as ``run.py`` wrote them::

    python studies/samplers/figure.py
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

RESULTS = Path(__file__).parent / "results"


def draw(content: Mapping[str, Any], file: Path) -> None:
    """Draw each bed's mean hypervolumes against evaluations and against seconds."""
    rows = len(content["beds"])
    figure, axes = pyplot.subplots(rows, 2, figsize=(12, 4.5 * rows), squeeze=False)
    for (name, bed), (left, right) in zip(content["beds"].items(), axes, strict=True):
        counts = np.arange(content["step"], bed["trials"] + 1, content["step"])
        for number, (method, runs) in enumerate(bed["runs"].items()):
            curves = np.array([run["hypervolume"] for run in runs])
            proposing = np.array([run["proposing"] for run in runs]).mean(axis=0)
            style = {"color": "black" if method == "random" else f"C{number}", "label": method}
            mean, spread = curves.mean(axis=0), curves.std(axis=0)
            left.plot(counts, mean, **style)
            left.fill_between(counts, mean - spread, mean + spread, color=style["color"], alpha=0.08, lw=0)
            right.plot(counts * bed["seconds"] + proposing, mean, **style)
        left.set(xlabel="evaluations", ylabel="hypervolume, %", title=f"{name}: mean and spread over seeds")
        right.set(xlabel="core seconds: evaluations and proposals", xscale="log", title=f"{name}: against time")
        left.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=80)
    pyplot.close(figure)


if __name__ == "__main__":
    draw(json.loads((RESULTS / "results.json").read_text(encoding="utf-8")), RESULTS / "hypervolume.png")
