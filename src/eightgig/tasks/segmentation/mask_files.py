"""A user's mask file as labels, by a table of classes.

What a mask holds can often be read in two ways: a position in a palette, or the colour there; 1 of one bit, or the 255
that viewers show. The table decides: its labels hold for values and positions, its colours for colours. Where both
readings are whole and name other classes, the mask is refused with both.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from eightgig.core.errors import ImageRejectedError
from eightgig.data.ingest.class_table import ClassTable
from eightgig.data.store.masks import VOID, Labels
from eightgig.tasks.segmentation.mask_readings import (
    UNKNOWN,
    Found,
    Numbers,
    Reading,
    by_colour,
    by_label,
    codes_of,
    find_numbers,
    grey_codes,
    greys_of,
    other_classes,
    other_places,
    refuse_both,
    require_whole,
    stated,
)
from eightgig.tasks.segmentation.raw_masks import Palette, RawMask, read_raw_mask

_WHITE = 255


class InspectedMask(NamedTuple):
    """Labels, uint8 height x width, and what is wrong with their file though each is whole, or an empty text."""

    labels_HW: Labels
    remark: str


def read_mask(path: Path, table: ClassTable, *, max_pixels: int) -> Labels:
    """Return the labels of a mask, uint8 height x width: positions in the table's classes, or 255 where void.

    Raises:
        ImageRejectedError: `missing_mask`, `unreadable_mask`, `too_large_mask`, `lossy_mask`, `transparent_mask`,
            `unknown_label` (a label or colour that the table does not have), or `ambiguous_mask` (two readings).
    """
    return inspect_mask(path, table, max_pixels=max_pixels).labels_HW


def inspect_mask(path: Path, table: ClassTable, *, max_pixels: int) -> InspectedMask:
    """Return the labels as `read_mask` does, and what is wrong with the file."""
    raw = read_raw_mask(path, max_pixels=max_pixels)
    found = find_numbers(raw.values_HW if raw.colours_HW3 is None else codes_of(raw.colours_HW3))
    if raw.colours_HW3 is not None:
        reading = _of_colours(found, table)
    elif raw.palette is not None and not _is_grey_ramp(raw.palette, found.values_V):
        reading = _of_palette(raw.palette, found, table)
    else:
        reading = _of_grey(raw, found, table)
    return InspectedMask(reading.places_V[found.places_HW].astype(np.uint8), raw.remark)


def _of_grey(raw: RawMask, found: Found, table: ClassTable) -> Reading:
    """Read grey values as labels; without labels as colours, and as positions in the table if they are none."""
    labels = by_label(found.values_V, table)
    shown_V = found.values_V * (_WHITE // (2**raw.bits - 1))
    if not table.has_labels:
        colours = by_colour(grey_codes(shown_V), table)
        if raw.bits < 8 and colours.is_whole:  # of an image in black and white every value is a position too
            return colours
        return _colours_or_labels(found, colours, labels, found.values_V, table, raw.hint)
    if raw.bits == 8:
        _refuse_white(found, labels, table)
        return require_whole(found, labels, raw.hint)
    shown = by_label(shown_V, table, f"values that viewers show of {raw.bits} bits")
    differ = other_classes(labels, shown)
    if labels.is_whole and shown.is_whole and differ.any():
        refuse_both(found, labels, shown, differ, table)
    return require_whole(found, labels if labels.is_whole or not shown.is_whole else shown, raw.hint)


def _of_palette(palette: Palette, found: Found, table: ClassTable) -> Reading:
    """Read positions in a palette as labels where the table has such, otherwise the colours there."""
    codes_V = _palette_codes(palette, found.values_V)
    colours = by_colour(codes_V, table)
    if not table.has_labels:
        _refuse_see_through(palette, found, colours)
        hint = "positions in its palette are read where the table has a column label"
        return require_whole(found, colours, hint)
    positions = by_label(found.values_V, table, "labels")
    differ, grey_V = other_places(positions, colours), greys_of(codes_V)
    is_grey = bool((grey_V != UNKNOWN).all())  # one black among greys is no sign that colours are meant
    if differ.any() and (colours.is_whole or not is_grey):
        refuse_both(found, positions, colours._replace(kind="colours of its palette"), differ, table)
    return _of_grey_palette(palette, found, positions, grey_V, table)


def _of_grey_palette(palette: Palette, found: Found, positions: Reading, grey_V: Numbers, table: ClassTable) -> Reading:
    """A palette of grey alone may be a grey image: GIF has no other way to hold one, and numbers its values anew."""
    grey = by_label(grey_V, table, "grey values of its palette")
    if (grey_V == UNKNOWN).any() or not grey.is_whole or not _tells_apart(palette, found.values_V):
        return require_whole(found, positions)
    if not positions.is_whole:
        return grey
    differ = other_places(positions, grey) if palette.is_gif else other_classes(positions, grey)
    if differ.any():
        refuse_both(found, positions, grey, differ, table)
    return positions


def _tells_apart(palette: Palette, values_V: Numbers) -> bool:
    """Tell whether each position up to the last one used looks different: one that is black throughout says nothing."""
    codes_V = _palette_codes(palette, np.arange(values_V.max(initial=0) + 1))
    return len(np.unique(codes_V)) == len(codes_V)


def _of_colours(found: Found, table: ClassTable) -> Reading:
    """Read colours; where all channels are equal throughout, grey values are the second reading."""
    grey_V = greys_of(found.values_V)
    if (grey_V != UNKNOWN).all():
        colours, labels = by_colour(found.values_V, table), by_label(grey_V, table)
        return _colours_or_labels(found, colours, labels, grey_V, table)
    if not table.colours:
        raise ImageRejectedError(
            "unknown_label", "the mask has colours, but the table of classes has none: add its columns r, g and b"
        )
    return require_whole(found, by_colour(found.values_V, table))


def _colours_or_labels(
    found: Found, colours: Reading, labels: Reading, values_V: Numbers, table: ClassTable, hint: str = ""
) -> Reading:
    """Choose the reading that is whole; refuse where both are, and the table's own words contradict each other."""
    said = stated(labels, values_V, table)
    if colours.is_whole and said.is_whole and (differ := other_places(colours, said)).any():
        refuse_both(found, labels, colours, differ, table)
    if colours.is_whole or not table.labels:
        return require_whole(found, colours, hint)
    is_coloured = bool(table.colours) and not labels.is_whole and (colours.places_V != UNKNOWN).any()
    return require_whole(found, colours if is_coloured else labels, hint)


