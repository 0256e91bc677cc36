"""What a shell offers where a space, a study or a recipe is to be typed; nothing heavy is imported."""

from __future__ import annotations


def complete_space(incomplete: str) -> list[str]:
    """Return the named spaces that begin so."""
    from search_spaces.declaration import known_spaces

    return [name for name in known_spaces() if name.startswith(incomplete)]


def complete_study(incomplete: str) -> list[str]:
    """Return the studies below ``studies/`` that begin so, by name or by path."""
    from nas.study.place import STUDIES

    prefix = f"{STUDIES}/" if incomplete.startswith(f"{STUDIES}/") else ""
    try:
        names = sorted(file.parent.name for file in STUDIES.glob("*/study.yaml"))
    except OSError:  # a folder that may not be read has no studies to offer
        return []
    return [f"{prefix}{name}" for name in names if f"{prefix}{name}".startswith(incomplete)]


def complete_recipe(incomplete: str) -> list[str]:
    """Return the named recipes that begin so."""
    from nas.study.named_recipes.reader import known_recipes

    return [name for name in known_recipes() if name.startswith(incomplete)]


def complete_published(incomplete: str) -> list[str]:
    """Return the published networks that begin so."""
    from search_spaces.published import PUBLISHED

    return [name for name in PUBLISHED if name.startswith(incomplete)]
