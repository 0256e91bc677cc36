"""Active choices: they alone make a design, whatever the others are."""

from __future__ import annotations

from random import Random

import pytest

from search_spaces.active import active_values
from search_spaces.declaration import known_spaces, load_declaration
from search_spaces.errors import SpaceError
from search_spaces.published import published


@pytest.mark.parametrize("name", known_spaces())
def test_other_choices_change_nothing(name: str) -> None:
    declaration = load_declaration(name)
    space, rng = declaration.space(next(iter(declaration.scales))), Random(0)
    for _ in range(10):
        design = space.sample(rng)
        active = active_values(space, design)
        for _ in range(3):
            others = {choice.name: rng.choice(choice.options) for choice in space.choices}
            assert space.assemble({**others, **active}) == design


def test_choices_of_absent_blocks_and_operators_are_left_out() -> None:
    space = load_declaration("twins_cswin").space("nano", 28, 1, 10)
    design = space.smallest
    names = set(active_values(space, design))
    (block,) = design.stages[0].blocks
    own = {name for name in names if name.startswith("stage1.block")}
    assert block.operator == "dwconv" and own == {
        f"stage1.block1.{name}" for name in ("operator", "dwconv.pos", "dynamic", "kernel_size", "mlp_ratio")
    }
    assert len(names) < len(space.choices) / 2


def test_a_design_of_another_space_is_refused() -> None:
    space = load_declaration("twins_cswin").space("nano", 28, 1, 10)
    with pytest.raises(SpaceError, match="is not in space"):
        active_values(space, published("cswin_tiny"))
