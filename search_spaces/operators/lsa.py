"""LSA: locally-grouped self-attention (Twins, arXiv 2104.13840, section 3.2)."""

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


def _misfit(knobs: Knobs, site: Site) -> str | None:
    return heads_misfit(site) or fit_side("window_size", knobs["window_size"], site)


def _cost(knobs: Knobs, pos: str, site: Site) -> Cost:
    dim, window = site.dim, int(knobs["window_size"])
    # Padding enters before qkv, so padded tokens are projected and attended to as well.
    padded = up(site.height, window) * up(site.width, window)
    macs = padded * 3 * dim * dim + 2 * padded * window**2 * dim + site.tokens * dim * dim
    params = linear_params(dim, 3 * dim, site.qkv_bias) + linear_params(dim, dim)
    if pos == "rpe":
        params += (2 * window - 1) ** 2 * site.num_heads
    if pos == "lepe":
        params += 10 * dim
        macs += 9 * padded * dim
    return Cost(macs, params, working=4 * padded * dim)


LSA = OperatorSpec(
    name="lsa",
    letter="L",
    summary="attention inside windows of window_size x window_size",
    paper="Twins, arXiv 2104.13840",
    knobs={"window_size": Knob(minimum=2)},
    pos=("none", "ape", "rpe", "cpe", "lepe"),
    misfit=_misfit,
    cost=_cost,
    short={"window_size": "w"},
)
