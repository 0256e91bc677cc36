"""``nas rank``: how well a supernet orders designs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from nas.cli.options import (
    DESIGNS,
    Budget,
    Json,
    RayAddress,
    RetrainingEpochs,
    RetrainingRecipe,
    StudyName,
    is_given,
)
from nas.cli.render import output, print_json
from nas.study.setting import OUTPUT, TRAINING
from search_spaces.errors import RequestError


def rank(
    context: typer.Context,
    study: StudyName,
    designs: Annotated[
        int,
        typer.Option(
            min=1, help="Designs to train alone, evenly over the MACs of the space.", rich_help_panel=DESIGNS
        ),
    ] = 24,
    repeated: Annotated[
        int,
        typer.Option(
            min=0,
            help="Of these how many with a second seed, for the noise of training.",
            rich_help_panel=DESIGNS,
        ),
    ] = 8,
    epochs: RetrainingEpochs = None,
    recipe: RetrainingRecipe = None,
    table: Annotated[
        Path | None,
        typer.Option(
            help="Train nothing; take the trainings in this file, of another ranking or a table.",
            rich_help_panel=TRAINING,
            show_default="trainings of its own",
        ),
    ] = None,
    supernet: Annotated[
        Path | None,
        typer.Option(
            help="Judge these weights of a supernet of the space.",
            show_default="the study's",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    scores: Annotated[
        list[Path] | None,
        typer.Option(
            help="Judge this too: a JSON file of scores by digest, higher for better; repeatable.",
            rich_help_panel=OUTPUT,
            show_default="none",
        ),
    ] = None,
    budget: Budget = "auto",
    ray_address: RayAddress = None,
    as_json: Json = False,
) -> None:
    """Train a sample of designs alone, and say how well the supernet orders them."""
    from nas.pipeline.ranking import plan_ranking, run_ranking
    from nas.pipeline.resumable import resumable
    from nas.report.ranking_page import to_page
    from nas.runtime.files import write_text
    from nas.study.find import find_study

    training = ("designs", "repeated", "epochs", "recipe")
    if table is not None and (given := [name for name in training if is_given(context, name)]):
        raise RequestError(f"--table and --{given[0]} exclude one another; nothing is trained with --table")
    if is_given(context, "repeated") and repeated > designs:
        raise RequestError(
            f"--repeated {repeated} is more than --designs {designs}, of which they are; give at most {designs}"
        )
    plan = plan_ranking(
        find_study(study),
        designs=designs,
        repeated=repeated,
        recipe=recipe,
        epochs=epochs,
        table=table,
        supernet=supernet,
        scores=scores or (),
        budget=budget,
        ray_address=ray_address,
    )
    command = ["nas", *sys.argv[1:]]
    with resumable(command):
        ranking = run_ranking(plan, command)
    page = plan.study.folder / "ranking.html"
    write_text(page, to_page(ranking.to_json(), plan.study.name))
    if as_json:
        print_json({**ranking.to_json(), "page": str(page)})
        return
    rows = Table(title=f"order of {len(ranking.designs)} designs trained alone")
    for heading in ("by", "designs", "Kendall tau", "Spearman rho", "tau in quartiles of MACs", "regret@5"):
        rows.add_column(heading)
    for each in (*ranking.predictors, *ranking.baselines, *ranking.ceiling):
        quartiles = " ".join("-" if e.value is None else f"{e.value:.2f}" for e in each.tau_by_quartile)
        regret = f"{each.regret[5]:.1f} points" if 5 in each.regret else "-"
        rows.add_row(each.predictor, str(each.designs), str(each.tau), str(each.rho), quartiles, regret)
    output.print(rows)
    output.print(f"wrote {page}", soft_wrap=True, markup=False)
