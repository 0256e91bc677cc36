"""Reading recipes: those that come with the project, by name, and files of the same form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

from nas.study.recipe import Recipe
from nas.study.setting import Setting, declared_settings
from search_spaces.checks import is_int, is_number
from search_spaces.errors import RequestError, nearest
from search_spaces.yaml_reader import YamlReader

_TOP = (
    *("name", "summary", "images", "sources", "lr_scaling", "test_crop", "retraining", "supernet"),
    *("results", "note"),
)
#: How the rate goes with the images a step, as a power of them.
LR_SCALING = {"linear": 1.0, "square root": 0.5, "none": 0.0}


@dataclass(frozen=True)
class NamedRecipe:
    """Recipes of a supernet and of designs that are trained by themselves, and where their numbers are from.

    Args:
        name: Its name; the file's where it has none of its own.
        retraining: How a design is trained by itself.
        supernet: How a supernet is trained; what is not said of it is as in retraining.
        lr_scaling: How the rate goes with the images a step, a key of `LR_SCALING`.
        test_crop: Share of the side that the central crop of large test images keeps; None where nothing is said.
        summary: One line for people.
        images: Training images that it is meant for, or None.
        sources: What the numbers' sources are short for.
        number_sources: Source of each number, by ``retraining.epochs`` and so on.
        results: By network, what its training reaches: ``top1`` in percent, and ``source``.
        note: What else is to be known.
    """

    name: str
    retraining: Recipe
    supernet: Recipe
    lr_scaling: str = "none"
    test_crop: float | None = None
    summary: str = ""
    images: int | None = None
    sources: Mapping[str, str] | None = None
    number_sources: Mapping[str, str] | None = None
    results: Mapping[str, Mapping[str, Any]] | None = None
    note: str = ""

    def scale_lr(self, lr: float, batch_size: int, other: int) -> float:
        """Return the rate for ``other`` images a step, where ``lr`` is that for ``batch_size``."""
        return float(lr * (other / batch_size) ** LR_SCALING[self.lr_scaling])

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def known_recipes() -> list[str]:
    """Return the names of the recipes that come with the project."""
    files = resources.files(__package__).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load_recipe(name_or_file: str) -> NamedRecipe:
    """Return a recipe by its name, or that of a YAML file.

    Raises:
        RequestError: If there is none, or something in it is wrong; the sentence says what.
    """
    if name_or_file in known_recipes():
        return _load_named(name_or_file)
    path = Path(name_or_file)
    if path.suffix not in (".yaml", ".yml") and not path.is_file():
        raise RequestError(
            f"no recipe is called '{name_or_file}' ({nearest(name_or_file, known_recipes())}), and it is no YAML file"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(
            f"cannot read the recipe {path}: {getattr(error, 'strerror', None) or error}"
        ) from None
    return read_recipe(text, str(path))


@cache
def _load_named(name: str) -> NamedRecipe:
    file = resources.files(__package__) / f"{name}.yaml"
    return read_recipe(file.read_text(encoding="utf-8"), file.name)


def read_recipe(text: str, source: str) -> NamedRecipe:
    """Return the recipe that a YAML text declares.

    A number is a plain value, or ``{value: ..., source: ...}``.

    Args:
        text: The YAML.
        source: What it is called in errors.

    Raises:
        RequestError: If a key is unknown or a value wrong.
    """
    reader = YamlReader(source)
    content = reader.mapping(reader.parse(text), "the recipe", _TOP)
    if not {"retraining", "supernet"} & set(content):
        raise RequestError(f"{source}: the recipe has neither 'retraining' nor 'supernet'")
    sources: dict[str, str] = {}
    numbers = {name: _read_numbers(reader, content, name, sources) for name in ("retraining", "supernet")}
    for_one_network = {"drop_path_by_params"}  # a supernet holds networks of many sizes
    shared = {key: value for key, value in numbers["retraining"].items() if key not in for_one_network}
    scaling = _read_value(reader, content.get("lr_scaling", "none"), "lr_scaling", sources)
    if scaling not in LR_SCALING:
        raise RequestError(
            f"{source}: lr_scaling is unknown: '{scaling}' ({nearest(str(scaling), LR_SCALING)})"
        )
    crop = _read_value(reader, content.get("test_crop"), "test_crop", sources)
    if crop is not None and (not is_number(crop) or not 0.5 <= crop <= 1):
        raise RequestError(f"{source}: test_crop must be a share of the side from 0.5 to 1, not {crop!r}")
    images = content.get("images")
    if images is not None and (not is_int(images) or images < 1):
        raise RequestError(f"{source}: images must be a positive number, not {images!r}")
    return NamedRecipe(
        name=_read_text(reader, content, "name", Path(source).stem),
        retraining=_to_recipe(numbers["retraining"], source, "retraining"),
        supernet=_to_recipe({**shared, **numbers["supernet"]}, source, "supernet"),
        lr_scaling=scaling,
        test_crop=None if crop is None else float(crop),
        summary=_read_text(reader, content, "summary", ""),
        images=images,
        sources=_read_mapping(reader, content, "sources"),
        number_sources=sources,
        results=_read_mapping(reader, content, "results"),
        note=_read_text(reader, content, "note", ""),
    )


def _read_numbers(
    reader: YamlReader, content: Mapping[str, Any], section: str, sources: dict[str, str]
) -> dict[str, Any]:
    """Return the numbers of a section, and add where they are from to ``sources``."""
    known = [each.name for each in declared_settings(Recipe)]
    numbers = reader.mapping(content.get(section, {}), section, known)
    return {name: _read_value(reader, value, f"{section}.{name}", sources) for name, value in numbers.items()}


def _read_value(reader: YamlReader, value: Any, key: str, sources: dict[str, str]) -> Any:
    """Return a plain value, or that of a mapping whose source is added to ``sources``."""
    if not isinstance(value, dict):
        return value
    known = reader.mapping(value, key, ("value", "source"), ("value", "source"))
    sources[key] = str(known["source"])
    return known["value"]


def _read_text(reader: YamlReader, content: Mapping[str, Any], key: str, default: str) -> str:
    text = content.get(key, default)
    if not isinstance(text, str):
        raise reader.error(key, f"must be a text, not {text!r}")
    return text


def _read_mapping(reader: YamlReader, content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise reader.error(key, f"must be a mapping, not {value!r}")
    return value


def _to_recipe(numbers: Mapping[str, Any], source: str, section: str) -> Recipe:
    """Return the recipe of a section; types are checked here, as a machine that only measures may lack pydantic."""
    try:
        recipe = Recipe(
            **{
                each.name: _to_type(each, numbers[each.name], f"{section}.{each.name}")
                for each in declared_settings(Recipe)
                if each.name in numbers
            }
        )
        recipe.validate(section)
    except RequestError as error:
        raise RequestError(f"{source}: {error}") from None
    return recipe


def _to_type(each: Setting, value: Any, name: str) -> Any:
    """Return a number as its declaration says: an integer may stand for a float, a list of pairs for points."""
    kinds = get_args(each.type) or (each.type,)
    if value is None and NoneType in kinds:
        return None
    if isinstance(value, list) and any(get_origin(kind) is tuple for kind in kinds):
        if all(isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair)) for pair in value):
            return tuple((params, rate) for params, rate in value)
    elif (float in kinds and is_number(value)) or (int in kinds and is_int(value)):
        return float(value) if float in kinds else value
    elif str in kinds and isinstance(value, str):
        return value
    what = {int: "a whole number", float: "a number", str: "a text"}
    expected = next((what[kind] for kind in kinds if kind in what), "a list of [parameters, rate]")
    raise RequestError(f"{name} must be {expected}, not {value!r}")
