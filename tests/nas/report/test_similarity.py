"""CKA is the measure that the papers define, and every trained design can be looked into."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from nas.data.splits import load_data
from nas.export.writer import export_model
from nas.report.similarity import analyze, centred, drawing, gram, similarities, subjects_of
from nas.runtime.files import save_tensors, write_json
from nas.study.dataset_info import DatasetInfo
from nas.study.folder import Study
from nas.study.settings import Settings
from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.declaration import parse_declaration
from search_spaces.errors import DataError, RequestError
from supernet.block import Network
from supernet.block import Stage as StageModule
from supernet.subnet import build_subnet

DEEP = Architecture(
    (
        Stage(8, 2, (Block("lsa", (("window_size", 2),)),) * 2),
        Stage(16, 2, (Block("gsa", (("sr_ratio", 1),)),), "conv2x2"),
    ),
    image_size=(16, 16),
    num_classes=2,
    stem="conv3x3_s2",
)
FLAT = Architecture(
    (Stage(8, 2, (Block("dwconv", (("kernel_size", 3), ("dynamic", "none"))),)),),
    image_size=(16, 16),
    num_classes=2,
    stem="conv3x3_s2",
)
SPACE = """
name: small
blocks:
  mlp_ratio: [2]
  operators:
    lsa: {window_size: [2], pos: [none]}
scales:
  only: {images: 16, stem: conv3x3_s2, stages: [{dim: 8, num_heads: 2, depth: [1]}]}
