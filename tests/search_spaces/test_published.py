"""The papers' networks have the papers' parameters and MACs, to the last digit."""

from __future__ import annotations

import pytest

from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.errors import ArchitectureError
from search_spaces.published import CLAIMS, PUBLISHED, published

# Parameters and MACs counted on the authors' code (matrix products and convolutions, one image).
COUNTED = {
    "twins_pcpvt_small": (24_106_216, 3_809_459_968),
    "twins_pcpvt_base": (43_828_456, 6_652_933_888),
    "twins_pcpvt_large": (60_989_672, 9_807_524_096),
    "twins_svt_small": (24_060_776, 2_927_353_344),
    "twins_svt_base": (56_070_952, 8_562_612_480),
    "twins_svt_large": (99_271_400, 15_111_777_280),
    "cswin_tiny": (22_320_552, 4_324_203_008),
    "cswin_small": (34_643_304, 6_800_714_752),
    "cswin_base": (77_382_184, 14_955_348_480),
    "cswin_large": (173_262_664, 33_130_144_512),
    "cswin_base_384": (77_382_184, 46_963_660_800),
    "cswin_large_384": (173_262_664, 101_881_930_752),
    "dwnet_tiny": (24_172_744, 3_726_862_848),
    "dwnet_base": (74_347_112, 12_812_261_376),
    "dwnet_tiny_dynamic": (51_131_752, 3_753_819_648),
    "dwnet_base_dynamic": (161_597_928, 12_899_506_176),
    "dwnet_tiny_inhomogeneous": (26_244_280, 4_374_133_248),
    "dwnet_base_inhomogeneous": (80_253_608, 14_340_020_224),
    "refiner_vit_small": (25_408_656, 6_816_808_992),
    "refiner_vit_medium": (55_450_932, 13_500_468_768),
    "refiner_vit_large": (81_150_192, 19_186_799_360),
    "swin_tiny": (28_288_354, 4_490_566_656),
    "swin_small": (49_606_258, 8_740_875_264),
    "swin_base": (87_768_224, 15_430_946_816),
}


def test_every_design_has_its_count_and_its_claim() -> None:
    assert set(COUNTED) == set(PUBLISHED)
    assert set(PUBLISHED) == set(CLAIMS)


@pytest.mark.parametrize("name", COUNTED)
def test_counts(name: str) -> None:
    found = costs(published(name))
    assert (found.params, found.macs) == COUNTED[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_round_trips(name: str) -> None:
    architecture = published(name)
    assert Architecture.from_json(architecture.to_json()) == architecture
    assert architecture.digest == published(name).digest


def test_designs_differ() -> None:
    assert len({published(name).digest for name in PUBLISHED}) == len(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_claims_are_the_counts_rounded(name: str) -> None:
    claim, found = CLAIMS[name], costs(published(name))
    assert "arXiv" in claim.paper
    # The authors round, and some state FLOPs up to 5% below what their code does.
    if claim.params is not None:
        assert claim.params.endswith("M")
        assert found.params / 1e6 == pytest.approx(float(claim.params[:-1]), rel=0.04)
    if claim.flops is not None:
        assert claim.flops.endswith("G")
        assert found.macs / 1e9 == pytest.approx(float(claim.flops[:-1]), rel=0.06)
    assert claim.top1 is None or 75 < claim.top1 < 90


def test_patterns() -> None:
    svt = published("twins_svt_small")
    assert str(svt).split(" | ")[3] == "lsa(w7)+cpe·4 gsa(s1)·4 lsa(w7)·4 gsa(s1)·4"
    assert (
        str(published("twins_pcpvt_small")).split(" | ")[1] == "gsa(s4)+cpe·8 gsa(s4)·8 gsa(s4)·8 gsa(s4)·8"
    )
    assert str(published("cswin_tiny")).split(" | ")[1] == "cswin(w2)+lepe·4 cswin(w2)+lepe·4"
    assert published("cswin_base_384").maps() == ((96, 96), (48, 48), (24, 24), (12, 12))
    assert str(published("dwnet_tiny_inhomogeneous")).startswith("dwconv(inhomogeneousg3k7)·4")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        ArchitectureError, match=r"unknown design 'cswin_tiney' \(.*did you mean 'cswin_tiny'\?\)"
    ):
        published("cswin_tiney")