def _refuse_white(found: Found, labels: Reading, table: ClassTable) -> None:
    """255 is void where nothing else is said, unless the table has a class that is white."""
    place = table.colours.get((_WHITE, _WHITE, _WHITE), VOID)
    if place != VOID and _WHITE not in table.stated:
        is_white = found.values_V == _WHITE
        if is_white.any():
            refuse_both(found, labels, by_colour(grey_codes(found.values_V), table), is_white, table)


def _refuse_see_through(palette: Palette, found: Found, colours: Reading) -> None:
    clear = [name for name, value in zip(colours.names, found.values_V, strict=True) if palette.is_see_through[value]]
    if clear:
        raise ImageRejectedError(
            "transparent_mask",
            f"{', '.join(clear[:4])} in its palette are transparent: they could be their class, or void; save the mask "
            "without transparency, or add a column label to the table of classes",
        )


def _is_grey_ramp(palette: Palette, values_V: Numbers) -> bool:
    """Tell whether each position that is used has itself as its grey: then it tells nothing about colours."""
    return bool((_palette_codes(palette, values_V) == grey_codes(values_V)).all())


def _palette_codes(palette: Palette, values_V: Numbers) -> Numbers:
    """Return the colours of positions as numbers; UNKNOWN beyond the palette."""
    codes_P = codes_of(palette.colours_P3)
    inside_V = (values_V >= 0) & (values_V < len(codes_P))
    return np.where(inside_V, codes_P[values_V.clip(0, max(len(codes_P) - 1, 0))] if len(codes_P) else UNKNOWN, UNKNOWN)
