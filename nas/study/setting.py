"""How a setting is declared: once, with what its option, ``study.yaml`` and the documents need to know of it.

A setting is a field of a frozen dataclass whose default is `setting`. A setting with a panel is an option of
``nas search`` as well; one without is written in ``study.yaml`` alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, get_type_hints

from search_spaces.errors import RequestError, nearest

#: Titles of the groups in which ``nas search --help`` lists its options.
SPACE, DATA, TRAINING, SEARCH, RUN, OUTPUT = "Space", "Data", "Training", "Search", "Run", "Output"

#: How two studies' values of a setting are compared: as they are; by the content of the file that the text names, or
#: of the files in texts such as NAME=FILE; by the weights of the teacher that the text asks for; or not by themselves,
#: since they decide nothing or only by what they name: the images and the space, which are compared themselves.
AS_VALUE, AS_FILE, AS_NAMED_FILES, AS_TEACHER = "value", "file", "named files", "teacher"
NOT_COMPARED = "not compared"

_METADATA = "nas.setting"


@dataclass(frozen=True)
class Setting:
    """The declaration of one setting.

    Args:
        name: Its key in ``study.yaml``.
        type: Type of its values.
        default: Its value where nobody gives one.
        help: What it means, in one sentence.
        panel: The group of its option in the help; None where it has no option.
        option: Name of the option where it is not that of the setting.
        metavar: What the help writes for a value of it.
        default_help: What its default means, where the value does not say so itself.
        choices: Its only values.
        minimum: Its least value.
        maximum: Its largest value.
        check: Raises a ``RequestError`` for values that are wrong otherwise; takes the option and the value.
        is_path: Whether its text is a path.
        overrides: Keys of the settings that it sets, where it is an option but no setting of its own.
        compared: How values of two studies are compared.
        former: Its defaults in earlier versions.
    """

    name: str
    type: Any
    default: Any
    help: str
    panel: str | None = None
    option: str | None = None
    metavar: str | None = None
    default_help: str | None = None
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    check: Callable[[str, Any], None] | None = None
    is_path: bool = False
    overrides: tuple[str, ...] = ()
    compared: str = AS_VALUE
    former: tuple[Any, ...] = ()

    @property
    def flag(self) -> str:
        """The option as it is typed."""
        return self.option or f"--{self.name.replace('_', '-')}"

    @property
    def description(self) -> str:
        """What it means, with its choices."""
        if not self.choices:
            return self.help
        return f"{self.help.removesuffix('.')}: {', '.join(self.choices[:-1])} or {self.choices[-1]}."

    def validate(self, value: Any, name: str | None = None) -> None:
        """Check a value of the right type; None, where it is allowed, is always right.

        Args:
            value: The value.
            name: What the sentence calls the setting; its option where it is left out.

        Raises:
            RequestError: If the value is wrong; the sentence names the setting.
        """
        if value is None:
            return
        name = self.flag if name is None else name
        if self.choices and value not in self.choices:
            raise RequestError(f"{name}: unknown value '{value}' ({nearest(value, self.choices)})")
        if self.minimum is not None and self.maximum is not None:
            if not self.minimum <= value <= self.maximum:
                raise RequestError(f"{name} must be between {self.minimum} and {self.maximum}, not {value}")
        elif self.minimum is not None and not self.minimum <= value < math.inf:  # NaN is neither
            raise RequestError(f"{name} must be at least {self.minimum}, not {value}")
        if self.check is not None:
            self.check(name, value)


def setting(default: Any, help: str, panel: str | None = None, **declaration: Any) -> Any:
    """Declare a field of a dataclass as a setting; the arguments are those of `Setting`."""
    return field(default=default, metadata={_METADATA: {"help": help, "panel": panel, **declaration}})


@cache
def declared_settings(kind: type) -> tuple[Setting, ...]:
    """Return the settings that a dataclass declares, in order."""
    types = get_type_hints(kind)
    return tuple(
        Setting(each.name, types[each.name], each.default, **each.metadata[_METADATA])
        for each in fields(kind)
    )