"""


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# -- the measure -------------------------------------------------------------------------------------


def song(k: Tensor, m: Tensor) -> Tensor:
    """HSIC_1 as Nguyen et al. print it (equation 3)."""
    n = len(k)
    k, m, one = k - k.diagonal().diag(), m - m.diagonal().diag(), torch.ones(n, dtype=k.dtype)
    middle = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return ((k @ m).trace() + middle - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def test_centring_gives_the_papers_estimator() -> None:
    x, y = noise(9, 5, seed=1).double(), noise(9, 3, seed=2).double() + 4
    k, m = x @ x.T, y @ y.T
    assert torch.allclose((centred(k) * centred(m)).sum() / (9 * 6), song(k, m))
    # The offset that `gram` takes away does not matter.
    assert torch.allclose(centred(gram(y)), centred(m), atol=1e-5)


class Fixed(nn.Module):
    """A block that answers with given features of the images of a batch, one batch after the other."""

    def __init__(self, *batches: Tensor) -> None:
        super().__init__()
        self.batches, self.number = batches, -1

    def forward(self, x: Tensor) -> Tensor:
        self.number += 1
        return self.batches[self.number]


def fixed(*features: Tensor, batches: int = 1) -> list[float | None]:
    """Return the similarities of a network whose blocks answer with ``features`` of all images."""
    blocks = [Fixed(*each.chunk(batches)) for each in features]
    network = Network(nn.Identity(), [StageModule(blocks)], 4, 2)
    network.norm, network.head = nn.Identity(), nn.Identity()  # type: ignore[assignment]
    return similarities(network, features[0].chunk(batches))


def test_what_cka_does_not_see() -> None:
    x = noise(64, 2, 2, 4)
    turn = torch.linalg.qr(noise(16, 16, seed=3))[0]
    turned = (x.flatten(1) @ turn).view(64, 1, 1, 16)
    found = fixed(3 * x + 5, turned, x)
    assert found == pytest.approx([1, 1, 1], abs=1e-5)


def test_unrelated_features_are_not_alike_and_constant_ones_say_nothing() -> None:
    x, other, same = noise(64, 2, 2, 4), noise(64, 1, 1, 6, seed=4), torch.ones(64, 1, 1, 2)
    found = fixed(other, same, x)
    assert found[0] == pytest.approx(0, abs=0.1)
    assert found[1] is None
    assert found[2] == pytest.approx(1)


def test_batches_are_averaged_before_the_division() -> None:
    x, y = noise(32, 1, 1, 6), noise(32, 1, 1, 6, seed=6)
    y = x + y
    parts = [
        (a.flatten(1).double(), b.flatten(1).double()) for a, b in zip(x.chunk(4), y.chunk(4), strict=True)
    ]
    cross, own, last = (
        sum(song(p @ p.T, q @ q.T) for p, q in pairs)
        for pairs in (parts, [(a, a) for a, _ in parts], [(b, b) for _, b in parts])
    )
    assert fixed(x, y, batches=4)[0] == pytest.approx(float(cross / (own * last) ** 0.5), abs=1e-5)


def test_small_batches_do_not_make_features_alike() -> None:
    # The biased estimator would say 0.9 here: 8 images, 200 features.
    x, y = noise(256, 1, 1, 200), noise(256, 1, 1, 200, seed=7)
    assert fixed(x, y, batches=32)[0] == pytest.approx(0, abs=0.1)


def test_blocks_of_a_network_are_measured_and_left_without_hooks() -> None:
    network = build_subnet(DEEP)
    found = similarities(network, [noise(8, 3, 16, 16), noise(8, 3, 16, 16, seed=8)])
    assert len(found) == 3
    assert found[-1] == pytest.approx(1)
    assert all(value is not None and -0.5 < value < 1.01 for value in found)
    assert not any(module._forward_hooks for module in network.modules())


# -- studies and folders -----------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    for number, name in enumerate(("ant", "bee")):
        (folder / name).mkdir(parents=True)
        for shade in range(50):
            picture = (noise(16, 16, 3, seed=100 * number + shade) * 30 + 120).clamp(0, 255).byte()
            Image.fromarray(picture.numpy()).save(folder / name / f"{shade}.png")
    return folder


def exported(folder: Path, design: Architecture, name: str) -> Path:
    torch.manual_seed(0)
    mean = std = (0.5, 0.5, 0.5)
    names = ("ant", "bee")
    export_model(
        build_subnet(design),
        design,
        folder,
        name=name,
        mean=mean,
        std=std,
        class_names=names,
        metrics={},
        provenance={},
        formats=(),
    )
    return folder


def studied(folder: Path, images: Path) -> Study:
    """Make a study with two designs that were retrained, as far as files tell."""
    study, spec = Study(folder), f"folder:{images}"
    facts = DatasetInfo.from_data(load_data(spec, image_size=16), spec)
    declaration = parse_declaration(SPACE, "space.yaml")
    study.create(Settings(data=spec, image_size=16), facts, declaration, study.default_url, [])
    for top1, design in enumerate((DEEP, FLAT)):
        place = study.retraining_folder(design.digest, "scratch")
        save_tensors(place / "model.safetensors", build_subnet(design).state_dict())
        result = {"digest": design.digest, "mode": "scratch", "architecture": design.to_json()}
        write_json(place / "result.json", {**result, "weights": "model.safetensors", "val_top1": top1})
    return study


def test_designs_of_a_study_are_drawn_side_by_side(tmp_path: Path, images: Path) -> None:
    study = studied(tmp_path / "study", images)
    result = analyze([str(study.folder)], None, None, 10, None)
    assert (result["data"], result["images"]) == (f"folder:{images}", 10)
    assert [design["digest"] for design in result["designs"]] == [FLAT.digest, DEEP.digest]
    deep = result["designs"][1]
    assert [block["place"] for block in deep["blocks"]] == ["stage1.block1", "stage1.block2", "stage2.block1"]
    assert [block["depth"] for block in deep["blocks"]] == pytest.approx([1 / 3, 2 / 3, 1])
    assert deep["mean"] == pytest.approx(sum(block["similarity"] for block in deep["blocks"][:2]) / 2)
    assert result["designs"][0]["mean"] is None  # a single block has nothing before it
    page = Path(result["out"]).read_text()
    assert Path(result["out"]) == study.folder / "similarity.html"
    assert FLAT.digest in page
    assert "src=" not in page.split("</style>")[1].split("<script>")[0]
    single = subjects_of(str(study.retraining_folder(DEEP.digest, "scratch")))
    assert [subject.label for subject in single] == [f"{DEEP.digest} scratch"]


def test_exports_are_compared_on_images_that_are_named(tmp_path: Path, images: Path) -> None:
    folders = [str(exported(tmp_path / name, design, "one")) for name, design in (("a", DEEP), ("b", FLAT))]
    with pytest.raises(RequestError, match="--data is needed"):
        analyze(folders, None, None, 10, None)
    result = analyze(folders, f"folder:{images}", None, 8, tmp_path / "x.html")
    assert [design["label"] for design in result["designs"]] == ["one", "one (2)"]
    assert (tmp_path / "x.html").is_file()
    again = analyze(folders, f"folder:{images}", None, 8, None)
    assert again["out"] is None
    assert again["designs"] == result["designs"]
    assert [len(trace.x) for trace in drawing(result["designs"]).data] == [3, 1]


def test_what_cannot_be_looked_into_is_refused(tmp_path: Path, images: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(RequestError, match="neither an export folder nor a study"):
        analyze([str(tmp_path / "nothing")], None, None, 10, None)
    folder = exported(tmp_path / "a", DEEP, "one")
    with pytest.raises(DataError, match="too few to compare"):
        analyze([str(folder)], f"folder:{images}", None, 3, None)
    with pytest.raises(DataError, match="takes images of 3 channels"):
        analyze([str(folder)], "mnist5k", None, 10, None)
