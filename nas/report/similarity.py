"""Feature similarity across depth: how soon the blocks of a network say what its last block says.

The measure is linear CKA (Kornblith et al., arXiv 1905.00414, section 3) between the output of every block
and that of the last one, over validation images, as the Refiner paper (arXiv 2106.03714, section 3.1) draws
it: features that are like the last ones early on hardly evolve, which deep attention networks suffer from
(over-smoothing). HSIC is estimated without bias in minibatches and averaged before the division (Nguyen et
al., arXiv 2010.15327, section 3), so that the result does not depend on their size. Depth is normalised to
0..1 so that networks of different depths can be laid over one another.

Maps of different sizes are compared flattened, a vector of H x W x C values an image: CKA sees features
through the inner products of pairs of images alone, so that numbers of positions and channels need not
agree. Pooling over positions would discard what local and global operators do differently: in the first
stage little but mean colours would be left.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import torch
from torch import Tensor, nn

from nas.data.splits import Data, load_data
from nas.report.html import figure, page, section, table
from nas.report.plots import Curve, curves
from nas.runtime.device import default_device
from nas.runtime.files import write_text
from nas.study.folder import Study, find_architecture, find_study, read_json
from nas.training.pretrained import read_network
from nas.training.subnet import trained_network
from search_spaces.architecture import Architecture
from search_spaces.errors import DataError, RequestError, StudyError
from search_spaces.walk import walk_blocks
from supernet.block import Network

#: Images whose features are compared with one another at once.
BATCH = 64
_LEAST = 4  # the estimator divides by n - 3


# -- the measure -------------------------------------------------------------------------------------


def gram(features: Tensor) -> Tensor:
    """Return the inner products ``(N, N)`` of the images' features ``(N, ...)``, in double precision."""
    flat = features.flatten(1).float()
    # A common offset does not change the estimate, but would cost its digits.
    flat = flat - flat.mean(dim=0)
    return (flat @ flat.T).double()


def centred(products: Tensor) -> Tensor:
    """Return inner products ``(N, N)`` centred such that HSIC is estimated without bias.

    With zeros on the diagonal and rows that sum to zero, ``(centred(K) * centred(L)).sum()`` is
    ``N (N - 3)`` times the estimator of Song et al. (2012), HSIC_1 of Nguyen et al.
    """
    n = len(products)
    off = products - torch.diag(products.diagonal())
    rows = off.sum(dim=0)
    off = off - (rows[:, None] + rows) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    return off - torch.diag(off.diagonal())


