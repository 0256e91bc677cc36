"""GSA: global sub-sampled attention (Twins, arXiv 2104.13840, section 3.2; PVT's spatial reduction)."""

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
)


def _misfit(knobs: Knobs, site: Site) -> str | None:
    if site.class_token and knobs["sr_ratio"] != 1:
        return "a sequence with a class token cannot be sub-sampled; use sr_ratio 1"
    return heads_misfit(site) or fit_side("sr_ratio", knobs["sr_ratio"], site)


def _cost(knobs: Knobs, pos: str, site: Site) -> Cost:
    dim, ratio, tokens = site.dim, int(knobs["sr_ratio"]), site.tokens
    keys = tokens if ratio == 1 else (site.height // ratio) * (site.width // ratio)
    macs = 2 * tokens * dim * dim + keys * 2 * dim * dim + 2 * tokens * keys * dim
    params = (
        linear_params(dim, dim, site.qkv_bias)
        + linear_params(dim, 2 * dim, site.qkv_bias)
        + linear_params(dim, dim)
    )
    if ratio > 1:
        macs += keys * ratio**2 * dim * dim
        params += linear_params(ratio**2 * dim, dim) + 2 * dim
    return Cost(macs, params, working=2 * tokens * dim + 3 * keys * dim)


GSA = OperatorSpec(
    name="gsa",
    letter="G",
    summary="every position attends to a map sub-sampled sr_ratio-fold",
    paper="Twins, arXiv 2104.13840; PVT, arXiv 2102.12122",
    knobs={"sr_ratio": Knob()},
    pos=("none", "ape", "cpe"),
    misfit=_misfit,
    cost=_cost,
    short={"sr_ratio": "s"},
    sequence=True,
)
