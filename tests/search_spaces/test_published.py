"""The papers' networks have the papers' parameters and MACs, to the last digit."""

from __future__ import annotations

import json
import os
from importlib import resources
from pathlib import Path

import pytest

from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.errors import ArchitectureError
from search_spaces.published import CLAIMS, PUBLISHED, published
from search_spaces.published_table import COUNTED, published_table

FOLDER = Path(os.environ.get("NAS_REFERENCE_DIR") or Path(__file__).parents[3] / "shared" / "reference")


def test_every_design_has_its_count_and_its_claim() -> None:
    assert set(COUNTED) == set(PUBLISHED)
    assert set(PUBLISHED) == set(CLAIMS)


@pytest.mark.parametrize("name", COUNTED)
def test_counts(name: str) -> None:
    found = costs(published(name))
    assert (found.params, found.macs) == COUNTED[name]


def test_counts_and_claims_are_those_on_record() -> None:
    path = FOLDER / "published.json"
    if not path.is_file():
        pytest.skip(f"no record of the authors' networks: {path} is absent; set NAS_REFERENCE_DIR")
    record = {name: about for name, about in json.loads(path.read_text()).items() if isinstance(about, dict)}
    assert record.keys() <= PUBLISHED.keys()
    for name, about in record.items():
        assert COUNTED[name] == (about["parameters"], about["macs"]), name
        if stated := about["authors_readme"]:
            top1 = stated.get("imagenet_top1_224", stated.get("imagenet_top1"))
            claim = CLAIMS[name]
            assert (claim.params, claim.flops, claim.top1) == (stated["params"], stated["flops"], top1), name


def test_the_table_in_the_docs_is_the_generated_one() -> None:
    committed = (resources.files("search_spaces") / "PUBLISHED.md").read_text(encoding="utf-8")
    assert committed == published_table(), "search_spaces/PUBLISHED.md is not up to date; type: make table"
    for name in PUBLISHED:
        row = next(line for line in committed.splitlines() if line.startswith(f"| `{name}` |"))
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[1] == cells[2] and cells[4] == cells[5]


def test_what_cannot_be_built_is_said() -> None:
    text = published_table()
    for name, number in (("dwnet_tiny_dynamic", 3), ("dwnet_base_inhomogeneous", 4)):
        assert f"| {number} |" in next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
    assert "3. The published class cannot build this network" in text
    assert "4. The published class is built but runs on CUDA alone" in text


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
