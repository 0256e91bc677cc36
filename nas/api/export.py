"""Retrained designs as standalone models."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.api.keywords import PathText
from nas.api.result import Retrained, SearchResult
from nas.api.session import format_call, session
from nas.export.formats import parse_formats
from nas.export.options import DEFAULT_OPTIONS, FileOptions, Input, parse_options
from nas.latency.runtime_names import Runtime
from nas.pipeline.exports import export_result, find_best_result, require_export_folder
from nas.study.find import find_study
from nas.study.folder import Study


@dataclass(frozen=True)
class Exported:
    """A model that was exported and verified.

    Args:
        folder: Where it lies: ``model.py``, weights, ``config.json``, a model card and what was verified.
        digest: What identifies its design.
        max_abs_difference: Largest difference of its logits to the trained network's, by file.
    """

    folder: Path
    digest: str
    max_abs_difference: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "folder": str(self.folder),
            "digest": self.digest,
            "max_abs_difference": self.max_abs_difference,
        }


def export_design(
    study: Study,
    digest: str | None,
    out: Path | None,
    formats: tuple[str, ...],
    options: FileOptions = DEFAULT_OPTIONS,
    mode: str | None = None,
    *,
    command: Sequence[str],
) -> Exported:
    """Export a retrained design of a study and verify it.

    Args:
        study: The study.
        digest: The design; None for the best that the search proposed.
        out: Folder to write; None for its own in the study.
        formats: Formats beside source and weights.
        options: How they are written and measured.
        mode: Which training of it, ``scratch`` or ``inherit``; None for the better.
        command: The command line or the call, for the folder's provenance.

    Raises:
        RequestError: If there is no such design, or the folder may not be written.
    """
    best = find_best_result(study, digest, mode)
    folder = out or study.export_folder(best["digest"])
    require_export_folder(folder, study)
    differences = export_result(study, best, folder, formats, options, command=command)
    return Exported(folder, best["digest"], differences)


def export(
    study: SearchResult | Retrained | PathText,
    out: PathText | None = None,
    *,
    design: str | None = None,
    formats: str = "all",
    input: Input = "normalized",
    dynamic_size: bool = False,
    opset: int | None = None,
    precision: str = "fp32",
    targets: Sequence[Runtime] = (),
    threads: int | None = None,
    quiet: bool = False,
) -> Exported:
    """Write a retrained design as a standalone model and verify it.

    Args:
        study: What `search` returned, the study's folder or name, or one of what `retrain` returned.
        out: Folder to write; ``exports/DIGEST`` in the study where it is left out.
        design: Digest of a retrained design; the best that the search proposed where it is left out.
        formats: ``all``, ``source``, or a list of ``pt2``, ``onnx``, ``openvino``.
        input: What those files take: ``normalized`` images, or ``uint8`` ones as they are decoded.
        dynamic_size: Whether they take other heights and widths too, where the design's operators can be recorded so.
        opset: Version of ONNX's operators; 20 where it is left out.
        precision: Files of fewer bits to write too: a list of ``fp16``, ``int8``, ``int8-dynamic``.
        targets: Runtimes in which the latency of the files is measured: ``torch``, ``onnxruntime``, ``openvino``.
        threads: How many threads they may use; one where it is left out.
        quiet: Whether nothing is printed meanwhile.

    Raises:
        RequestError: If there is no such design, an option would change nothing, or the folder may not be written.
    """
    mode = None
    if isinstance(study, Retrained):
        place: PathText = study.study
        design, mode = study.digest, study.mode
    else:
        place = study.path if isinstance(study, SearchResult) else study
    with session(quiet=quiet):
        found = find_study(os.fspath(place))
        folder = None if out is None else Path(out)
        chosen = parse_formats(formats)
        options = parse_options(
            chosen,
            input=input,
            dynamic_size=dynamic_size,
            opset=opset,
            precision=precision,
            targets=targets,
            threads=threads,
        )
        command = format_call(
            "export",
            study=place,
            out=out,
            design=design,
            formats=formats,
            input=input,
            dynamic_size=dynamic_size,
            opset=opset,
            precision=precision,
            targets=tuple(targets) or None,
            threads=threads,
        )
        return export_design(found, design, folder, chosen, options, mode, command=command)
