"""A user's mask file as labels: grey, palette or RGB, by a table of classes."""

import io
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from eightgig.core.errors import ImageRejectedError
from eightgig.data.images import MAX_BYTES_PER_PIXEL, PILLOW_ERRORS
from eightgig.data.segmentation.class_table import ClassTable, Colour
from eightgig.data.segmentation.masks import VOID, Labels
from eightgig.data.webp import NUM_HEADER_BYTES, canvas_size

_LOSSLESS = ("PNG", "TIFF", "BMP", "GIF", "PPM")
_UNKNOWN = -1
_MOST_SHOWN = 4


def read_mask(path: Path, table: ClassTable, *, max_pixels: int) -> Labels:
    """Give the labels of a mask, uint8 height x width: positions in the table's classes, or 255 where void.

    Raises:
        ImageRejectedError: `missing_mask`, `unreadable_mask`, `too_large_mask`, `lossy_mask`, or `unknown_label` (a
            label or colour that the table does not have).
    """
    try:
        # By name: some of Pillow's other readers call programs of the system.
        with Image.open(_content(path, max_pixels), formats=(*_LOSSLESS, "JPEG")) as image:
            if image.width * image.height > max_pixels:
                raise ImageRejectedError(
                    "too_large_mask", f"{image.width} x {image.height}; at most {max_pixels} pixels"
                )
            if image.format not in _LOSSLESS:
                raise _lossy(image.format)
            return _labels(image, table)
    except FileNotFoundError:
        raise ImageRejectedError("missing_mask", f"{path.name} is not there") from None
    except (*PILLOW_ERRORS, Image.DecompressionBombError) as error:
        raise ImageRejectedError("unreadable_mask", f"{path.name} cannot be read ({error})") from error


def _content(path: Path, max_pixels: int) -> io.BytesIO:
    """Give the file in memory: of one on disk Pillow reads whatever length stands in it."""
    num_bytes = path.stat().st_size
    if num_bytes > MAX_BYTES_PER_PIXEL * max_pixels:
        raise ImageRejectedError("too_large_mask", f"{num_bytes:,} bytes can not be a mask of {max_pixels:,} pixels")
    data = path.read_bytes()
    if canvas_size(data[:NUM_HEADER_BYTES]):
        raise _lossy("WEBP")
    return io.BytesIO(data)


def _lossy(name: str | None) -> ImageRejectedError:
    return ImageRejectedError("lossy_mask", f"{name} mixes labels at their borders; save masks as PNG")


def _labels(image: Image.Image, table: ClassTable) -> Labels:
    is_coloured = image.mode in ("RGB", "RGBA") or (image.mode == "P" and table.colours)
    if is_coloured and table.colours:
        return _by_colour(np.asarray(image.convert("RGB")), table)
    if is_coloured:
        raise ImageRejectedError(
            "unknown_label", "the mask has colours, but the table of classes has none: add its columns r, g and b"
        )
    values_HW = np.asarray(image)
    if values_HW.ndim != 2:
        raise ImageRejectedError("unreadable_mask", f"wanted one value a pixel, found mode {image.mode}")
    return _by_value(values_HW.astype(np.int64), table)


def _by_value(values_HW: npt.NDArray[np.int64], table: ClassTable) -> Labels:
    most = max([255, *table.labels])
    lookup = np.full(most + 1, _UNKNOWN, dtype=np.int64)
    known = {label: place for label, place in table.labels.items() if label >= 0}
    lookup[list(known)] = list(known.values())
    inside = (values_HW >= 0) & (values_HW <= most)
    labels_HW = np.where(inside, lookup[values_HW.clip(0, most)], _UNKNOWN)
    labels_HW[values_HW == -1] = VOID  # Cityscapes' licence plates
    return _known(labels_HW, values_HW)


def _by_colour(rgb_HW3: npt.NDArray[np.uint8], table: ClassTable) -> Labels:
    codes_HW = rgb_HW3.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    found, places = np.unique(codes_HW, return_inverse=True)
    known = _codes(tuple(table.colours.items()))
    labels = np.array([known.get(int(code), _UNKNOWN) for code in found])
    return _known(labels[places].reshape(codes_HW.shape), codes_HW, is_colour=True)


@cache
def _codes(colours: tuple[tuple[Colour, int], ...]) -> dict[int, int]:
    return {red << 16 | green << 8 | blue: place for (red, green, blue), place in colours}


def _known(labels_HW: npt.NDArray[np.int64], values_HW: npt.NDArray[np.int64], *, is_colour: bool = False) -> Labels:
    unknown = values_HW[labels_HW == _UNKNOWN]
    if len(unknown):
        values, counts = np.unique(unknown, return_counts=True)
        shown = [
            f"{_text(int(value), is_colour)} ({count} pixels)"
            for value, count in zip(values[:_MOST_SHOWN], counts, strict=False)
        ]
        more = f" and {len(values) - _MOST_SHOWN} more" if len(values) > _MOST_SHOWN else ""
        kind = "colours" if is_colour else "labels"
        raise ImageRejectedError("unknown_label", f"{kind} that the table of classes lacks: {', '.join(shown)}{more}")
    return labels_HW.astype(np.uint8)


def _text(value: int, is_colour: bool) -> str:
    return f"({value >> 16}, {value >> 8 & 255}, {value & 255})" if is_colour else str(value)
