"""The box of one of COCO's annotations: as it stands, or around its polygon or run lengths where it has none."""

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

from eightgig.tasks.detection.reading import number, whole_number

Corners = tuple[float, float, float, float]
_TRUE = ("1", "1.0", "true", "yes")


def corners_of(annotation: dict[str, Any]) -> tuple[Corners, str]:
    """Return left, top, right and bottom in pixels, and what they were taken from (`bbox`, `polygon` or `run lengths`).

    Raises:
        ValueError: it has neither, or they cannot be understood.
    """
    bbox, segmentation = annotation.get("bbox"), annotation.get("segmentation")
    if bbox not in (None, []):
        if not isinstance(bbox, list) or len(bbox) != 4:
            raise ValueError(f"wanted a bbox of 4 numbers, found {bbox!r:.80}")
        left, top, width, height = map(number, bbox)
        return (left, top, left + width, top + height), "bbox"
    if isinstance(segmentation, list) and segmentation:
        return _around(segmentation), "polygon"
    if isinstance(segmentation, dict):
        return _around_runs(segmentation), "run lengths"
    raise ValueError(f"wanted a bbox of 4 numbers, found {bbox!r:.80} and no segmentation")


def is_crowd(annotation: dict[str, Any]) -> bool:
    """Tell whether it is around many objects; tools write 1, true, or a text of them."""
    value = annotation.get("iscrowd")
    return value is True or value in (1, 1.0) or (isinstance(value, str) and value.strip().lower() in _TRUE)


def _around(polygons: Sequence[Any]) -> Corners:
    """Return the box around polygons, each x1, y1, x2, y2, ...; some tools leave out the outer list."""
    flat = polygons if not isinstance(polygons[0], list) else [value for each in polygons for value in _checked(each)]
    values = [number(value) for value in _checked(flat)]
    if not all(map(math.isfinite, values)):
        raise ValueError(f"wanted polygons of numbers, found {polygons!r:.80}")
    return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])


def _checked(polygon: Any) -> list[Any]:
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        raise ValueError(f"wanted polygons of 3 points or more, found {polygon!r:.80}")
    return polygon


def _around_runs(segmentation: dict[str, Any]) -> Corners:
    """Return the box around run lengths: pixels go down the columns, runs of nothing and of the object take turns."""
    size, counts = segmentation.get("size"), segmentation.get("counts")
    height, width = (whole_number(side) for side in size) if isinstance(size, list) and len(size) == 2 else (None, None)
    if not height or not width or height < 0 or width < 0:
        raise ValueError(f"wanted run lengths with a size of height and width, found {size!r:.80}")
    runs: list[int | None] = []
    if isinstance(counts, str):
        runs += _uncompressed(counts)
    elif isinstance(counts, list):
        runs += map(whole_number, counts)
    if any(run is None or run < 0 for run in runs) or sum(filter(None, runs)) != height * width:
        raise ValueError(f"wanted run lengths of {height * width} pixels, found {counts!r:.80}")
    ends = list(accumulate(run or 0 for run in runs))
    objects = [(start, end) for start, end in zip(ends[::2], ends[1::2], strict=False) if end > start]
    if not objects:
        raise ValueError("its run lengths hold no pixel of an object")
    left, right = objects[0][0] // height, (objects[-1][1] - 1) // height
    tops, bottoms = zip(*(_rows(start, end, height) for start, end in objects), strict=True)
    return float(left), float(min(tops)), float(right + 1), float(max(bottoms) + 1)


def _rows(start: int, end: int, height: int) -> tuple[int, int]:
    """Return the first and last row of a run, which covers all of them where it goes on in the next column."""
    if start // height != (end - 1) // height:
        return 0, height - 1
    return start % height, (end - 1) % height


def _uncompressed(text: str) -> Iterator[int]:
    """Yield the run lengths that COCO's code writes as text: 5 bits a letter, from the fourth on as differences."""
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(f"wanted run lengths as COCO writes them, found {text!r:.80}")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            yield runs[-1]
            value = shift = 0
    if shift:
        raise ValueError(f"wanted run lengths as COCO writes them, found {text!r:.80}")
