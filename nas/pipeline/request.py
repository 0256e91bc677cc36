"""What a user asks of a search."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from nas.data.sources.find import is_folder
from nas.data.sources.own_dataset import PREFIX as OWN
from nas.data.sources.source import Source
from nas.data.sources.url import is_url
from nas.pipeline.again import name_another_search, settings_from_study
from nas.search.storage import open_storage_for_reading
from nas.search.storage_url import VARIABLE, clean, read_storage_file
from nas.study.find import find_default_study, find_study
from nas.study.folder import Study
from nas.study.locations import locate
from nas.study.named_recipes.reader import load_recipe
from nas.study.recipes import RecipeOverrides, override_settings
from nas.study.setting import declared_settings
from nas.study.settings import Settings, read_settings
from nas.training.own_functions import NO_FUNCTIONS, OwnFunctions
from search_spaces.errors import RequestError, StudyError

_MAKING_SECONDS = 60.0  # in which a study's first command, which holds its lock, writes its settings

#: Options that say how a supernet is trained and nothing else.
_ONLY_TRAINING = ("epochs", "policy", "paths")
#: Options that say how a supernet is trained or how designs are scored with it, and nothing else.
_ONLY_ACCURACY = (*_ONLY_TRAINING, "sharing", "supernet", "init_from", "validation_images")


@dataclass(frozen=True)
class SearchRequest:
    """What a user asks for; nothing of it is checked yet.

    Args:
        given: Values of the options that were given, by the name of the setting or of the recipe's override.
        config: A ``study.yaml`` whose settings are the defaults of those that were not given, or None.
        budget: What may be used.
        study: Name or folder of the study; None for the names of space and images under ``studies/``.
        storage: Storage URL; None for the study's own.
        storage_file: File that holds the storage URL, or None.
        from_study: A study whose trained supernet is searched again in a new one, or None.
        images: The images where they were given as such, and ``data`` is only their name; None where it says all.
        join: Whether the search is shared with those who search the study already.
        own: Functions of a Python program; ``given`` declares its objectives and names its training step.
        ray_address: Which Ray cluster is used; None for the one that is found.
    """

    given: Mapping[str, Any] = field(default_factory=dict)
    config: Path | None = None
    budget: str = "auto"
    study: str | None = None
    storage: str | None = None
    storage_file: Path | None = None
    from_study: str | None = None
    images: Source | None = None
    join: bool = False
    own: OwnFunctions = NO_FUNCTIONS
    ray_address: str | None = None

    @cached_property
    def settings(self) -> Settings:
        """The settings; their recipes count only where there is a file of them.

        Raises:
            RequestError: If a value is wrong.
        """
        if self.source is not None:
            if self.config is not None:
                raise RequestError("--config and --from-study both say where settings are from; give one")
            return settings_from_study(self.source, self.given)
        if self.config is not None:
            return override_settings(
                locate(read_settings(self.config), self.config), self._given_of(Settings), self.overrides
            )
        return Settings(**self._given_of(Settings))

    @cached_property
    def source(self) -> Study | None:
        """The study whose supernet is searched again."""
        return None if self.from_study is None else find_study(self.from_study)

    @property
    def overrides(self) -> RecipeOverrides:
        """The numbers of the recipes that were given."""
        return RecipeOverrides(**self._given_of(RecipeOverrides))

    @property
    def recipe_test_crop(self) -> float | None:
        """Share of the side of large images that the recipe tests on, unless the user gives one."""
        name = self.overrides.training_recipe
        return None if name is None or "test_crop" in self.given else load_recipe(name).test_crop

    @property
    def study_folder(self) -> Study:
        """The study's folder, which need not exist."""
        if self.study is None and self.source is not None:
            return Study(name_another_search(self.source, self.given))
        return find_default_study(self.settings) if self.study is None else find_study(self.study)

    @property
    def storage_url(self) -> str:
        """Where the trials are stored, without secrets: as given, else in ``NAS_STORAGE``, else in the folder.

        A study that exists keeps its storage.

        Raises:
            RequestError: If a storage is given in two ways, or is not the study's.
        """
        study, given = self.study_folder, self.storage
        if self.storage_file is not None:
            if given is not None:
                raise RequestError("--storage and --storage-file both say where trials are stored; give one")
            given = read_storage_file(self.storage_file)
        given = None if given is None else clean(given)
        if study.settings_file.exists():
            if given not in (None, study.url):
                raise StudyError(
                    f"study {study.folder} keeps its trials in {study.url}, not in {given}; leave --storage out, or "
                    "choose another --study"
                )
            return study.url
        if given is None and (variable := os.environ.get(VARIABLE)):
            return clean(variable)
        return given or study.url

    def require_free_or_joined(self) -> None:
        """Refuse a study that somebody works on; where it is to be joined, wait until that one has made it.

        Raises:
            StudyError: If somebody works on it, and it is not to be joined.
        """
        study = self.study_folder
        if not self.join:
            study.lock.require_free()
        end = time.monotonic() + _MAKING_SECONDS
        while study.lock.holder() and not study.settings_file.exists() and time.monotonic() < end:
            time.sleep(0.1)

    def require_storage_to_exist(self) -> None:
        """Refuse to make a database that nobody asked for but a file of a study that has begun.

        Raises:
            StudyError: If ``storage.txt`` of the study leads to a database that is not there, or holds no tables.
        """
        study = self.study_folder
        if not (study.settings_file.exists() and study.storage_file.exists()):
            return
        typed = self.storage is not None or self.storage_file is not None
        variable, url = os.environ.get(VARIABLE), study.url
        if typed or url == study.default_url or (variable and clean(variable) == url):
            return
        if open_storage_for_reading(url) is None:
            raise StudyError(
                f"the database {url} that {study.storage_file} names is not there; put it back, or give it as "
                "--storage to begin it anew"
            )

    def _given_of(self, kind: type) -> dict[str, Any]:
        names = {each.name for each in declared_settings(kind)}
        return {name: value for name, value in self.given.items() if name in names}

    def require_every_option_to_count(self) -> None:
        """Refuse options that were given and could change nothing.

        Raises:
            RequestError: If there is one; the sentence names it.
        """
        settings = self.settings
        for name in _ONLY_TRAINING:
            if settings.supernet is not None and name in self.given:
                raise RequestError(f"--supernet gives weights that are trained already; leave --{name} out")
        for name in _ONLY_ACCURACY:
            if not settings.needs_supernet and name in self.given:
                flag = name.replace("_", "-")
                raise RequestError(
                    f"--objective {settings.objectives} compares neither losses nor accuracies, so that no "
                    f"supernet is trained or used; leave --{flag} out, or add loss to --objective"
                )
        if "latency_runtime" in self.given and not settings.heeds_latency:
            raise RequestError(
                f"--latency-runtime {settings.latency_runtime} is for latencies, which nothing here asks for; leave it "
                "out, or add latency_ms to --objective or a --max-latency-ms"
            )
        require_data_dir_to_count(settings.data, self.given.get("data_dir"))
        require_skip_broken_to_count(settings.data, self.given.get("skip_broken"))


def require_data_dir_to_count(data: str, data_dir: object) -> None:
    """Refuse a folder of timm's data sets for images that are none of them.

    Raises:
        RequestError: If there is one.
    """
    if data_dir is not None and (data == "mnist5k" or data.startswith(("folder:", OWN)) or is_url(data)):
        raise RequestError(
            f"--data-dir says where timm's data sets lie, and {data} is none of them; leave it out"
        )


def require_skip_broken_to_count(data: str, skip_broken: object) -> None:
    """Refuse to pass over broken files of images that are no folder of files.

    Raises:
        RequestError: If that is asked for.
    """
    if skip_broken and not is_folder(data):
        raise RequestError(f"--skip-broken passes over files in a folder, and {data} is none; leave it out")
