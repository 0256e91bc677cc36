"""All that is known of a design without building it, as plain data."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from search_spaces.architecture import Architecture
from search_spaces.attention_cost import WindowAdvice, window_advice
from search_spaces.cost import costs, part_cost, stage_costs
from search_spaces.operators import Cost
from search_spaces.published import CLAIMS
from search_spaces.walk import walk


def describe(architecture: Architecture, name: str | None = None) -> dict[str, Any]:
    """Return all that is known of a design without building it, as plain data for ``--json``.

    Args:
        architecture: The design.
        name: What people call it; its digest where left out. A published name adds ``claim``, what the
            authors state.

    Returns:
        ``params``, ``macs`` and ``activation_bytes`` of one image, the same two of every part with its
        ``share`` of the MACs (0 to 1), ``compact`` text, and the ``architecture`` itself. A stage's
        ``split`` says what its MACs are spent on; its ``window`` has Twins' best ``k1k2`` with the side of
        such a window, and the positions in the chosen ``windows`` and sub-sampling ``ratios``.
    """
    total, advice = costs(architecture), window_advice(architecture)
    stem, *_, head = walk(architecture)
    stages = [
        _describe_stage(architecture, index, of_stage, total.macs) for index, of_stage in enumerate(advice)
    ]
    return {
        "name": name or architecture.digest,
        "digest": architecture.digest,
        "params": total.params,
        "macs": total.macs,
        "activation_bytes": total.activation_bytes,
        "compact": str(architecture),
        "claim": asdict(CLAIMS[name]) if name in CLAIMS else None,
        "stem": {
            "name": architecture.stem,
            **_describe_cost(part_cost(stem, architecture.style), total.macs),
        },
        "stages": stages,
        "head": {"name": "classifier", **_describe_cost(part_cost(head, architecture.style), total.macs)},
        "architecture": architecture.to_json(),
    }


def _describe_stage(
    architecture: Architecture, index: int, advice: WindowAdvice, total_macs: int
) -> dict[str, Any]:
    stage, feature_map = architecture.stages[index], architecture.feature_map(index)
    size = [feature_map.height, feature_map.width]
    parts = stage_costs(architecture, index)
    downsample = None
    if stage.downsample is not None:
        downsample = {"name": stage.downsample, **_describe_cost(parts[0], total_macs)}
    blocks = [
        {
            "place": f"stage{index + 1}.block{number}",
            "map": size,
            "operator": block.operator,
            "knobs": dict(block.knobs),
            "pos": block.pos,
            "mlp_ratio": block.mlp_ratio,
            **_describe_cost(cost, total_macs),
        }
        for number, (block, cost) in enumerate(
            zip(stage.blocks, parts[-len(stage.blocks) :], strict=True), start=1
        )
    ]
    return {
        "map": size,
        "dim": stage.dim,
        "num_heads": stage.num_heads,
        **_describe_cost(sum(parts, Cost()), total_macs),
        "split": asdict(advice.split),
        "window": {
            "optimum": advice.optimum,
            "side": advice.side,
            "windows": list(advice.windows),
            "ratios": list(advice.ratios),
            "excess": advice.excess,
        },
        "downsample": downsample,
        "blocks": blocks,
    }


def _describe_cost(cost: Cost, total_macs: int) -> dict[str, Any]:
    share = cost.macs / total_macs if total_macs else 0.0
    return {"params": cost.params, "macs": cost.macs, "share": share}
