"""Which label or colour in a mask means which class (known sets, tables beside the images), and how it is painted."""

import colorsys
import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eightgig.core.errors import DataError
from eightgig.core.names import composed, name_key
from eightgig.data.store.masks import MOST_CLASSES, VOID

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

TABLE_FILES = ("classes.csv", "class_dict.csv", "label_colors.txt")
_VOID_NAMES = {"void", "unlabelled", "unlabeled", "ignore", "ignored", "background void"}
_MOST_TABLE_BYTES = 1_000_000
_LARGEST_LABEL = 2**16 - 1  # of a mask of 16 bits
VOID_COLOUR: Colour = (0, 0, 0)
_GOLDEN = 0.618034  # hues this far apart differ most, however many there are


@dataclass(frozen=True)
class ClassTable:
    """How masks are read.

    Attributes:
        classes: names; a label of the store is a position in it.
        labels: from a value of a grey or palette mask to a position, or VOID.
        colours: from a colour of an RGB mask to a position, or VOID; empty where there are none.
        has_labels: whether the labels are the table's own; otherwise they are the positions of its rows.
        stated: the labels that the table names; 255 is void by custom where it does not.
    """

    classes: tuple[str, ...]
    labels: Mapping[int, int] = field(default_factory=dict)
    colours: Mapping[Colour, int] = field(default_factory=dict)
    has_labels: bool = True
    stated: frozenset[int] = frozenset()


