"""By which rules images are read and split; a study keeps those that it began with.

Version 0.1 assigned the images of a folder to splits by the positions of their files, passed over some endings,
and took the official validation images of a set for the search. Its studies and exports hold no number.
"""

from __future__ import annotations

from typing import Final, Literal

Reading = Literal[1, 2]
#: What studies and exports without a number were made by.
FIRST_READING: Final = 1
#: What new ones are made by: images of a folder are known by their content.
READING: Final = 2
