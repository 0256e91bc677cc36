"""The operators' two shells by name; the torch-free half of each is in ``search_spaces.operators``."""

from __future__ import annotations

from supernet.elastic import Mixer
from supernet.operators import cswin, dwconv, gsa, lsa, outlook, refiner, swin

__all__ = ["MIXERS"]

MIXERS: dict[str, Mixer] = {
    "lsa": lsa.MIXER,
    "gsa": gsa.MIXER,
    "cswin": cswin.MIXER,
    "dwconv": dwconv.MIXER,
    "refiner": refiner.MIXER,
    "swin": swin.MIXER,
    "outlook": outlook.MIXER,
}
