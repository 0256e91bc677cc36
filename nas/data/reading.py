"""By which rules images are read and split; a study keeps those that it began with.

Version 0.1 assigned the images of a folder to splits by the positions of their files, passed over some endings,
and took the official validation images of a set for the search. Its studies and exports hold no number. The second
reading knows the images of a folder by their content and keeps an official validation part for the test. The third
decodes large JPEG files in training at the fraction of their size that the crop needs.
"""

from __future__ import annotations

from typing import Final, Literal

Reading = Literal[1, 2, 3]
#: What studies and exports without a number were made by.
FIRST_READING: Final = 1
#: From which on training decodes large JPEG files no finer than needed.
DRAFT_READING: Final = 3
#: What new ones are made by.
READING: Final = 3
