"""Digests and random generators that depend on their arguments alone, on every machine and library version."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch


def json_digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def text_hash(text: str) -> bytes:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).digest()


def seeded_generator(seed: int, epoch: int, use: str) -> torch.Generator:
    """Return the random generator of one use in one epoch, independent of that of every other use."""
    digest = text_hash(f"{seed}/{epoch}/{use}")
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
