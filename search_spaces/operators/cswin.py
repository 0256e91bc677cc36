"""CSWin: cross-shaped window attention in stripes (arXiv 2107.00652, sections 3.2 and 3.3)."""

from __future__ import annotations

from search_spaces.operators._base import (
    Cost,
    Knob,
    Knobs,
    OperatorSpec,
    Site,
    heads_misfit,
    linear_params,
    up,
)


def covers(stripe_width: int, site: Site) -> bool:
    """Return whether one stripe covers the whole map, which makes it a single full-attention branch."""
    return stripe_width >= max(site.height, site.width)


def _misfit(knobs: Knobs, site: Site) -> str | None:
    width, side = int(knobs["stripe_width"]), max(site.height, site.width)
    if width > side:
        return f"stripe_width {width} does not fit {site}; use at most {side}"
    return heads_misfit(site, parts=1 if covers(width, site) else 2)


def _cost(knobs: Knobs, pos: str, site: Site) -> Cost:
    dim, tokens, stripe = site.dim, site.tokens, int(knobs["stripe_width"])
    height, width, heads = site.height, site.width, site.num_heads
    params = linear_params(dim, 3 * dim, site.qkv_bias) + linear_params(dim, dim)
    macs = 4 * tokens * dim * dim
    if covers(stripe, site):
        macs += 2 * tokens**2 * dim
        windowed = tokens * dim
        bias = (2 * height - 1) * (2 * width - 1) * heads
    else:
        columns, rows = height * up(width, stripe), up(height, stripe) * width
        macs += (columns * height * stripe + rows * stripe * width) * dim
        windowed = (columns + rows) * dim // 2
        bias = ((2 * height - 1) + (2 * width - 1)) * (2 * stripe - 1) * heads // 2
    if pos == "rpe":
        params += bias
    if pos == "lepe":
        params += 10 * dim
        macs += 9 * windowed
    return Cost(macs, params, working=3 * tokens * dim + 4 * windowed)


CSWIN = OperatorSpec(
    name="cswin",
    letter="C",
    summary="half the heads attend in vertical, half in horizontal stripes of stripe_width",
    paper="CSWin, arXiv 2107.00652",
    knobs={"stripe_width": Knob()},
    pos=("none", "ape", "rpe", "cpe", "lepe"),
    misfit=_misfit,
    cost=_cost,
    short={"stripe_width": "w"},
)
