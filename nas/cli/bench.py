"""``nas bench``: how fast this project is here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import MEASURE, Device, Json, Scale, Space, is_given
from nas.cli.render import output, print_json
from nas.study.setting import OUTPUT, RUN


def bench(
    context: typer.Context,
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[BENCH...]",
            help="operators, networks, supernet, population, search, workers, data, latency, compile; all but the "
            "last three where none is named.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="JSON to write: results; of latency its table.", rich_help_panel=OUTPUT, show_default="none"
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Page with pictures to write.", rich_help_panel=OUTPUT, show_default="none"),
    ] = None,
    device: Device = "auto",
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads on the CPU.", show_default="torch decides", rich_help_panel=RUN),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Rounds of each comparison.",
            show_default="what suits the bench",
            rich_help_panel=MEASURE,
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Side of the images in pixels.",
            rich_help_panel=MEASURE,
            show_default="what suits the bench",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Images at once.", rich_help_panel=MEASURE, show_default="what suits the bench"
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(min=2, help="Trials of bench search.", show_default="2000", rich_help_panel=MEASURE),
    ] = None,
    space: Space = "twins_cswin",
    scale: Scale = None,
    runtime: Annotated[
        str,
        typer.Option(
            help="Of latency, what runs the parts: torch, or onnxruntime or openvino as exported files.",
            rich_help_panel=MEASURE,
        ),
    ] = "torch",
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes, to see that it runs.", rich_help_panel=MEASURE)
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure this project's speed here, each side in turn with what people use otherwise."""
    import torch

    from nas.bench import command as benches
    from nas.bench.measurement import Measurement
    from nas.bench.setup import Setup
    from nas.bench.table import to_table
    from nas.runtime.device import parse_device
    from nas.runtime.files import require_writable, write_json, write_text
    from nas.runtime.interrupt import graceful
    from nas.runtime.provenance import provenance

    if html is not None:  # needs plotly, which a machine that only measures may lack
        from nas.bench.page import to_page

    names = benches.choose_benches(what or (), out)
    heeded = {option for options in benches.HEEDED.values() for option in options}
    benches.require_every_option_to_count(names, [each for each in sorted(heeded) if is_given(context, each)])
    for file in (out, html):
        if file is not None:
            require_writable(file.parent)
    where = parse_device(device)
    setup = Setup(
        device=where,
        threads=threads or torch.get_num_threads(),
        rounds=rounds,
        image_size=image_size,
        batch_size=batch_size,
        trials=trials,
        space=space,
        scale=scale,
        runtime=benches.choose_runtime(runtime, where),
        quick=quick,
    )

    def on_result(name: str, measurements: list[Measurement]) -> None:
        if not as_json:
            output.print(to_table(name, measurements))

    with graceful():
        outcome = benches.run(names, setup, on_result)
    results = outcome.to_json(provenance(0, ["nas", *sys.argv[1:]]))
    if out is not None:
        write_json(out, results if outcome.table is None else outcome.table.to_json())
    if html is not None:
        write_text(html, to_page(outcome.measurements, outcome.machine, results["provenance"]))
    if as_json:
        print_json(results)
