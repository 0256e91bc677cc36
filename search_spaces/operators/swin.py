"""Swin: shifted windows with relative position bias (arXiv 2103.14030, section 3.2)."""

from __future__ import annotations

from search_spaces.operators._base import (
    Cost,
    Knob,
    Knobs,
    OperatorSpec,
    Site,
    fit_side,
    heads_misfit,
    linear_params,
    up,
)


def shift_size(knobs: Knobs) -> int:
    """Return by how many rows and columns the map is moved: half a window, or none."""
    return int(knobs["window_size"]) // 2 if knobs["shift"] == "half" else 0


def _misfit(knobs: Knobs, site: Site) -> str | None:
    window = int(knobs["window_size"])
    if why := heads_misfit(site) or fit_side("window_size", window, site):
        return why
    if shift_size(knobs) and window >= max(site.height, site.width):
        return f"a window of {window} covers {site}, so that a shift would only part it; use shift none"
    return None


def _cost(knobs: Knobs, pos: str, site: Site) -> Cost:
    dim, window = site.dim, int(knobs["window_size"])
    # Padding enters before qkv, so padded tokens are projected and attended to as well.
    padded = up(site.height, window) * up(site.width, window)
    macs = padded * 3 * dim * dim + 2 * padded * window**2 * dim + site.tokens * dim * dim
    params = linear_params(dim, 3 * dim, site.qkv_bias) + linear_params(dim, dim)
    params += (2 * window - 1) ** 2 * site.num_heads
    return Cost(macs, params, working=4 * padded * dim)


SWIN = OperatorSpec(
    name="swin",
    letter="S",
    summary="attention inside windows of window_size x window_size, shifted by half a window or not",
    paper="Swin, arXiv 2103.14030",
    knobs={"window_size": Knob(minimum=2), "shift": Knob(kind=str, allowed=("none", "half"))},
    # The relative position bias is a part of the operator: a block always says so. LSA is the one without.
    pos=("rpe",),
    misfit=_misfit,
    cost=_cost,
    short={"window_size": "w", "shift": "s"},
)