@torch.inference_mode()
def similarities(network: Network, batches: Iterable[Tensor]) -> list[float | None]:
    """Return the CKA of every block's output and the last block's, first to last.

    Args:
        network: The network, on the device of the images.
        batches: Images ``(N, C, H, W)``, the same N of at least 4 in every batch.

    Returns:
        Values of at most about 1, slightly below 0 at worst; None for a block whose output is the same for
        every image.
    """
    blocks = [block for stage in network.stages for block in stage.blocks]  # type: ignore[union-attr]
    products: list[Tensor] = [torch.empty(0)] * len(blocks)

    def keep(place: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            x = output[0] if isinstance(output, tuple) else output  # a block may hand attention maps on too
            products[place] = centred(gram(x))

        return hook

    handles = [block.register_forward_hook(keep(place)) for place, block in enumerate(blocks)]
    cross, own = torch.zeros(2, len(blocks), dtype=torch.float64)
    try:
        network.eval()
        for images in batches:
            network(images)
            cross += torch.stack([(each * products[-1]).sum() for each in products]).cpu()
            own += torch.stack([(each * each).sum() for each in products]).cpu()
    finally:
        for handle in handles:
            handle.remove()
    norms = (own * own[-1]).sqrt()
    return [
        float(value / norm) if norm > 0 and norm.isfinite() else None
        for value, norm in zip(cross, norms, strict=True)
    ]


# -- what is measured --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Subject:
    """A trained network to look into.

    Args:
        label: How people tell it from the others.
        architecture: Its design.
        network: The network.
        mean: Mean of each channel that its images are normalised with.
        std: Standard deviation likewise.
    """

    label: str
    architecture: Architecture
    network: Network
    mean: tuple[float, ...]
    std: tuple[float, ...]


def subjects_of(text: str) -> list[Subject]:
    """Return the networks that ``text`` means: an export folder, or a study's retrained designs.

    A folder of one retrained design, ``retrained/DIGEST/MODE`` of a study, means that design.

    Raises:
        RequestError: If it means none.
    """
    path = Path(text)
    if (path / "config.json").is_file():
        return [_exported(path)]
    study = home(path) if (path / "result.json").is_file() else find_study(text)
    if study is None or not study.settings_file.is_file():
        raise RequestError(
            f"{text} is neither an export folder nor a study; give what nas export or nas search made"
        )
    found = [read_json(path / "result.json")] if (path / "result.json").is_file() else study.results()
    if not found:
        raise RequestError(f"study {study.folder} has no retrained design; run: nas retrain {study.folder}")
    facts, subjects = study.facts(), []
    for result in found:
        label = f"{result['digest']} {result['mode']}"
        network = trained_network(study, result)
        design = Architecture.from_json(result["architecture"])
        subjects.append(Subject(label, design, network, facts.mean, facts.std))
    return subjects


def _exported(folder: Path) -> Subject:
    content = read_json(folder / "config.json")
    try:
        name, mean, std = str(content["name"]), tuple(content["mean"]), tuple(content["std"])
    except (KeyError, TypeError):
        raise StudyError(
            f"{folder / 'config.json'} is not that of an export; export the model again"
        ) from None
    network, design = read_network(folder, find_architecture(str(folder)))
    return Subject(name, design, network, mean, std)


def home(path: Path) -> Study | None:
    """Return the study that ``path`` lies in, or None."""
    for folder in (path, *path.absolute().parents):
        if (folder / "study.yaml").is_file():
            return Study(folder)
    return None


def analyze(
    sources: Sequence[str], data: str | None, data_dir: Path | None, count: int, out: Path | None
) -> dict[str, Any]:
    """Measure networks side by side on validation images, and draw them.

    Args:
        sources: Studies, export folders and folders of retrained designs.
        data: What ``load_data`` understands; None takes the images of the first study among the sources or
            around them.
        data_dir: Where timm's data sets lie.
        count: Most images to look at.
        out: HTML file to write; None writes ``similarity.html`` into the study, if a source is one.

    Returns:
        ``data``, ``images``, ``out``, and ``designs``: of each the ``label``, ``digest``, ``mean`` similarity
        of all blocks but the last, and its ``blocks`` with ``place``, ``depth`` (0 to 1) and ``similarity``.

    Raises:
        RequestError: If a source means no network, or no images are known.
        DataError: If the images are not such as a network was made for, or too few.
    """
    subjects = [subject for text in sources for subject in subjects_of(text)]
    study = next((found for text in sources if (found := home(find_study(text).folder)) is not None), None)
    if data is None and study is None:
        raise RequestError("--data is needed: no source is a study or lies in one, so no images are known")
    if data is None and study is not None:
        settings = study.settings()
        data, data_dir = settings.data, None if settings.data_dir is None else Path(settings.data_dir)
    assert data is not None
    loaded: dict[int, Data] = {}
    designs, images = [], 0
    for subject in _distinct(subjects):
        side = subject.architecture.image_size[0]
        if side not in loaded:
            loaded[side] = load_data(data, data_dir=data_dir, image_size=side)
        size, batches = _batches(subject, loaded[side], count)
        images = size * len(batches)
        designs.append(_described(subject, similarities(subject.network, batches)))
    if out is None and study is not None and any(find_study(text).folder == study.folder for text in sources):
        out = study.folder / "similarity.html"
    result = {"data": data, "images": images, "out": None if out is None else str(out), "designs": designs}
    if out is not None:
        write_text(out, _page(result))
    return result


def _distinct(subjects: Sequence[Subject]) -> list[Subject]:
    """Return the subjects with labels of their own."""
    seen: dict[str, int] = {}
    named = []
    for subject in subjects:
        seen[subject.label] = seen.get(subject.label, 0) + 1
        again = f" ({seen[subject.label]})" if seen[subject.label] > 1 else ""
        named.append(replace(subject, label=subject.label + again))
    return named


def _batches(subject: Subject, data: Data, count: int) -> tuple[int, list[Tensor]]:
    """Return the size of a batch and all batches, on the device, where the network is taken too."""
    if data.in_channels != subject.architecture.in_channels:
        raise DataError(
            f"{subject.label} takes images of {subject.architecture.in_channels} channels but {data.name} has "
            f"{data.in_channels}; give images such as it was trained on"
        )
    size = min(BATCH, count, len(data.val))
    if size < _LEAST:
        raise DataError(f"{size} validation images are too few to compare features; give at least {_LEAST}")
    device = default_device()
    subject.network.to(device)
    # A fixed order that mixes the classes, which stored ones may follow one another by.
    split = replace(data.val, mean=subject.mean, std=subject.std)
    read = split.batches(size, device=device, shuffle_seed=0, drop_last=True)
    return size, [images for (images, _), _ in zip(read, range(max(1, count // size)), strict=False)]


def _described(subject: Subject, found: Sequence[float | None]) -> dict[str, Any]:
    parts = walk_blocks(subject.architecture)
    known = [value for value in found[:-1] if value is not None]
    return {
        "label": subject.label,
        "digest": subject.architecture.digest,
        "mean": sum(known) / len(known) if known else None,
        "blocks": [
            {"place": part.name, "block": str(part.block), "depth": number / len(parts), "similarity": value}
            for number, (part, value) in enumerate(zip(parts, found, strict=True), start=1)
        ],
    }


# -- the picture -------------------------------------------------------------------------------------


def _page(result: dict[str, Any]) -> str:
    designs = result["designs"]
    figures = {"similarity": drawing(designs)}
    rows = [
        [
            html.escape(design["label"]),
            f"<code>{design['digest']}</code>",
            str(len(design["blocks"])),
            "–" if design["mean"] is None else f"{design['mean']:.3f}",
        ]
        for design in designs
    ]
    measured = f"{result['images']} validation images of {html.escape(result['data'])}"
    return page(
        "Feature similarity across depth",
        [
            "<header><h1>Feature similarity across depth</h1>"
            f"<p class=\"lead\">Linear CKA of each block's output and the last block's, on {measured}.</p></header>",
            section(
                "How soon features are like the last ones",
                "A curve that rises early shows blocks that hardly change what is known already "
                "(over-smoothing); one that rises late, features that evolve through all depth. Diamonds begin "
                "a stage.",
                figure("similarity", figures),
            ),
            section(
                "Designs",
                "The mean is over all blocks but the last.",
                table(["design", "digest", "blocks", "mean similarity"], rows, numbers=2, first=2),
            ),
        ],
        figures,
    )


def drawing(designs: Sequence[dict[str, Any]]) -> go.Figure:
    """Draw the similarity of every block to the last, over the normalised depth, a curve for every design."""
    shown = [
        Curve(
            design["label"],
            [block["depth"] for block in design["blocks"]],
            [block["similarity"] for block in design["blocks"]],
            [f"{block['place']}<br>{block['block']}" for block in design["blocks"]],
            [block["place"].endswith(".block1") for block in design["blocks"]],
        )
        for design in designs
    ]
    return curves(shown, "depth (1 is the last block)", "CKA with the last block")
