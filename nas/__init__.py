"""What is done with supernets: train, search, retrain, export, report; and the names that scripts and notebooks use.

``from nas import search`` and the other names of ``__all__`` are found when they are first asked for, so that importing
``nas`` imports neither torch nor ray. Two of them, `search` and `export`, are packages too: whoever calls the package
calls the function of `nas.api` that has its name.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.api.data import load_data as load_data
    from nas.api.export import export as export
    from nas.api.result import SearchResult as SearchResult
    from nas.api.result import load_study as load_study
    from nas.api.retrain import retrain as retrain
    from nas.api.search import search as search
    from nas.api.spaces import load_space as load_space
    from nas.runtime.callbacks import Callback as Callback
    from nas.search.own_objectives import Objective as Objective
    from nas.training.training_step import TrainingBatch as TrainingBatch
    from search_spaces.architecture import Architecture as Architecture
    from search_spaces.errors import NasError as NasError
    from search_spaces.space import Space as Space
    from supernet.supernet import Supernet as Supernet

__all__ = [
    "Architecture",
    "Callback",
    "NasError",
    "Objective",
    "SearchResult",
    "Space",
    "Supernet",
    "TrainingBatch",
    "export",
    "load_data",
    "load_space",
    "load_study",
    "retrain",
    "search",
]

#: The module of each name.
_HOMES = {
    "Architecture": "search_spaces.architecture",
    "Callback": "nas.runtime.callbacks",
    "NasError": "search_spaces.errors",
    "Objective": "nas.search.own_objectives",
    "SearchResult": "nas.api.result",
    "Space": "search_spaces.space",
    "Supernet": "supernet.supernet",
    "TrainingBatch": "nas.training.training_step",
    "export": "nas.api.export",
    "load_data": "nas.api.data",
    "load_space": "nas.api.spaces",
    "load_study": "nas.api.result",
    "retrain": "nas.api.retrain",
    "search": "nas.api.search",
}
_CALLABLE_PACKAGES = ("search", "export")


class _CallablePackage(ModuleType):
    """A package of the house that has the name of a function: it is called as that function is."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return _find(self.__name__.rpartition(".")[2])(*arguments, **keywords)

    @property
    def __signature__(self) -> Any:
        """What `inspect.signature` and notebooks show of it."""
        return import_module("inspect").signature(_find(self.__name__.rpartition(".")[2]))


class _Package(ModuleType):
    """This package, in which a subpackage that has the name of a function becomes callable once it is imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _CALLABLE_PACKAGES and type(value) is ModuleType:
            value.__class__ = _CallablePackage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def _find(name: str) -> Any:
    try:
        return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        from nas.runtime.extras import explain_missing

        if (missing := explain_missing(error)) is None:
            raise
        raise missing from error


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return import_module(f"{__name__}.{name}") if name in _CALLABLE_PACKAGES else _find(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
