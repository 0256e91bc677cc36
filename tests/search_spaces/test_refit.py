"""Published networks for images of any kind."""

from __future__ import annotations

import pytest

from search_spaces.cost import costs
from search_spaces.errors import ArchitectureError
from search_spaces.published import PUBLISHED, published
from search_spaces.refit import refit


@pytest.mark.parametrize("name", PUBLISHED)
def test_on_its_own_images_a_network_stays_as_it_is(name: str) -> None:
    design = published(name)
    assert refit(design, design.image_size, 3, 1000) == design


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("side", [28, 32, 64, 96, 128, 224, 384])
def test_every_network_takes_images_of_any_usual_size_or_says_which(name: str, side: int) -> None:
    design = published(name)
    try:
        fitting = refit(design, (side, side), 1, 10)
    except ArchitectureError as error:
        largest = "refiner" in name
        assert ("the largest that it can take" if largest else "the smallest that it can take") in str(error)
        assert largest or side < 64
        return
    assert (fitting.image_size, fitting.in_channels, fitting.num_classes) == ((side, side), 1, 10)
    assert [len(stage.blocks) for stage in fitting.stages] == [len(stage.blocks) for stage in design.stages]
    assert [stage.dim for stage in fitting.stages] == [stage.dim for stage in design.stages]
    assert fitting.digest != design.digest and costs(fitting).params > 0


def test_windows_shrink_to_the_map_and_lose_their_shift() -> None:
    design = refit(published("swin_tiny"), (28, 28), 3, 10)
    first, second, *_, last = design.stages
    assert [block.settings for block in first.blocks] == [{"window_size": 7, "shift": "none"}] * 2
    assert [block.settings["window_size"] for block in second.blocks] == [4, 4]
    assert [block.settings for block in last.blocks] == [{"window_size": 1, "shift": "none"}] * 2
    assert [block.settings["shift"] for block in refit(design, (224, 224), 3, 10).stages[0].blocks] == [
        "none"
    ] * 2


def test_kernels_stay_odd() -> None:
    stages = refit(published("dwnet_tiny"), (32, 32), 3, 10).stages
    assert [stage.blocks[0].settings["kernel_size"] for stage in stages] == [7, 7, 3, 3]


def test_the_smallest_size_is_the_smallest() -> None:
    design = published("twins_svt_small")
    with pytest.raises(
        ArchitectureError, match=r"images of 28x28 px .*; the smallest that it can take are 32x32 px"
    ):
        refit(design, (28, 28), 3, 10)
    refit(design, (32, 32), 3, 10)
    with pytest.raises(ArchitectureError, match="the smallest"):
        refit(design, (31, 31), 3, 10)
