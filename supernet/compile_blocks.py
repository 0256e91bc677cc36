"""Compilation by region: the operator and the MLP of a block, compiled once for all blocks and all paths.

A whole network would be compiled anew for each architecture, and there are more of them than can be counted.
Their regions are few: an operator with one setting of its knobs and an MLP of one width, each on the map of
a stage. Norms, added positions and operators that pass attention maps from block to block stay uncompiled.

This file contains the one private name of torch that compilation needs: ``compilations`` reads Dynamo's counters,
for which there is no public interface.
"""

from __future__ import annotations

import torch
from torch import nn

from supernet.block import Block

#: Maps are channels-last as they come. Inductor's own layouts make a convolution with a kernel for each image, whose
#: images are groups, four times as slow as it is uncompiled.
_OPTIONS = {"layout_optimization": False}
#: More settings than any one class of operator has; beyond its limit torch runs a region uncompiled, in silence.
_RECOMPILE_LIMIT = 4096


def compile_blocks(network: nn.Module) -> None:
    """Compile the regions of a network's blocks in place when they first run; parameters keep their names.

    torch keeps compiled code by class and uses it wherever settings, shapes and strides are the same: in
    another block, another network, on other weights. Each batch size is compiled separately, and so are
    training and evaluation; ``torch.compiler.set_stance("force_eager")`` avoids that for rare ones. Copies of a
    compiled network are not compiled.

    Args:
        network: Any module with blocks in it.
    """
    torch.compiler.config.recompile_limit = _RECOMPILE_LIMIT
    torch.compiler.config.accumulated_recompile_limit = _RECOMPILE_LIMIT
    for module in network.modules():
        if isinstance(module, Block):
            for region in (module.mixer, module.mlp):
                region.compile(dynamic=False, fullgraph=True, options=_OPTIONS)


def compilations() -> int:
    """Return how many regions this process has compiled."""
    from torch._dynamo.utils import counters  # takes seconds, which only those who compile should wait for

    return int(counters["stats"]["unique_graphs"])
