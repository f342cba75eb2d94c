"""A mask of classes as the bytes of a PNG: lossless, some fiftieth of its pixels, read by anything."""

import struct

import cv2
import numpy as np
import numpy.typing as npt

VOID = 255
"""The label of pixels that belong to no class: they are neither learnt nor judged."""
MOST_CLASSES = VOID

Labels = npt.NDArray[np.uint8]
"""Height x width: positions in a list of classes, or VOID."""

_PNG_SIGNATURE, _SIZE_AT = b"\x89PNG\r\n\x1a\n", 16


def encode_mask(labels_HW: Labels) -> bytes:
    """Return the mask as a PNG of one byte a pixel."""
    written, png = cv2.imencode(".png", labels_HW, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    if not written:
        raise ValueError(f"a mask of shape {labels_HW.shape} and type {labels_HW.dtype} cannot be written as PNG")
    return bytes(png)


def decode_mask(png: bytes, *, height: int, width: int, num_classes: int) -> Labels:
    """Return the mask that `encode_mask` wrote.

    Raises:
        ValueError: it is no PNG, of another size, or holds labels beyond the classes.
    """
    is_png = png.startswith(_PNG_SIGNATURE) and len(png) >= _SIZE_AT + 8
    size = struct.unpack(">II", png[_SIZE_AT : _SIZE_AT + 8]) if is_png else ()
    if size != (width, height):  # by the header: what is said to be huge is not unpacked
        raise ValueError(f"wanted a mask of {width} x {height} pixels as PNG, found {size or 'none'}")
    labels_HW = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    if labels_HW is None or labels_HW.shape != (height, width) or labels_HW.dtype != np.uint8:
        raise ValueError("its mask cannot be decoded as one byte a pixel")
    beyond = labels_HW[(labels_HW >= num_classes) & (labels_HW != VOID)]
    if len(beyond):
        raise ValueError(f"labels must be 0 to {num_classes - 1} or {VOID}, found {beyond[0]}")
    return np.asarray(labels_HW, dtype=np.uint8)


def resize_mask(labels_HW: Labels, height: int, width: int) -> Labels:
    """Return the mask at another size; each pixel takes the nearest one's class, so no class appears between two."""
    if labels_HW.shape == (height, width):
        return labels_HW
    return np.asarray(cv2.resize(labels_HW, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), dtype=np.uint8)
