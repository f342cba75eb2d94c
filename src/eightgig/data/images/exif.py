"""Which way up an image is, by its EXIF data or its XMP; broken metadata are told, and have no other effect.

Source: EXIF 2.32 (CIPA DC-008), 4.6: a TIFF header and its first directory; XMP part 2 (Adobe, 2016), 4.2.
"""

import re
import struct

UPRIGHT = 1
BROKEN_EXIF = "its EXIF data are broken: taken as upright"
_ORIENTATION, _ENTRY_BYTES = 0x0112, 12
_CODES = {1: "B", 3: "H", 4: "I"}  # of the types that are whole numbers
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=\"|'|>)\s*([1-8])\b")


def orientation_of(exif: bytes, xmp: bytes = b"") -> tuple[int, str]:
    """Return the orientation, 1 to 8, and what is wrong with the metadata, or an empty text.

    Args:
        exif: with its signature or without; empty where there are none.
        xmp: is asked where EXIF does not tell.
    """
    try:
        found = _in_exif(exif) if exif.removeprefix(b"Exif\0\0") else None
        remark = ""
    except (struct.error, ValueError):
        found, remark = None, BROKEN_EXIF
    if found is None and (told := _XMP_ORIENTATION.search(xmp)):
        found = int(told[1])
    return found if found is not None and 1 <= found <= 8 else UPRIGHT, remark


def _in_exif(exif: bytes) -> int | None:
    """Read the first directory; one that is cut raises."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        raise ValueError("no TIFF header")
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    found = None
    for at in range(start + 2, start + 2 + _ENTRY_BYTES * count, _ENTRY_BYTES):
        tag, kind, number = struct.unpack_from(f"{order}HHI", tiff, at)
        if tag == _ORIENTATION and number == 1 and kind in _CODES:
            (found,) = struct.unpack_from(order + _CODES[kind], tiff, at + 8)
    return found
