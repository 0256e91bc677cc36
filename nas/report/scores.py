"""Scores as people read them: their names, and values with units."""

from __future__ import annotations

from nas.runtime.console import quantity

#: What running text and tables call a score.
NAMES = {"top1": "top-1", "macs": "MACs", "params": "parameters", "latency_ms": "latency"}

#: Titles of axes.
TITLES = {
    "top1": "top-1 on validation images (%)",
    "macs": "MACs per image",
    "params": "parameters",
    "latency_ms": "latency (ms)",
}


def format_score(name: str, value: float) -> str:
    """Return a value with its unit: ``97.25%``, ``5.1M``, ``3.2 ms``."""
    if name in ("top1", "top5"):
        return f"{value:.2f}%"
    if name == "latency_ms":
        return f"{value:.3g} ms"
    return quantity(value)


def format_named_score(name: str, value: float) -> str:
    """Return a value with the name of its score: ``top-1 97.25%``, ``5.1M MACs``."""
    text = format_score(name, value)
    return f"{text} {NAMES[name]}" if name in ("macs", "params") else f"{NAMES[name]} {text}"
