"""Standalone models: written, verified against the subnet, and only then said to be done."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from nas.runtime.console import quantity
from nas.runtime.error_text import first_line
from nas.runtime.files import save_tensors, write_json, write_text
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
from search_spaces.errors import RequestError, WorkError, nearest
from supernet.block import Network
from supernet.source import model_source

#: File formats beside the source and the weights, which are always written.
FORMATS = ("pt2", "onnx")
#: Largest difference of logits allowed in float32, times the largest logit where that exceeds 1.
TOLERANCE = 1e-5


def parse_formats(text: str) -> tuple[str, ...]:
    """Read ``all``, ``source`` or a list such as ``pt2,onnx``.

    Raises:
        RequestError: If a format is unknown.
    """
    if text == "all":
        return FORMATS
    names = tuple(part.strip() for part in text.split(",") if part.strip() != "source")
    for name in names:
        if name not in FORMATS:
            raise RequestError(
                f"--format: unknown format '{name}' ({nearest(name, ('all', 'source', *FORMATS))})"
            )
    return names


def export_model(
    network: Network,
    architecture: Architecture,
    folder: Path,
    *,
    name: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    class_names: tuple[str, ...],
    metrics: Mapping[str, Any],
    provenance: Mapping[str, Any],
    formats: tuple[str, ...] = FORMATS,
    images: Tensor | None = None,
    about: str = "whose attention design was found by neural architecture search",
) -> dict[str, float]:
    """Write the export folder of a trained network and verify every file of it.

    The folder is made beside its place and moved there when all of it is verified.

    Args:
        network: The trained network.
        architecture: Its design.
        folder: Where to write; replaced if it is there.
        name: Name for people.
        mean: Mean of each channel of the training images, in 0..1.
        std: Standard deviation of each channel.
        class_names: Names of the classes; empty where they are not known.
        metrics: What is known of it, for the model card.
        provenance: Where it comes from.
        formats: Formats beside source and weights.
        images: Normalised images ``(B, C, H, W)`` to verify on; random ones where they are left out.
        about: What kind of image classifier it is, for people.

    Returns:
        Largest absolute difference of the logits to the subnet's, by file.

    Raises:
        WorkError: If a file cannot be made or does not give the subnet's logits; nothing is left behind.
    """
    network = network.eval().cpu()
    if images is None:
        shape = (4, architecture.in_channels, *architecture.image_size)
        images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        draft = Path(scratch) / "model"
        draft.mkdir()
        title = f"{name}: an image classifier {about}."
        write_text(draft / "model.py", model_source(architecture, mean, std, title))
        save_tensors(draft / "model.safetensors", network.state_dict(), {"format": "pt"})
        known = costs(architecture)
        config = {
            "name": name,
            "architecture": architecture.to_json(),
            "digest": architecture.digest,
            "design": str(architecture),
            "input_size": [architecture.in_channels, *architecture.image_size],
            "mean": list(mean),
            "std": list(std),
            "num_classes": architecture.num_classes,
            "class_names": list(class_names),
            "macs": known.macs,
            "params": known.params,
            "metrics": dict(metrics),
            "provenance": dict(provenance),
        }
        write_json(draft / "config.json", config)
        verification = _verify(network, draft, images, formats)
        write_json(draft / "verification.json", verification)
        write_text(draft / "README.md", _card(config, verification, formats, about))
        if folder.exists():
            shutil.rmtree(folder)
        draft.rename(folder)
    differences: dict[str, float] = verification["max_abs_difference"]
    return differences


def _verify(network: Network, folder: Path, images: Tensor, formats: tuple[str, ...]) -> dict[str, Any]:
    with torch.inference_mode():
        expected = network(images)
    outputs = {"model.py": _run_source(folder, images)}
    with _quiet(), _frozen(network):
        if "pt2" in formats:
            outputs["model.pt2"] = _made("torch.export", _run_program, network, folder / "model.pt2", images)
        if "onnx" in formats:
            outputs["model.onnx"] = _made("ONNX", _run_onnx, network, folder / "model.onnx", images)
    allowed = TOLERANCE * max(1.0, float(expected.abs().max()))
    differences = {}
    for file, output in outputs.items():
        differences[file] = float((output - expected).abs().max())
        if not differences[file] <= allowed:
            raise WorkError(
                f"the exported {file} differs from the subnet by {differences[file]:.2g} (allowed {allowed:.2g}); "
                "nothing was exported"
            )
    return {
        "images": list(images.shape),
        "largest_logit": float(expected.abs().max()),
        "allowed": allowed,
        "max_abs_difference": differences,
    }


def _made(what: str, run: Any, *arguments: Any) -> Tensor:
    try:
        output: Tensor = run(*arguments)
    except Exception as error:
        # Exporters raise anything; whatever it is, the user gets one sentence and nothing half-made.
        raise WorkError(
            f"{what} could not export this model ({first_line(error)}); leave it out with --format"
        ) from error
    return output


def load_source(folder: Path) -> Any:
    """Import the ``model.py`` of an export folder as a module of its own."""
    spec = importlib.util.spec_from_file_location(f"exported_{abs(hash(folder))}", folder / "model.py")
    if spec is None or spec.loader is None:
        raise WorkError(f"{folder / 'model.py'} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[spec.name]
    return module


@torch.inference_mode()
def _run_source(folder: Path, images: Tensor) -> Tensor:
    output: Tensor = load_source(folder).load_model()(images)
    return output


def _run_program(network: nn.Module, path: Path, images: Tensor) -> Tensor:
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.export.export(network, (images,), dynamic_shapes={"images": {0: batch}})
    torch.export.save(program, path)
    with torch.inference_mode():
        output: Tensor = torch.export.load(path).module()(images)
    return output


def _run_onnx(network: nn.Module, path: Path, images: Tensor) -> Tensor:
    import onnxruntime

    with sdpa_kernel(SDPBackend.MATH):  # the decompositions of the others do not know additive masks
        torch.onnx.export(
            network,
            (images,),
            path,
            dynamo=True,
            external_data=False,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1, max=4096)}},
            verbose=False,
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


@contextlib.contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Hold gradients off: the ONNX exporter cannot decompose attention with a trainable bias."""
    before = [parameter.requires_grad for parameter in network.parameters()]
    network.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, flag in zip(network.parameters(), before, strict=True):
            parameter.requires_grad_(flag)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep exporters' chatter off the terminal; what matters of it becomes an error."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _card(
    config: Mapping[str, Any], verification: Mapping[str, Any], formats: tuple[str, ...], about: str
) -> str:
    channels, height, width = config["input_size"]
    metrics = "\n".join(f"| {name} | {_shown(value)} |" for name, value in config["metrics"].items())
    files = {
        "model.py": "the network as readable source; imports torch, and safetensors to read the weights",
        "model.safetensors": "its weights",
        "config.json": "design, input, normalisation, classes, metrics, provenance",
        "model.pt2": "`torch.export` program, any batch size",
        "model.onnx": "ONNX file, any batch size",
        "verification.json": "differences to the network that was exported, measured when this folder was made",
    }
    listed = "\n".join(
        f"- `{file}`: {text}"
        for file, text in files.items()
        if file.split(".")[-1] not in set(FORMATS) - set(formats)
    )
    differences = verification["max_abs_difference"]
    differ = ", ".join(f"`{file}` {value:.1e}" for file, value in differences.items())
    return f"""# {config["name"]}

An image classifier {about}.

| | |
|---|---|
| design | `{config["digest"]}` |
| input | {channels} x {height} x {width}, normalised with mean {config["mean"]} and std {config["std"]} |
| classes | {config["num_classes"]} |
| parameters | {config["params"]:,} |
| MACs | {quantity(config["macs"])} an image |
{metrics}

Blocks, stage by stage: `{config["design"]}`

## Use

```python
from model import load_model, normalise

logits = load_model()(normalise(images))  # images: uint8 (B, {channels}, {height}, {width})
```

## Files

{listed}

Largest difference of the logits to the network that was exported: {differ}.
"""


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
