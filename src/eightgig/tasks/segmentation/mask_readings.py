"""The ways in which the numbers of a mask can be read as classes, and what is refused of them."""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from eightgig.core.errors import ImageRejectedError
from eightgig.data.ingest.class_table import ClassTable, Colour
from eightgig.data.store.masks import VOID

UNKNOWN = -1
_MOST_SHOWN = 4
_LARGEST_COUNTED = 2**16  # numbers below are counted without sorting the pixels
_GREY = 0x010101
_PLATES = -1  # the label of Cityscapes' licence plates

Numbers = npt.NDArray[np.int64]


class Found(NamedTuple):
    """The numbers in a mask.

    Attributes:
        values_V: each once, sorted.
        counts_V: pixels of each.
        places_HW: for each pixel its place in `values_V`.
    """

    values_V: Numbers
    counts_V: Numbers
    places_HW: Numbers


class Reading(NamedTuple):
    """One way to read them.

    Attributes:
        kind: what the numbers are called in it.
        names: each number as a person knows it.
        places_V: its position in the classes, VOID, or UNKNOWN.
    """

    kind: str
    names: list[str]
    places_V: Numbers

    @property
    def is_whole(self) -> bool:
        """Whether it knows every number."""
        return bool((self.places_V != UNKNOWN).all())


def find_numbers(numbers_HW: Numbers) -> Found:
    """Return the numbers in a mask."""
    if numbers_HW.size and numbers_HW.min() >= 0 and numbers_HW.max() < _LARGEST_COUNTED:
        counts = np.bincount(numbers_HW.ravel())
        values_V = np.flatnonzero(counts)
        lookup = np.zeros(len(counts), np.int64)
        lookup[values_V] = np.arange(len(values_V))
        return Found(values_V, counts[values_V], lookup[numbers_HW])
    values_V, places, counts_V = np.unique(numbers_HW, return_inverse=True, return_counts=True)
    return Found(values_V, counts_V, places.reshape(numbers_HW.shape))


def by_label(values_V: Numbers, table: ClassTable, kind: str = "labels") -> Reading:
    """Read values by the labels of the table."""
    known = {**table.labels, _PLATES: VOID}
    return Reading(kind, [str(value) for value in values_V.tolist()], _looked_up(values_V, known))


def stated(reading: Reading, values_V: Numbers, table: ClassTable) -> Reading:
    """Return the same reading without what is custom alone: that 255 is void though the table does not say so."""
    is_stated = np.isin(values_V, list(table.stated))
    return reading._replace(places_V=np.where(is_stated, reading.places_V, UNKNOWN))


def by_colour(codes_V: Numbers, table: ClassTable) -> Reading:
    """Read colours, each as one number, by those of the table."""
    names = [f"({code >> 16}, {code >> 8 & 255}, {code & 255})" if code >= 0 else "none" for code in codes_V.tolist()]
    return Reading("colours", names, _looked_up(codes_V, _codes(tuple(table.colours.items()))))


def codes_of(rgb: npt.NDArray[np.uint8]) -> Numbers:
    """Return each colour (the last axis) as one number."""
    return rgb.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])


def grey_codes(values_V: Numbers) -> Numbers:
    """Return grey values as colours; what is no grey of 8 bits is UNKNOWN."""
    return np.where((values_V >= 0) & (values_V <= 255), values_V * _GREY, UNKNOWN)


def greys_of(codes_V: Numbers) -> Numbers:
    """Return the grey values of colours with equal channels; UNKNOWN for others."""
    grey = codes_V & 255
    return np.where(codes_V == grey * _GREY, grey, UNKNOWN)


def other_classes(one: Reading, other: Reading) -> npt.NDArray[np.bool_]:
    """Tell for which numbers two readings name different classes; void is none."""
    are_classes = (one.places_V != VOID) & (other.places_V != VOID)
    return other_places(one, other) & are_classes


def other_places(one: Reading, other: Reading) -> npt.NDArray[np.bool_]:
    """Tell for which numbers two readings know different things."""
    are_known = (one.places_V != UNKNOWN) & (other.places_V != UNKNOWN)
    return are_known & (one.places_V != other.places_V)


def require_whole(found: Found, reading: Reading, hint: str = "") -> Reading:
    """Return the reading.

    Raises:
        ImageRejectedError: `unknown_label`: it does not know every number; `hint` is told too.
    """
    if reading.is_whole:
        return reading
    places = np.flatnonzero(reading.places_V == UNKNOWN)
    shown = [f"{reading.names[place]} ({found.counts_V[place]} pixels)" for place in places[:_MOST_SHOWN]]
    more = f" and {len(places) - _MOST_SHOWN} more" if len(places) > _MOST_SHOWN else ""
    text = f"{reading.kind} that the table of classes lacks: {', '.join(shown)}{more}"
    raise ImageRejectedError("unknown_label", "; ".join(filter(None, [text, hint])))


def refuse_both(
    found: Found, one: Reading, other: Reading, where: npt.NDArray[np.bool_], table: ClassTable
) -> NoReturn:
    """Refuse a mask that means one thing in one reading and another in the other. ImageRejectedError: with both."""
    shown = [
        f"{one.names[place]} is {_named(one.places_V[place], table)} by the {one.kind}, but "
        f"{_named(other.places_V[place], table)} by the {other.kind} as {other.names[place]} "
        f"({found.counts_V[place]} pixels)"
        for place in np.flatnonzero(where)[:_MOST_SHOWN]
    ]
    raise ImageRejectedError(
        "ambiguous_mask",
        f"{'; '.join(shown)}. Take the columns of the reading that is wrong (label, or r, g and b) out of the table of "
        "classes, or save masks as grey PNG whose values are the labels",
    )


def _named(place: int, table: ClassTable) -> str:
    return "void" if place == VOID else f"'{table.classes[place]}'"


def _looked_up(values_V: Numbers, known: Mapping[int, int]) -> Numbers:
    return np.array([known.get(value, UNKNOWN) for value in values_V.tolist()], np.int64)


@cache
def _codes(colours: tuple[tuple[Colour, int], ...]) -> Mapping[int, int]:
    return {red << 16 | green << 8 | blue: place for (red, green, blue), place in colours}
