"""Outlook attention (VOLO, arXiv 2106.13112, section 3.1)."""

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
    kernel, stride, side = int(knobs["kernel_size"]), int(knobs["stride"]), min(site.height, site.width)
    if kernel > max(3, 2 * side - 1):
        return f"kernel_size {kernel} reaches beyond {site}; use at most {max(3, 2 * side - 1)}"
    if stride > kernel:
        return f"stride {stride} leaves positions outside every neighbourhood of kernel_size {kernel}"
    return heads_misfit(site) or fit_side("stride", stride, site)


def _cost(knobs: Knobs, pos: str, site: Site) -> Cost:
    dim, tokens, heads, stride = site.dim, site.tokens, site.num_heads, int(knobs["stride"])
    area = int(knobs["kernel_size"]) ** 2
    centres = -(-site.height // stride) * -(-site.width // stride)
    macs = 2 * tokens * dim * dim + centres * (dim * heads * area**2 + area**2 * dim)
    params = (
        linear_params(dim, dim, site.qkv_bias) + linear_params(dim, heads * area**2) + linear_params(dim, dim)
    )
    return Cost(macs, params, working=centres * (heads * area**2 + 2 * area * dim) + tokens * dim)


OUTLOOK = OperatorSpec(
    name="outlook",
    letter="O",
    summary="a position's features give the attention among its kernel_size x kernel_size neighbours",
    paper="VOLO, arXiv 2106.13112",
    knobs={"kernel_size": Knob(minimum=3, odd=True), "stride": Knob()},
    pos=("none", "ape", "cpe"),
    misfit=_misfit,
    cost=_cost,
    short={"kernel_size": "k", "stride": "s"},
)