_CITYSCAPES: dict[str, tuple[int, Colour]] = {  # name: labelId, colour; Cordts et al., CVPR 2016
    "road": (7, (128, 64, 128)),
    "sidewalk": (8, (244, 35, 232)),
    "building": (11, (70, 70, 70)),
    "wall": (12, (102, 102, 156)),
    "fence": (13, (190, 153, 153)),
    "pole": (17, (153, 153, 153)),
    "traffic light": (19, (250, 170, 30)),
    "traffic sign": (20, (220, 220, 0)),
    "vegetation": (21, (107, 142, 35)),
    "terrain": (22, (152, 251, 152)),
    "sky": (23, (70, 130, 180)),
    "person": (24, (220, 20, 60)),
    "rider": (25, (255, 0, 0)),
    "car": (26, (0, 0, 142)),
    "truck": (27, (0, 0, 70)),
    "bus": (28, (0, 60, 100)),
    "train": (31, (0, 80, 100)),
    "motorcycle": (32, (0, 0, 230)),
    "bicycle": (33, (119, 11, 32)),
}
_CAMVID: dict[str, Colour] = {  # the 11 classes of SegNet (Badrinarayanan et al., 2015), in its order
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign symbol": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
_VOC = (  # Everingham et al., PASCAL VOC 2012
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def _cityscapes(labels: Iterable[int]) -> ClassTable:
    known = {label: place for place, label in enumerate(labels)}
    by_colour = {colour: place for place, (_, colour) in enumerate(_CITYSCAPES.values())}
    every = {**dict.fromkeys(range(256), VOID), **known}
    return ClassTable(tuple(_CITYSCAPES), every, by_colour, stated=frozenset(every))


def _in_order(colours: Mapping[str, Colour], void: Mapping[int, Colour]) -> ClassTable:
    """Return a set whose labels are the positions of its classes, with what is void in it."""
    by_colour = {colour: place for place, colour in enumerate(colours.values())}
    labels = {place: place for place in range(len(colours))}
    return ClassTable(
        tuple(colours),
        {**labels, VOID: VOID, **dict.fromkeys(void, VOID)},
        {**by_colour, **dict.fromkeys(void.values(), VOID)},
        stated=frozenset([*labels, *void]),
    )


def _voc_colour(label: int) -> Colour:
    """Return VOC's colour of a label: its bits, three at a time, are the high bits of red, green and blue."""
    red, green, blue = (
        sum(((label >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(3)) for channel in range(3)
    )
    return red, green, blue


CITYSCAPES_IDS = _cityscapes(label for label, _ in _CITYSCAPES.values())
"""Of Cityscapes' labelIds files."""
KNOWN_TABLES = {
    "cityscapes": _cityscapes(range(len(_CITYSCAPES))),  # of its labelTrainIds files
    "camvid": _in_order(_CAMVID, {len(_CAMVID): (0, 0, 0)}),
    "voc": _in_order({name: _voc_colour(place) for place, name in enumerate(_VOC)}, {VOID: (224, 224, 192)}),
}
"""Tables of public sets, by the names that `data.class_table` takes."""


def find_table(root: Path, wanted: str | None) -> ClassTable:
    """Return the table that is wanted, or the one that lies in `root`.

    Raises:
        DataError: there is none, or it cannot be used.
    """
    if wanted in KNOWN_TABLES:
        return KNOWN_TABLES[wanted]
    paths = [root / wanted if wanted else root / name for name in ([wanted] if wanted else TABLE_FILES)]
    paths += [Path(wanted).expanduser()] if wanted else []
    found = next((file for path in paths if (file := _file_called(path))), None)
    if found is None:
        raise DataError(
            f"{root}: nothing says what the labels in the masks mean"
            + (f" (data.class_table={wanted} is neither a known set nor a file)" if wanted else "")
            + ". Set data.class_table to cityscapes, camvid or voc, or write a classes.csv there with the columns "
            "name,label or name,r,g,b; a row named void is what is not learnt."
        )
    return read_table(found)


def _file_called(path: Path) -> Path | None:
    """Return the file of this name, in any case and either form of Unicode."""
    if path.is_file() or not path.parent.is_dir():
        return path if path.is_file() else None
    same = [file for file in path.parent.iterdir() if name_key(file.name) == name_key(path.name) and file.is_file()]
    return same[0] if len(same) == 1 else None


def read_table(path: Path) -> ClassTable:
    """Return the table in a file: a CSV with `name` and `label`, or `name` and `r`, `g`, `b`; or lines `r g b name`.

    Raises:
        DataError: it is something else, holds a name or a label twice, no class, or more than 255.
    """
    if path.stat().st_size > _MOST_TABLE_BYTES:
        raise DataError(f"{path}: wanted a table of classes, found {path.stat().st_size} bytes. Name the right file.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = list(_lines(text) if path.suffix.lower() == ".txt" else _csv(text))
    except (UnicodeDecodeError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(
            f"{path}: wanted a table of classes with the columns name,label or name,r,g,b, found something else "
            f"({type(error).__name__}: {error}). Repair it, or set data.class_table."
        ) from error
    return _table(path, rows)


_Row = tuple[str, int | None, Colour | None, bool]


def _csv(text: str) -> Iterable[_Row]:
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    for place, raw in enumerate(reader):
        row = {str(key).strip().lower(): str(value).strip() for key, value in raw.items() if value is not None}
        colour = _colour([row[name] for name in "rgb"]) if "r" in row else None
        label = _label(row["label"]) if row.get("label") else place if colour is None else None
        is_void = row["name"].lower() in _VOID_NAMES or row.get("void", "").lower() in ("1", "true", "yes")
        yield row["name"], label, colour, is_void


def _lines(text: str) -> Iterable[_Row]:
    for line in filter(str.strip, text.splitlines()):
        *rgb, name = line.split(maxsplit=3)
        yield name.strip(), None, _colour(rgb), name.strip().lower() in _VOID_NAMES


def _label(text: str) -> int:
    label = int(text)
    if not -1 <= label <= _LARGEST_LABEL:  # -1 is Cityscapes' licence plates
        raise ValueError(f"labels are 0 to {_LARGEST_LABEL}, found {label}")
    return label


def _colour(rgb: Sequence[str]) -> Colour:
    red, green, blue = (int(value) for value in rgb)
    if not all(0 <= value <= 255 for value in (red, green, blue)):
        raise ValueError(f"colours are 0 to 255, found {red}, {green}, {blue}")
    return red, green, blue


def _table(path: Path, rows: Sequence[_Row]) -> ClassTable:
    rows = [(composed(name), label, colour, is_void) for name, label, colour, is_void in rows]
    classes = [name for name, *_, is_void in rows if not is_void]
    if "" in classes:
        raise DataError(f"{path}: a row has no name, and so is no class. Name it, or remove the row.")
    _refuse_doubles(path, [("the class", classes)])
    if not 2 <= len(classes) < MOST_CLASSES:
        raise DataError(f"{path}: wanted 2 to {MOST_CLASSES - 1} classes, found {len(classes)}. Complete the table.")
    places = [VOID if is_void else classes.index(name) for name, *_, is_void in rows]
    labels = [(label, place) for (_, label, *_), place in zip(rows, places, strict=True) if label is not None]
    colours = [(colour, place) for (*_, colour, _), place in zip(rows, places, strict=True) if colour is not None]
    _refuse_doubles(path, [("the label", [each for each, _ in labels]), ("the colour", [each for each, _ in colours])])
    has_labels = bool(labels)
    if not labels:  # colours alone: a grey mask then holds positions in the table
        labels = list(enumerate(places))
    known = dict(labels)
    return ClassTable(tuple(classes), {VOID: VOID, **known}, dict(colours), has_labels, frozenset(known))


def _refuse_doubles(path: Path, columns: Sequence[tuple[str, Sequence[object]]]) -> None:
    for what, values in columns:
        double = next((value for place, value in enumerate(values) if value in values[:place]), None)
        if double is not None:
            raise DataError(f"{path}: {what} {double} is there twice. Each row needs its own.")


def colours_of(classes: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Return RGB colours, uint8 (K + 1) x 3, the last for void: those of Cityscapes and CamVid for their classes."""
    return np.array([*(_colour_of(name, place) for place, name in enumerate(classes)), VOID_COLOUR], dtype=np.uint8)


def _colour_of(name: str, place: int) -> Colour:
    for table in (KNOWN_TABLES["cityscapes"], KNOWN_TABLES["camvid"]):
        if name.lower() in table.classes:
            wanted = table.classes.index(name.lower())
            return next(colour for colour, found in table.colours.items() if found == wanted)
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
