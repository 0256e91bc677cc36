"""Compilation by region: the operator and the MLP of a block, compiled once for every place and every path.

A whole network would be compiled anew for each architecture, and there are more of them than can be counted.
What they are made of is few: an operator with one setting of its knobs and an MLP of one width, each on the map of
a stage. What stays as written are norms, sums, positions added to the map and, between blocks that hand their
attention maps on, operators.
"""

from __future__ import annotations

from torch import nn

from supernet.block import Block

#: Maps are channels-last as they come. Inductor's own layouts make a convolution with a kernel for each image, whose
#: images are groups, four times as slow as it is uncompiled.
_OPTIONS = {"layout_optimization": False}
#: More kinds than any one class of operator has; torch would run the ninth as it is written, in silence.
_MOST_KINDS = 4096


def compile_blocks(network: nn.Module) -> None:
    """Have the regions of a network's blocks compiled when they first run, in place; names stay as they are.

    torch keeps what it compiled by class and takes it up again wherever settings, shapes and strides are the
    same: in another block, another network, on other weights. Every batch size is a kind of its own, and so
    are training and evaluation; ``torch.compiler.set_stance("force_eager")`` keeps rare ones from it. Copies
    of a compiled network are not compiled.

    Args:
        network: Whatever holds blocks.
    """
    import torch._dynamo.config  # takes seconds, which only those who compile should wait for

    torch._dynamo.config.recompile_limit = _MOST_KINDS
    torch._dynamo.config.accumulated_recompile_limit = _MOST_KINDS
    for part in network.modules():
        if isinstance(part, Block):
            for region in (part.mixer, part.mlp):
                region.compile(dynamic=False, fullgraph=True, options=_OPTIONS)


def compilations() -> int:
    """Return how many regions this process has compiled."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])
