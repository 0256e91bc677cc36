"""The spaces that come with the project: their scales, and the images that these are meant for."""

from __future__ import annotations

from pathlib import Path

import pytest

from search_spaces.cost import costs
from search_spaces.declaration import known_spaces, load_declaration


@pytest.mark.parametrize("name", known_spaces())
def test_named_spaces_are_sound(name: str) -> None:
    declaration = load_declaration(name)
    assert declaration.name == name
    assert declaration.summary
    for scale in declaration.scales:
        assert declaration.space(scale).size > 1


@pytest.mark.parametrize(
    ("name", "scales"),
    [
        ("twins_cswin", {28: "nano", 65: "micro", 224: "tiny", 257: "small"}),
        ("local_vit_ablation", {28: "nano", 65: "micro", 224: "tiny"}),
        ("refiner_vit", {28: "nano", 65: "micro", 224: "small"}),
    ],
)
def test_named_spaces_have_a_scale_for_every_size_from_28_to_384(name: str, scales: dict[int, str]) -> None:
    declaration = load_declaration(name)
    for side in range(28, 385):
        assert declaration.scale_for(side) == scales[max(first for first in scales if first <= side)], side
    assert declaration.space().scale == "nano"  # the first: what callers get who name none


@pytest.mark.parametrize("name", known_spaces())
def test_micro_fits_every_size_that_it_is_meant_for(name: str) -> None:
    declaration = load_declaration(name)
    for side in range(65, 224):
        assert declaration.space("micro", side).image_size == (side, side)


def test_micro_lies_between_nano_and_tiny() -> None:
    """At the 96 px of STL-10, for which it was made."""
    declaration = load_declaration("twins_cswin")
    nano, micro, tiny = (
        declaration.space(scale, side, 3, 10) for scale, side in (("nano", 64), ("micro", 96), ("tiny", 224))
    )
    for small, large in ((nano, micro), (micro, tiny)):
        assert costs(small.smallest).macs < costs(large.smallest).macs < costs(small.largest).macs
        assert costs(small.largest).macs < costs(large.largest).macs
    assert [(m.height, m.width) for m in micro.feature_maps()] == [(48, 48), (24, 24), (12, 12), (6, 6)]


@pytest.mark.parametrize(
    ("scale", "low", "high"), [("nano", 2e6, 20e6), ("tiny", 0.4e9, 8e9), ("small", 1.5e9, 23e9)]
)
def test_a_scale_of_twins_cswin_spans_a_factor_of_ten(scale: str, low: float, high: float) -> None:
    space = load_declaration("twins_cswin").space(scale, None, 3, 10 if scale == "nano" else 1000)
    smallest, largest = costs(space.smallest).macs, costs(space.largest).macs
    assert smallest <= low and largest >= high and largest / smallest > 10


@pytest.mark.parametrize(
    ("scale", "side", "channels", "classes", "unit", "digits"),
    [("nano", 28, 1, 10, "M", (2, 1)), ("tiny", 224, 3, 1000, "G", (2, 2))],
)
def test_the_readme_says_what_a_supernet_spans(
    scale: str, side: int, channels: int, classes: int, unit: str, digits: tuple[int, int]
) -> None:
    space = load_declaration("twins_cswin").space(scale, side, channels, classes)
    low, high = (
        costs(design).macs / {"M": 1e6, "G": 1e9}[unit] for design in (space.smallest, space.largest)
    )
    readme = " ".join((Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").split())
    assert f"{low:.{digits[0]}f}{unit} to {high:.{digits[1]}f}{unit}" in readme
