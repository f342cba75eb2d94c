"""What a line of a YOLO label means: a box, a polygon, an oriented box, or a box with keypoints.

    box         class  centre_x centre_y width height
    polygon     class  x1 y1 x2 y2 x3 y3 ...                       its box is taken
    oriented    class  x1 y1 x2 y2 x3 y3 x4 y4                     the box around its four corners is taken
    keypoints   class  centre_x centre_y width height  x y [v] ... the box is taken, the points are left out

All numbers but the class are shares (0 to 1) of the image's sides. A polygon and a box with keypoints can have
as many numbers, so their count does not tell: data.yaml does (`kpt_shape`, `task`), or the parameters.
"""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from eightgig.core.errors import DataError, ImageRejectedError
from eightgig.tasks.detection.annotated import RawBox
from eightgig.tasks.detection.reading import number

LineForm = Literal["boxes", "polygons", "oriented", "keypoints"]
Corners = tuple[float, float, float, float]
# Far from 0 to 1: a label in pixels, or something else altogether.
_SMALLEST_SHARE, _LARGEST_SHARE = -1.0, 2.0
_OF_A_BOX = 4
_FEWEST_OF_A_POLYGON = 6
_OF_ORIENTED = 8
_REACH = 0.02  # a box reaches out of its image by no more than an annotator's slip
# Of true keypoint labels hardly a line fails to begin with a box. Of polygons many do: two of their corners are a
# centre and a size by chance alone. One such line may be a slip.
_MOST_IMPOSSIBLE, _MOST_SLIPS = 0.1, 1


class Keypoints(NamedTuple):
    """`kpt_shape` of a data.yaml: how many points an object has, and 2 or 3 numbers each (x, y, visibility)."""

    num_points: int
    num_numbers: int


class LineRules(NamedTuple):
    """What data.yaml or the parameters say of the lines; None where they say nothing."""

    form: LineForm | None = None
    keypoints: Keypoints | None = None


class Line(NamedTuple):
    """A line, not yet a box.

    Attributes:
        line: its number in the file.
        label: its class.
        values: how many numbers follow the class.
        centred: corners by the first four numbers, as of a box.
        around: corners around all points, as of a polygon; None where the numbers are no pairs.
    """

    line: int
    label: int
    values: int
    centred: Corners
    around: Corners | None


def parse_line(text: str, num_classes: int, line: int) -> Line:
    """Return what a line holds.

    Raises:
        ImageRejectedError: it holds something else than numbers, too few, numbers in pixels, or an unknown class.
    """
    try:
        first, *values = map(number, text.split())
    except ValueError as error:
        raise ImageRejectedError("malformed_label", f"wanted numbers, found {text!r:.80}") from error
    if len(values) < _OF_A_BOX or len(values) == _OF_A_BOX + 1:
        hint = " (a fifth may be a confidence, or an angle: neither is read)" if len(values) > _OF_A_BOX else ""
        raise ImageRejectedError(
            "malformed_label", f"wanted a class and 4 numbers, or 6 or more, found {text!r:.80}{hint}"
        )
    if any(math.isfinite(value) and not _SMALLEST_SHARE <= value <= _LARGEST_SHARE for value in values):
        raise ImageRejectedError("malformed_label", f"wanted shares from 0 to 1, found {text!r:.80}")
    if not 0 <= first < num_classes or not first.is_integer():
        raise ImageRejectedError("unknown_class", f"class {first:g}, but the classes are 0 to {num_classes - 1}")
    return Line(line, int(first), len(values), _centred(values), _around(values) if len(values) % 2 == 0 else None)


def find_form(root: Path, rules: LineRules, lines: Sequence[tuple[str, Line]]) -> LineForm:
    """Return what the lines of a whole set are.

    Args:
        root: of the set, for the message.
        rules: what is said of them.
        lines: all of them, each with its file.

    Raises:
        DataError: nothing is said, and they could be polygons as well as boxes with keypoints.
    """
    if rules.form:
        return rules.form
    longer = [(file, line) for file, line in lines if line.values > _OF_A_BOX]
    if not longer:
        return "boxes"
    impossible = sum(not _is_a_box(line.centred) for _, line in longer)
    if impossible > max(_MOST_IMPOSSIBLE * len(longer), _MOST_SLIPS):
        return "polygons"
    raise DataError(_ambiguous(root, longer))


def box_of(line: Line, form: LineForm, keypoints: Keypoints | None) -> RawBox:
    """Return the box of a line.

    Raises:
        ImageRejectedError: it has another count of numbers than its form.
    """
    if line.values == _OF_A_BOX:
        return RawBox(line.label, *line.centred, line.line)
    wanted, fits = _fits(line, form, keypoints)
    corners = line.centred if form == "keypoints" else line.around
    if not fits or corners is None:
        raise ImageRejectedError("malformed_label", f"wanted {wanted} after the class, found {line.values} numbers")
    return RawBox(line.label, *corners, line.line)


def _fits(line: Line, form: LineForm, keypoints: Keypoints | None) -> tuple[str, bool]:
    """Return what is wanted of a line with more than four numbers, and whether it is that."""
    points = line.values - _OF_A_BOX
    if form == "boxes":
        return "4 numbers of a box", False
    if form == "polygons":
        return "pairs of numbers of a polygon", line.around is not None
    if form == "oriented":
        return "8 numbers of an oriented box", line.values == _OF_ORIENTED
    if keypoints is None:
        return "4 numbers of a box and 2 or 3 a keypoint", points % 2 == 0 or points % 3 == 0
    many = keypoints.num_points * keypoints.num_numbers
    return f"4 numbers of a box and {many} of its keypoints (kpt_shape {list(keypoints)})", points == many


def _centred(values: Sequence[float]) -> Corners:
    x, y, width, height = values[:_OF_A_BOX]
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _around(values: Sequence[float]) -> Corners:
    if not all(map(math.isfinite, values)):
        return (math.nan,) * 4  # min and max would pass over it
    return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])


def _is_a_box(corners: Corners) -> bool:
    x1, y1, x2, y2 = corners
    return x1 < x2 and y1 < y2 and min(x1, y1) >= -_REACH and max(x2, y2) <= 1 + _REACH


def _ambiguous(root: Path, longer: Sequence[tuple[str, Line]]) -> str:
    file, first = longer[0]
    count, _ = Counter(line.values for _, line in longer).most_common(1)[0]
    points = count - _OF_A_BOX
    readings = [f"polygons of {count // 2} points"] if count % 2 == 0 else ["polygons and a confidence"]
    shapes = [(points // size, size) for size in (2, 3) if points % size == 0]
    readings += [f"boxes with keypoints (kpt_shape: [{many}, {size}])" for many, size in shapes]
    if count == _OF_ORIENTED:
        readings.append("oriented boxes")
    ways = " or ".join(f"kpt_shape: [{many}, {size}]" for many, size in shapes)
    return (
        f"{root}: {len(longer)} lines of its labels hold more than a box, most of them {count} numbers after the class "
        f"({file}, line {first.line}, is the first). They could be {' or '.join(readings)}, and nothing says which. "
        + (f"For keypoints write {ways} into data.yaml; or set" if ways else "Set")
        + " data.label_lines to 'polygons', 'oriented' or 'keypoints'."
    )
