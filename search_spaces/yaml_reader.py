"""Reading YAML by hand-written rules: every error names the file, the key, the value and what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from search_spaces.checks import is_int, is_number
from search_spaces.errors import ArchitectureError, SpaceError, nearest
from search_spaces.limits import OPTIONS, YAML_BYTES, YAML_VALUES, Limit


@dataclass(frozen=True)
class YamlReader:
    """Checks the values of one YAML file.

    Args:
        source: What the file is called in errors.
    """

    source: str

    def parse(self, text: str) -> Any:
        """Return the plain values of ``text``.

        Raises:
            SpaceError: If it is not YAML, writes a key twice, or is too large.
        """
        if why := YAML_BYTES.refusal(len(text)):
            raise SpaceError(f"{self.source}: {why}")
        try:
            content = yaml.load(text, Loader=_UniqueKeys)  # a SafeLoader: builds plain values only
            size = _count_values(content, {})
        except RecursionError:
            raise SpaceError(f"{self.source}: not valid YAML: it is nested too deeply") from None
        except (
            yaml.YAMLError,
            ValueError,
            OverflowError,
        ) as error:  # dates such as 2026-13-45 are ValueErrors
            raise SpaceError(f"{self.source}: not valid YAML: {' '.join(str(error).split())}") from None
        if why := YAML_VALUES.refusal(size):
            raise SpaceError(f"{self.source}: {why}")
        return content

    def error(self, key: str, what: str) -> SpaceError:
        """Return the error that says what is wrong with the value at ``key``."""
        return SpaceError(f"{self.source}: {key} {what}")

    def mapping(
        self, value: Any, key: str, known: Sequence[str], required: Sequence[str] = ()
    ) -> Mapping[str, Any]:
        """Return ``value``, a mapping that has no keys but the ``known`` and all of the ``required``."""
        if not isinstance(value, dict):
            raise self.error(key, f"must be a mapping with {', '.join(required or known)}, not {value!r}")
        for name in value:
            if name not in known:
                raise self.error(key, f"has an unknown key '{name}' ({nearest(str(name), known)})")
        for name in required:
            if name not in value:
                raise self.error(key, f"lacks the key '{name}'")
        return value

    def options(self, value: Any, key: str) -> list[Any]:
        """Return ``value``, one option or a list of different ones, as a list."""
        options = value if isinstance(value, list) else [value]
        if not options:
            raise self.error(key, "must offer at least one option")
        if why := OPTIONS.refusal(len(options)):
            raise self.error(key, f"is too long: {why}")
        for number, option in enumerate(options):
            if option in options[:number]:
                raise self.error(key, f"offers {option!r} twice")
        return options

    def words(self, value: Any, key: str, check: Callable[[object], object]) -> tuple[str, ...]:
        """Return options that are each a word for which ``check`` raises no ``ArchitectureError``."""
        options = self.options(value, key)
        for option in options:
            try:
                check(option)
            except ArchitectureError as error:
                raise SpaceError(f"{self.source}: {key}: {error}") from None
        return tuple(options)

    def count(self, value: Any, key: str, most: Limit) -> int:
        """Return one positive integer within a limit."""
        if not is_int(value) or value < 1:
            raise self.error(key, f"must be one positive integer, not {value!r}")
        self._require_within(value, key, most)
        return value

    def counts(self, value: Any, key: str, most: Limit) -> tuple[int, ...]:
        """Return options that are positive integers within a limit, ascending."""
        options = self.options(value, key)
        for option in options:
            if not is_int(option) or option < 1:
                raise self.error(key, f"must be positive integers, not {option!r}")
            self._require_within(option, key, most)
        return tuple(sorted(options))

    def _require_within(self, value: int, key: str, most: Limit) -> None:
        if why := most.refusal(value):
            raise self.error(key, f"is too large: {why}")

    def ratios(self, value: Any, key: str) -> tuple[float, ...]:
        """Return options that are numbers above 0 and at most 16, ascending."""
        options = self.options(value, key)
        for option in options:
            if not is_number(option) or not 0 < option <= 16:
                raise self.error(key, f"must be numbers above 0 and at most 16, not {option!r}")
        return tuple(sorted(float(option) for option in options))

    def side_range(self, value: Any, key: str, most: Limit) -> tuple[int, int]:
        """Return the smallest and largest side of images in pixels; one number is both."""
        sides = [value, value] if isinstance(value, int) else value
        ok = isinstance(sides, list) and len(sides) == 2 and all(is_int(side) and side > 0 for side in sides)
        if not ok or sides[0] > sides[1]:
            raise self.error(key, f"must be [smallest, largest] side in pixels, not {sides!r}")
        self._require_within(sides[1], key, most)
        return sides[0], sides[1]


def _count_values(value: Any, counts: dict[int, int]) -> int:
    """Return how many values a parsed file writes out; ``counts`` are those of lists and mappings seen, by id.

    Raises:
        ValueError: If a value contains itself.
    """
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in counts:
        counts[id(value)] = -1
        inner = value.values() if isinstance(value, dict) else value
        counts[id(value)] = 1 + sum(_count_values(each, counts) for each in inner)
    elif counts[id(value)] < 0:
        raise ValueError("an alias stands in what it is an alias of")
    return counts[id(value)]


class _UniqueKeys(yaml.SafeLoader):
    """A safe loader that refuses a key written twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, f"a key must be a word, not {key!r}", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' is written twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
