"""Recipes for people: what each costs and reaches, and every number with its source."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from nas.study.named_recipes.reader import NamedRecipe, known_recipes, load_recipe

#: Numbers that a search or a machine decides.
_NOT_SHOWN = ("shards", "seed")


def describe_cost(named: NamedRecipe) -> str:
    """Return how many images each training of a recipe sees."""
    if named.images is None:
        return "unknown: the recipe does not say for how many images it is"
    parts = [
        f"{what} {_format_count(recipe.epochs * named.images)} images ({recipe.epochs} epochs of {named.images:,})"
        for what, recipe in (("a supernet sees", named.supernet), ("a design", named.retraining))
    ]
    return ", ".join(parts)


def describe_result(named: NamedRecipe) -> str:
    """Return what trainings by a recipe reached."""
    return ", ".join(f"{name} {each['top1']:g}%" for name, each in (named.results or {}).items())


def describe_result_sources(named: NamedRecipe) -> str:
    """Return who says what trainings by a recipe reached."""
    sources: dict[str, list[str]] = {}
    for name, each in (named.results or {}).items():
        sources.setdefault(each["source"], []).append(name)
    if len(sources) == 1:
        return next(iter(sources))
    return "; ".join(f"{', '.join(names)}: {source}" for source, names in sources.items())


def number_rows(named: NamedRecipe) -> list[tuple[str, str, str, str]]:
    """Return name, value in retraining, value for a supernet, and source of every number."""
    sources = named.number_sources or {}
    retraining, supernet = asdict(named.retraining), asdict(named.supernet)
    rows = []
    for name, value in retraining.items():
        if name in _NOT_SHOWN:
            continue
        said = [sources.get(f"{section}.{name}") for section in ("retraining", "supernet")]
        source = said[0] or ("" if said[1] else "the default")
        if said[1]:
            source = f"{source}; supernet: {said[1]}" if source else f"supernet: {said[1]}"
        rows.append((name, _format(value), _format(supernet[name]), source))
    rows.append(("lr_scaling", named.lr_scaling, named.lr_scaling, sources.get("lr_scaling", "the default")))
    crop = _format(named.test_crop)
    rows.append(("test_crop", crop, crop, sources.get("test_crop", "the default")))
    return rows


def recipes_to_markdown() -> str:
    """Return all recipes that come with the project: a table of them, then the numbers of each."""
    recipes = [load_recipe(name) for name in known_recipes()]
    overview = "".join(
        f"| `{each.name}` | {each.summary} | {describe_cost(each)} | {describe_result(each)} |\n"
        for each in recipes
    )
    sections = [_to_section(each) for each in recipes]
    return (
        "| recipe | for | costs | reached by its authors, top-1 |\n| --- | --- | --- | --- |\n"
        f"{overview}\n" + "\n".join(sections)
    )


def _to_section(named: NamedRecipe) -> str:
    rows = "".join(
        f"| `{name}` | {one} | {other} | {source} |\n" for name, one, other, source in number_rows(named)
    )
    sources = "".join(f"- *{name}*: {meaning}\n" for name, meaning in (named.sources or {}).items())
    return (
        f"## {named.name}\n\n{named.summary}. {named.note}\n\n{sources}"
        f"- accuracies: {describe_result_sources(named)}\n\n"
        f"| number | retraining | supernet | source |\n| --- | --- | --- | --- |\n{rows}"
    )


def _format(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(f"{params / 1e6:g}M: {rate:g}" for params, rate in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _format_count(count: int) -> str:
    return f"{count / 1e6:,.0f}M" if count >= 10**6 else f"{count:,}"
