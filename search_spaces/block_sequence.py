"""The blocks of a stage as a sequence, which a deeper stage continues and a shallower one breaks off."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from search_spaces.block import Block

#: Encodings of a map rather than of the attention on it: where the first block has one, those after it profit too.
_GIVEN_ONCE = ("ape", "cpe")


def repeat_blocks(blocks: Sequence[Block], depth: int) -> tuple[Block, ...]:
    """Return the first ``depth`` of a stage's blocks, or more in their sequence.

    The sequence is what the blocks repeat already, such as LSA and GSA by turns; else it is all of them. What a first
    block alone has is not repeated: PEG or APE, and that it takes no attention maps of a block before where others that
    are like it do.
    """
    period, repeated = _period(blocks), list(blocks[:depth])
    for index in range(len(blocks), depth):
        repeated.append(repeated[index - period] if index > period else _repeated_first(blocks))
    return tuple(repeated)


def least_depth(blocks: Sequence[Block]) -> int:
    """Return how many of a stage's blocks, from the first on, hold all kinds of them.

    Kinds are told apart by their operator and what it does in words, as shifted windows from others.
    """
    kinds = [_kind(block) for block in blocks]
    return 1 + max(map(kinds.index, kinds))


def _kind(block: Block) -> Hashable:
    return block.operator, *(value for value in block.settings.values() if isinstance(value, str))


def _period(blocks: Sequence[Block]) -> int:
    """Return after how many blocks the sequence begins again; their number where it never does."""
    first = blocks[0]
    for period in range(1, len(blocks)):
        begins_again = _same_but_for_place(first, blocks[period])
        if begins_again and list(blocks[1 + period :]) == list(blocks[1:-period]):
            return period
    return len(blocks)


def _same_but_for_place(first: Block, later: Block) -> bool:
    """Return whether a stage's first block is one after it, but for encoding and attention maps of a block before."""

    def compared(block: Block) -> Hashable:
        knobs = block.spec.knobs
        own = [pair for pair in block.settings.items() if not knobs[pair[0]].needs_predecessor]
        return block.operator, block.mlp_ratio, *sorted(own)

    return compared(first) == compared(later)


def _repeated_first(blocks: Sequence[Block]) -> Block:
    """Return the first block as it comes again: without an encoding that no other has, where there are others."""
    first, *others = blocks
    is_alone = bool(others) and all(block.pos != first.pos for block in others)
    if is_alone and first.pos in _GIVEN_ONCE and "none" in first.spec.pos:
        return replace(first, pos="none")
    return first
