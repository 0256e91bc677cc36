"""How large what a file declares may be: files of others, or one slip of a hand, can ask for any number.

Each limit is far above every published network and adjustable by an environment variable, so that nobody is stopped
who means it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from search_spaces.errors import RequestError


@dataclass(frozen=True)
class Limit:
    """A largest size.

    Args:
        variable: The environment variable that sets it.
        default: What it is where that is not set.
        what: What it is of, for people.
    """

    variable: str
    default: int
    what: str

    @property
    def value(self) -> int:
        """The limit as it is set.

        Raises:
            RequestError: If the variable holds no positive integer.
        """
        text = os.environ.get(self.variable)
        if text is None:
            return self.default
        if not (text.isascii() and text.isdigit() and len(text) < 19 and int(text)):
            raise RequestError(
                f"{self.variable}={text} is not a positive integer below 10^18; it limits {self.what}"
            )
        return int(text)

    def refusal(self, size: int) -> str | None:
        """Return why a size is too large and what to do if it is meant; None where it is not."""
        if size <= self.value:
            return None
        return f"{self.what} may be {self.value:,} at most, not {size:,}; set {self.variable} if you mean it"


YAML_BYTES = Limit("NAS_LIMIT_YAML_BYTES", 1_000_000, "bytes of a YAML file")
YAML_VALUES = Limit(
    "NAS_LIMIT_YAML_VALUES", 1_000_000, "values of a YAML file, those that aliases repeat included"
)
OPTIONS = Limit("NAS_LIMIT_OPTIONS", 1_000, "options of a choice")
DEPTH = Limit("NAS_LIMIT_DEPTH", 1_000, "blocks of a stage")
STAGES = Limit("NAS_LIMIT_STAGES", 100, "stages of a network, or scales of a space")
CHANNELS = Limit("NAS_LIMIT_CHANNELS", 100_000, "channels, heads or classes of a network")
SIDE = Limit("NAS_LIMIT_SIDE", 10_000, "pixels of a side of a network's images")
DOCUMENT_BYTES = Limit("NAS_LIMIT_DOCUMENT_BYTES", 256_000_000, "bytes of a JSON or text file")
IMAGE_PIXELS = Limit("NAS_LIMIT_IMAGE_PIXELS", 64_000_000, "pixels of an image file")

#: All of them, as `docs/SECURITY.md` lists them.
LIMITS = (
    YAML_BYTES, YAML_VALUES, OPTIONS, DEPTH, STAGES, CHANNELS, SIDE, DOCUMENT_BYTES, IMAGE_PIXELS,
)  # fmt: skip
