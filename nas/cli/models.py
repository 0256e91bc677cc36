"""Commands that make models and use them: retrain, export, import, evaluate, predict."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.completion import complete_published, complete_study
from nas.cli.options import (
    DESIGNS,
    Budget,
    Compile,
    DataDir,
    Device,
    DynamicSize,
    Formats,
    Input,
    Json,
    Opset,
    Precision,
    RayAddress,
    RetrainingEpochs,
    RetrainingRecipe,
    SkipBroken,
    StudyName,
    Targets,
    Threads,
    Track,
    is_given,
)
from nas.cli.render import (
    halving_table,
    output,
    predictions_table,
    print_json,
    results_json,
    results_table,
    scores_table,
)
from nas.study.setting import DATA, OUTPUT, RUN, TRAINING
from nas.study.teacher_spec import METAVAR as TEACHER


def retrain(
    context: typer.Context,
    study: StudyName,
    top: Annotated[
        int,
        typer.Option(
            min=1, help="How many designs of the search to train to the end.", rich_help_panel=DESIGNS
        ),
    ] = 1,
    candidates: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Train so many designs alone, spread over the costs, and leave out the worse after a quarter and half "
            "of the epochs until --top are left; as many as --top: the best of the front.",
            show_default="the study's, or four times --top",
            rich_help_panel=DESIGNS,
        ),
    ] = None,
    arch: Annotated[
        list[str] | None,
        typer.Option(
            help="Digest, published name, JSON file or export folder; repeatable. What is not of the study takes its "
            "images' size, channels and classes.",
            rich_help_panel=DESIGNS,
            show_default="the candidates",
        ),
    ] = None,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines",
            help="Beside them the analogues of the published designs in the space.",
            rich_help_panel=DESIGNS,
        ),
    ] = False,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Only from random weights.", rich_help_panel=TRAINING)
    ] = False,
    inherit: Annotated[
        bool, typer.Option("--inherit", help="Only from the supernet's weights.", rich_help_panel=TRAINING)
    ] = False,
    epochs: RetrainingEpochs = None,
    recipe: RetrainingRecipe = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar=TEACHER,
            help="Network to learn from beside the labels, weighed as the recipe says; none for none.",
            show_default="the study's",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    compile: Compile = False,
    budget: Budget = "auto",
    ray_address: RayAddress = None,
    track: Track = None,
    as_json: Json = False,
) -> None:
    """Train designs of a study by themselves, from scratch and from the supernet's weights."""
    from nas.api.retrain import RetrainRequest, run_retrain
    from nas.study.find import find_study

    request = RetrainRequest(
        top if is_given(context, "top") else None,
        tuple(arch or ()),
        baselines,
        candidates,
        from_scratch,
        inherit,
        epochs,
        recipe,
        teacher,
        compile,
        budget,
        track=track,
        ray_address=ray_address,
    )
    found = find_study(study)
    results, halving = run_retrain(found, request, ["nas", *sys.argv[1:]])
    if as_json:
        print_json(results_json(results))
        return
    output.print(results_table(results))
    if halving is not None:
        output.print(halving_table(halving, results))
    output.print(f"next: nas export {shlex.quote(str(found.folder))} --out DIR", soft_wrap=True, markup=False)


def export(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="A study with retrained designs.", autocompletion=complete_study
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write.", show_default="exports/DIGEST in the study", rich_help_panel=OUTPUT
        ),
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            help="Digest of a retrained design.",
            show_default="the best that the search proposed",
            rich_help_panel=DESIGNS,
        ),
    ] = None,
    formats: Formats = "all",
    input: Input = "normalized",
    dynamic_size: DynamicSize = False,
    opset: Opset = None,
    precision: Precision = "fp32",
    target: Targets = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Write a retrained design as a standalone model and verify it."""
    from nas.api.export import export_design
    from nas.export.formats import parse_formats
    from nas.export.options import parse_options
    from nas.study.find import find_study

    chosen = parse_formats(formats)
    options = parse_options(
        chosen,
        input=input,
        dynamic_size=dynamic_size,
        opset=opset,
        precision=precision,
        targets=target or (),
        threads=threads,
    )
    exported = export_design(find_study(study), arch, out, chosen, options, command=["nas", *sys.argv[1:]])
    if as_json:
        print_json(exported.to_json())
    else:
        output.print(f"exported to {exported.folder}", soft_wrap=True, markup=False)


def import_checkpoint(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A torch or safetensors checkpoint.")],
    name: Annotated[
        str,
        typer.Option(
            "--as",
            help="The published network that it is of.",
            rich_help_panel=DESIGNS,
            autocompletion=complete_published,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.", rich_help_panel=OUTPUT)],
    formats: Formats = "source",
    input: Input = "normalized",
    dynamic_size: DynamicSize = False,
    opset: Opset = None,
    target: Targets = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Turn a checkpoint of a paper's authors or of timm into a standalone model of ours and verify it."""
    from nas.export import importer
    from nas.export.formats import parse_formats
    from nas.export.options import parse_options
    from nas.pipeline.exports import require_export_folder

    chosen = parse_formats(formats)
    options = parse_options(
        chosen, input=input, dynamic_size=dynamic_size, opset=opset, targets=target or (), threads=threads
    )
    require_export_folder(out)
    result = importer.import_checkpoint(file, name, out, chosen, ["nas", *sys.argv[1:]], options)
    if as_json:
        print_json(result)
        return
    output.print(
        f"imported {result['parameters']:,} parameters of {name} with {result['num_classes']} classes to {out}",
        soft_wrap=True,
        markup=False,
    )
    output.print(
        f"next: nas evaluate {shlex.quote(str(out))} --data SPEC\n      nas show {shlex.quote(str(out))}",
        soft_wrap=True,
        markup=False,
    )


def evaluate(
    model: Annotated[Path, typer.Argument(metavar="DIR", help="An export folder.")],
    data: Annotated[
        str,
        typer.Option(
            help="mnist5k, folder:PATH, the URL of a folder or archive, or a name timm knows.",
            rich_help_panel=DATA,
        ),
    ],
    data_dir: DataDir = None,
    skip_broken: SkipBroken = False,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="Run the folder's model.py, whatever it does; else nothing of the folder is run.",
            rich_help_panel=RUN,
        ),
    ] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Measure an exported model's accuracy on the test images and its throughput."""
    from nas.export.evaluate_export import evaluate_folder
    from nas.pipeline.request import require_data_dir_to_count, require_skip_broken_to_count
    from nas.runtime.device import parse_device

    require_data_dir_to_count(data, data_dir)
    require_skip_broken_to_count(data, skip_broken)
    scores = evaluate_folder(
        model, data, data_dir, skip_broken=skip_broken, trust=trust, device=parse_device(device)
    )
    if as_json:
        print_json(scores)
    else:
        output.print(scores_table(scores))


def predict(
    model: Annotated[Path, typer.Argument(metavar="DIR", help="An export folder.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files of any size.")],
    top: Annotated[
        int, typer.Option(min=1, help="How many classes of each image.", rich_help_panel=OUTPUT)
    ] = 5,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Say what an exported model sees in image files: the most probable classes."""
    from nas.export.predict import predict_files
    from nas.runtime.device import parse_device

    predictions = predict_files(model, images, top, parse_device(device))
    if as_json:
        print_json([each.to_json() for each in predictions])
    else:
        output.print(predictions_table(predictions))
