"""How it is seen that an option does something: what is typed, and what it is added to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Entry:
    """How the effect of an option is seen.

    Args:
        typed: The option as it is typed, with its value.
        base: The command line that it is added to; it then does something else, or says something else.
        refused: What the sentence says where it is refused instead; the option is named there.
        refusals: Command lines in which it could change nothing, and which are refused.
    """

    typed: tuple[str, ...]
    base: tuple[str, ...]
    refused: str | None = None
    refusals: tuple[tuple[str, ...], ...] = field(default=())


def of(base: tuple[str, ...], *typed: str, refused: str | None = None, refusals: Any = ()) -> Entry:
    return Entry(typed, base, refused, tuple(refusals))


def on_device(base: tuple[str, ...]) -> Entry:
    """Return the entry of ``--device``: the one that is not taken by itself, or is not there."""
    if torch.cuda.is_available():
        return of(base, "--device", "cpu")
    return of(base, "--device", "cuda", refused="--device cuda")


def on_no_cluster(base: tuple[str, ...]) -> Entry:
    """Return the entry of ``--ray-address``: nothing listens at port 1."""
    return of(base, "--ray-address", "127.0.0.1:1", refused="give --ray-address local to use this machine")
