"""Random draws: of every choice of a space, and of whole stages."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from random import Random
from typing import TypeVar

from search_spaces.architecture import Stage
from search_spaces.choices import Choice, StageChoices, Value

Option = TypeVar("Option")


class Draws:
    """Draws every choice of a list as ``rng.choice`` does, in a third of its time: a search draws millions.

    Args:
        choices: What is drawn, in this order.
    """

    def __init__(self, choices: Sequence[Choice]) -> None:
        counts = ((choice, len(choice.options)) for choice in choices)
        # How many options there are, and how many bits it takes to number them.
        self._choices = [(each.name, each.options, count, count.bit_length()) for each, count in counts]

    def __call__(self, rng: Random) -> dict[str, Value]:
        """Return an option of each choice, by name."""
        drawn, bits = {}, rng.getrandbits
        for name, options, count, width in self._choices:
            index = bits(width)
            while index >= count:
                index = bits(width)
            drawn[name] = options[index]
        return drawn


def sample_stage(stage: StageChoices, rng: Random) -> Stage:
    """Draw a stage so that each distinct one is equally likely."""
    num_sequences = [stage.num_sequences(depth) for depth in stage.depths]
    # Python integers: the number of sequences can exceed what a float can weigh exactly.
    ticket = rng.randrange(sum(num_sequences))
    ends = itertools.accumulate(num_sequences)
    depth = next(depth for depth, end in zip(stage.depths, ends, strict=True) if ticket < end)
    blocks = tuple(rng.choice(stage.blocks if index else stage.first_blocks) for index in range(depth))
    downsample = rng.choice(stage.downsamples) if stage.downsamples else None
    dim, num_heads = draw(stage.widths.pairs, rng)
    return Stage(dim, num_heads, blocks, downsample)


def draw(options: Sequence[Option], rng: Random) -> Option:
    """Draw an option; nothing is drawn of one, so that spaces without this choice are sampled as they always were."""
    return rng.choice(options) if len(options) > 1 else options[0]
