"""Damaged documents: parts of them, other bits, values of the wrong kind, and something else altogether."""

from __future__ import annotations

import json
import random
from typing import Any

import yaml

ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        -1,
        7,
        10**30,
        0.5,
        float("nan"),
        float("inf"),
        "",
        "x",
        "../x",
        "\ud800",
        "a\nb",
        [],
        {},
    ),
    *([1], ["x", None], {"x": 1}, [[[]]], {"": [{}]}),
)
RAW = (
    *(
        b"",
        b"\xff\xfe\x00",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"3",
        b"[" * 10_000,
        b'{"a":' * 10_000,
        b"\x00" * 64,
    ),
    *(b"a: &a [*a]\n", b"a: 2026-13-45\n", b"? [1]\n: 2\n", b"{2026-01-01: 1}", b'{"trials": 1e999}'),
)


def damage(content: Any, rng: random.Random) -> Any:
    """Return parsed content with one value replaced or removed, anywhere in it."""
    content = json.loads(json.dumps(content))
    places: list[tuple[Any, Any]] = []

    def visit(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            places.append((node, key))
            visit(node[key])

    visit(content)
    node, key = rng.choice(places)
    if rng.random() < 0.25:
        del node[key]
    else:
        node[key] = rng.choice(ODD)
    return content


def spoil(original: bytes, rng: random.Random, is_yaml: bool) -> bytes:
    """Return a damaged file: another value somewhere, a part of it, or something else altogether."""
    kind = rng.random()
    if kind < 0.2:
        return rng.choice(RAW)
    if kind < 0.35:
        return original[: rng.randrange(len(original))]
    if is_yaml:
        return yaml.safe_dump(damage(yaml.safe_load(original), rng), sort_keys=False).encode(
            "utf-8", "replace"
        )
    return json.dumps(damage(json.loads(original), rng)).encode()


def flip_bits(original: bytes, rng: random.Random) -> bytes:
    """Return a file with one to four other bits."""
    content = bytearray(original)
    for _ in range(rng.randint(1, 4) if content else 0):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def cut(original: bytes, rng: random.Random) -> bytes:
    """Return a part of a file: its beginning, or all of it but some bytes in the middle, or with zeros there."""
    first, last = sorted(rng.randrange(len(original) + 1) for _ in range(2))
    kind = rng.random()
    if kind < 0.5:
        return original[:first]
    return original[:first] + (b"" if kind < 0.75 else bytes(last - first)) + original[last:]
