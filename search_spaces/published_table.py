"""The table of published designs: our costs beside those counted on other code and those their papers state.

``python -m search_spaces.published_table`` prints ``PUBLISHED.md``, the file beside this one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from search_spaces.cost import costs
from search_spaces.published import CLAIMS, PUBLISHED, published

#: Parameters and MACs counted on the networks of other code, for one image.
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

_HEAD = """\
# Published designs

Every name stands for a complete network: `nas show NAME` draws it, `nas retrain STUDY --arch NAME` trains it,
and `nas import FILE --as NAME` loads its checkpoint.

*Ours* is computed from the declaration alone (`search_spaces/cost.py`), *counted* on the network that the
authors' code builds (Swin's on timm's), with PyTorch's FLOP counter halved: matrix products and convolutions of
one image, attention products included; norms, softmax, activations and biases are left out. *Paper* is what
the authors state, rounded as they round: the FLOPs of Twins are 2 to 5 percent below what its code does, those
of CSWin-L 5 percent. Images are 224 px wide, 384 where the name says so; top-1 is the authors' on ImageNet-1k.
"""

_COLUMNS = ("design", "params: ours", "counted", "paper", "MACs: ours", "counted", "paper", "top-1", "note")


def published_table() -> str:
    """Return the text of ``PUBLISHED.md``: a row for every published design, the notes below them."""
    notes: list[str] = []
    rows = [_format_row(name, notes) for name in PUBLISHED]
    rule = ("---", *["---:"] * (len(_COLUMNS) - 2), "---")
    footnotes = "\n".join(
        f"{number}. {note[0].upper()}{note[1:]}." for number, note in enumerate(notes, start=1)
    )
    sources = "\n".join(f"- {paper}" for paper in dict.fromkeys(claim.paper for claim in CLAIMS.values()))
    table = "\n".join(map(_format_line, (_COLUMNS, rule, *rows)))
    return f"{_HEAD}\n{table}\n\nNotes:\n\n{footnotes}\n\nSources:\n\n{sources}\n"


def _format_row(name: str, notes: list[str]) -> tuple[str, ...]:
    ours, counted, claim = costs(published(name)), COUNTED[name], CLAIMS[name]
    if claim.note and claim.note not in notes:
        notes.append(claim.note)
    return (
        f"`{name}`",
        f"{ours.params:,}",
        f"{counted[0]:,}",
        claim.params or "–",
        f"{ours.macs:,}",
        f"{counted[1]:,}",
        claim.flops or "–",
        "–" if claim.top1 is None else f"{claim.top1}",
        str(notes.index(claim.note) + 1) if claim.note else "",
    )


def _format_line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.stdout.write(published_table())
