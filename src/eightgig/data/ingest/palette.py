"""A colour for each class, for masks and overlays."""

import colorsys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eightgig.data.ingest.class_table import KNOWN_TABLES, Colour

VOID_COLOUR: Colour = (0, 0, 0)
_GOLDEN = 0.618034


def colours_of(classes: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Return RGB colours, uint8 (K + 1) x 3, the last for void: those of Cityscapes and CamVid for their classes."""
    return np.array([*(_colour_of(name, place) for place, name in enumerate(classes)), VOID_COLOUR], dtype=np.uint8)


def _colour_of(name: str, place: int) -> Colour:
    for table in (KNOWN_TABLES["cityscapes"], KNOWN_TABLES["camvid"]):
        if name.lower() in table.classes:
            wanted = table.classes.index(name.lower())
            return next(colour for colour, found in table.colours.items() if found == wanted)
    # Hues a golden section apart differ most, however many there are.
    red, green, blue = colorsys.hsv_to_rgb(place * _GOLDEN % 1, 0.75 if place % 2 else 0.5, 0.9 - 0.15 * (place % 3))
    return round(255 * red), round(255 * green), round(255 * blue)


def coloured(labels_HW: npt.NDArray[np.uint8], colours_K3: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return a mask as RGB, uint8 height x width x 3; labels beyond the classes are void.

    Args:
        labels_HW: positions in the classes, or 255.
        colours_K3: as from `colours_of`.
    """
    lookup = np.broadcast_to(colours_K3[-1], (256, 3)).copy()
    lookup[: len(colours_K3) - 1] = colours_K3[:-1]
    return lookup[labels_HW]
