"""Options that commands share, and those of ``nas search`` built from the declarations of the settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_origin

import typer

from nas.cli.completion import complete_recipe, complete_space, complete_study
from nas.export.options import NEWEST_OPSET, OLDEST_OPSET, OPSET
from nas.report.trackers import METAVAR as TRACKERS
from nas.study.recipes import RecipeOverrides
from nas.study.setting import DATA, OUTPUT, RUN, SEARCH, SPACE, TRAINING, Setting, declared_settings
from nas.study.settings import Settings

PANELS = (SPACE, DATA, TRAINING, SEARCH, RUN, OUTPUT)

#: Titles of groups that ``nas search`` does not have.
DESIGNS, MEASURE = "Designs", "Measure"

Json = Annotated[
    bool,
    typer.Option("--json", help="Print the result as JSON on standard output.", rich_help_panel=OUTPUT),
]
StudyName = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="A study's folder, or its name under studies/.",
        autocompletion=complete_study,
    ),
]
Budget = Annotated[
    str,
    typer.Option(
        help="What may be used: auto, 8gpu, 2cpu; optionally ,12h and ,500trials.", rich_help_panel=RUN
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT|auto|local",
        help="Ray cluster to work on; auto for one that ray start made on this machine, local for none.",
        show_default="RAY_ADDRESS, else auto where there is one",
        rich_help_panel=RUN,
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.", rich_help_panel=RUN)]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Train with blocks compiled by region; needs a C++ compiler.",
        rich_help_panel=TRAINING,
    ),
]
RetrainingEpochs = Annotated[
    int | None,
    typer.Option(min=1, help="Epochs.", show_default="those of the study's recipe", rich_help_panel=TRAINING),
]
RetrainingRecipe = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="Train by this recipe: a name that nas recipes lists, or a YAML file of that form.",
        show_default="the study's",
        rich_help_panel=TRAINING,
        autocompletion=complete_recipe,
    ),
]
SkipBroken = Annotated[
    bool,
    typer.Option(
        "--skip-broken", help="Go on without image files that cannot be read.", rich_help_panel=DATA
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Where timm's data sets lie.", show_default="the cache folder", rich_help_panel=DATA),
]
Formats = Annotated[
    str,
    typer.Option(
        "--format",
        help="all (pt2, onnx), source, or a list of pt2, onnx, openvino; the last needs an extra package.",
        rich_help_panel=OUTPUT,
    ),
]
Track = Annotated[
    str | None,
    typer.Option(
        metavar=TRACKERS,
        help="Send the metrics of trainings and trials there as well; the study's own tables are written all the same.",
        show_default="nowhere",
        rich_help_panel=OUTPUT,
    ),
]
Space = Annotated[
    str,
    typer.Option(
        help="Name of a space, or a YAML file.", rich_help_panel=SPACE, autocompletion=complete_space
    ),
]
Input = Annotated[
    str,
    typer.Option(
        help="What the files of --format take: normalized images, or uint8 ones as they are decoded, which the file "
        "normalises itself.",
        rich_help_panel=OUTPUT,
    ),
]
DynamicSize = Annotated[
    bool,
    typer.Option(
        "--dynamic-size",
        help="Let the files of --format take other heights and widths too, multiples of what the design's windows and "
        "patches fill; the model card says of what.",
        rich_help_panel=OUTPUT,
    ),
]
Opset = Annotated[
    int | None,
    typer.Option(
        min=OLDEST_OPSET,
        max=NEWEST_OPSET,
        help="Version of the operators in model.onnx.",
        show_default=str(OPSET),
        rich_help_panel=OUTPUT,
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        help="Write files of fewer bits beside fp32 too: a list of fp16, int8 (calibrated on training images) and "
        "int8-dynamic, with their accuracy on validation images and their latency.",
        rich_help_panel=OUTPUT,
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        help="Measure the files' latency in torch, onnxruntime or openvino on this CPU, side by side; repeatable.",
        show_default="none",
        rich_help_panel=MEASURE,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1, help="Threads that each --target may use.", show_default="1", rich_help_panel=MEASURE
    ),
]
Scale = Annotated[
    str | None,
    typer.Option(
        help="Scale of the space.",
        show_default="the one meant for the images' size",
        rich_help_panel=SPACE,
    ),
]
#: What a shell offers for settings.
_COMPLETIONS = {"space": complete_space, "training_recipe": complete_recipe}


def is_given(context: typer.Context, name: str) -> bool:
    """Return whether a parameter was given on the command line, be it as its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def with_setting_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with an option for every setting of a study and every override of a recipe.

    Args:
        command: Its first parameter takes the values that were given on the command line, by the name of the
            setting; all others are keywords and become options or arguments as usual.
    """
    declared = [each for panel in PANELS for each in search_options() if each.panel == panel]

    def run(context: typer.Context, **values: Any) -> None:
        given = {
            each.name: _to_setting(values[each.name]) for each in declared if is_given(context, each.name)
        }
        command(given, **{name: values[name] for name in own})

    _, *others = inspect.signature(command, eval_str=True).parameters.values()
    own = [parameter.name for parameter in others]
    parameters = [
        inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        *map(_to_parameter, declared),
        *others,
    ]
    run.__doc__ = command.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def search_options() -> list[Setting]:
    """Return the declarations of all settings and overrides that are options."""
    declared = (*declared_settings(Settings), *declared_settings(RecipeOverrides))
    return [each for each in declared if each.panel is not None]


def _to_parameter(each: Setting) -> inspect.Parameter:
    """Return a setting as the parameter of a command."""
    is_list = get_origin(each.type) is tuple
    kind = Path | None if each.is_path else list[str] | None if is_list else each.type
    option = typer.Option(
        each.flag,
        help=each.description,
        metavar=each.metavar,
        show_default=each.default_help or True,
        rich_help_panel=each.panel,
        autocompletion=_COMPLETIONS.get(each.name) or (_complete_choices(each) if each.choices else None),
    )
    return inspect.Parameter(
        each.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None if is_list else each.default,
        annotation=Annotated[kind, option],
    )


def _complete_choices(each: Setting) -> Callable[[str], list[str]]:
    """Return what offers the values of a setting that has a list of them."""

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in each.choices if choice.startswith(incomplete)]

    return complete


def _to_setting(value: Any) -> Any:
    """Return the value of an option as its setting holds it."""
    if isinstance(value, list):
        return tuple(value)
    return str(value) if isinstance(value, Path) else value
