"""What ``model.onnx`` says of itself: whoever has the file alone knows what to feed it and what comes out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.export.options import FileOptions
from nas.runtime.error_text import first_line
from nas.runtime.provenance import find_version
from search_spaces.errors import WorkError


def onnx_metadata(config: Mapping[str, Any], options: FileOptions, sizes: str) -> dict[str, str]:
    """Return the properties of the file by name; lists are JSON.

    Args:
        config: Content of the export's ``config.json``.
        options: How the file is written.
        sizes: Which heights and widths it takes, in words.
    """
    listed = ("class_names", "mean", "std", "input_size")
    return {
        "name": config["name"],
        "digest": config["digest"],
        **{key: json.dumps(config[key], ensure_ascii=False) for key in listed},
        "interpolation": config["interpolation"],
        "crop": str(config["test_crop"]),
        "input": options.input,
        "sizes": sizes,
        "nas_version": find_version("nas") or "unknown",
    }


def add_metadata(path: Path, properties: Mapping[str, str]) -> None:
    """Write properties into an ONNX file, which is checked for being one.

    Raises:
        onnx.checker.ValidationError: If it is none.
    """
    import onnx

    model = onnx.load(path)
    model.producer_name, model.producer_version = "nas", properties["nas_version"]
    onnx.helper.set_model_props(model, dict(properties))
    onnx.checker.check_model(model)
    onnx.save(model, path)


def read_metadata(path: Path) -> dict[str, str]:
    """Return the properties of an ONNX file."""
    import onnx

    return {each.key: each.value for each in onnx.load(path).metadata_props}


def require_metadata(path: Path, properties: Mapping[str, str], options: FileOptions) -> None:
    """Read an ONNX file back and raise unless it says what it should.

    Raises:
        WorkError: If it cannot be read, or a property, a name of its inputs and outputs or the opset is another.
    """
    import onnx

    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf and onnx raise what they like
        raise WorkError(
            f"the exported {path.name} cannot be read ({first_line(error)}); nothing was exported"
        ) from error
    found = {each.key: each.value for each in model.metadata_props}
    wrong = sorted(key for key in properties if found.get(key) != properties[key])
    if [each.name for each in model.graph.input] != ["images"]:
        wrong.append("its input's name")
    if [each.name for each in model.graph.output] != ["logits"]:
        wrong.append("its output's name")
    if next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), None) != (
        options.opset
    ):
        wrong.append("its opset")
    if wrong:
        raise WorkError(
            f"the exported {path.name} does not say what it should ({', '.join(wrong)}); nothing was exported"
        )
