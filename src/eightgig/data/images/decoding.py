"""One image file: what it is, and its pixels as upright RGB; every fault has a short reason code.

Reasons (the `reason` column of rejects.csv):
    empty         the file has no bytes
    not_an_image  the content is something else, for example an HTML page saved as .jpg
    unsupported   an image, but in a format this project does not read (TIFF, HEIC, ...)
    truncated     the file ends too early: pixels are missing
    damaged       pixels are wrong: what a decoder would give is partly grey or shifted
    too_large     more pixels than allowed; refused by the header, nothing was decoded
    too_small     a side is shorter than allowed
    unreadable    the file cannot be opened, or its name cannot be written as text
    conflicting_label   the same image lies in two classes (found by `manifest`)
    decoder_warning     kept: a decoder remarks on the file, but its pixels are whole

Metadata of any size and in any state refuse nothing. No decoder sees every damage: bytes changed inside a JPEG's
image data mostly decode without a word (of 200 photos with 40 bytes zeroed in the middle, libjpeg warned of 59).
Ingest catches what the decoders say; from then on the store's own checksums catch every change.
"""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from eightgig.core.errors import ImageRejectedError
from eightgig.core.records import Record
from eightgig.data.images.exif import UPRIGHT
from eightgig.data.images.image_file import PILLOW_ERRORS, ImageFile, fault_of, open_image
from eightgig.data.images.jpeg import decode_scans, require_whole, scans_alone
from eightgig.data.images.parameters import PILLOW_LIMIT_PIXELS
from eightgig.data.images.png import GREY, PngParts

Pixels = npt.NDArray[np.uint8]
Value = TypeVar("Value", bound=np.generic)

CODEC_ENDINGS = {
    "jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "png": (".png",),
    "webp": (".webp",),
    "bmp": (".bmp", ".dib"),
    "gif": (".gif",),
}
MAX_BYTES_PER_PIXEL = 8
_MOST_16_BITS, _MOST_8_BITS = 65535, 255


class Inspection(Record):
    """What one readable image is.

    Attributes:
        codec: `jpeg`, `png`, `webp`, `bmp` or `gif`, by content.
        width: pixels, upright.
        height: pixels, upright.
        byte_count: size of the file.
        content_hash: blake2b of the upright RGB pixels and their shape; equal for equal images in different files.
        note: what a person may want to know, otherwise empty.
        remark: what is wrong with the file, though its pixels are whole; otherwise empty.
    """

    codec: str
    width: int
    height: int
    byte_count: int
    content_hash: str
    note: str = ""
    remark: str = ""


class Decoded(NamedTuple):
    """Upright RGB pixels, uint8 height x width x 3, and what was found on the way, as in `Inspection`."""

    pixels_HWC: Pixels
    notes: Sequence[str]
    remarks: Sequence[str]


def inspect_image(path: Path, *, max_pixels: int, min_side: int) -> Inspection:
    """Return what `path` holds, after decoding it fully.

    Raises:
        ImageRejectedError: it cannot be used; the reason is one of this module's codes.
    """
    data = _read(path, max_pixels)
    file = open_image(data, max_pixels)
    pixels_HWC, notes, remarks = _decode(file)
    height, width = pixels_HWC.shape[:2]
    if min(height, width) < min_side:
        raise ImageRejectedError("too_small", f"{width} x {height} pixels, the shorter side must be {min_side} or more")
    return Inspection(
        codec=file.codec,
        width=width,
        height=height,
        byte_count=len(data),
        content_hash=_hash(pixels_HWC),
        note="; ".join([*_notes(path, file), *notes]),
        remark="; ".join(remarks),
    )


def decode_rgb(data: bytes, *, max_pixels: int = PILLOW_LIMIT_PIXELS) -> Pixels:
    """Return the upright RGB pixels of an encoded image, uint8, height x width x 3.

    Grey, palette, CMYK and 1-bit become RGB; what is transparent is laid over white; 16-bit values are scaled by
    1/257; EXIF orientation is applied; of an animation the first frame is taken.

    Raises:
        ImageRejectedError: pixels are missing or wrong; the reason is one of this module's codes.
    """
    return decode_with_notes(data, max_pixels=max_pixels).pixels_HWC


def decode_with_notes(data: bytes, *, max_pixels: int = PILLOW_LIMIT_PIXELS) -> Decoded:
    """Return the pixels as `decode_rgb` does, and what was found on the way."""
    return _decode(open_image(data, max_pixels))


def decode_plain_jpeg(data: bytes) -> Pixels:
    """Return what `decode_rgb` gives for a plain JPEG that was inspected and has not changed since: faster.

    Raises:
        ValueError: it cannot be decoded.
    """
    try:
        return simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except ValueError:  # libjpeg remarks on it, as it did then
        return decode_scans(data)


def is_plain_jpeg(data: bytes) -> bool:
    """Tell whether a JPEG decoder alone gives the right pixels: grey or colour, and upright."""
    file = open_image(data, PILLOW_LIMIT_PIXELS)
    return file.codec == "jpeg" and file.header.mode in ("L", "RGB") and file.orientation == UPRIGHT


def turn_upright(pixels: npt.NDArray[Value], orientation: int) -> npt.NDArray[Value]:
    """Undo the EXIF orientation of height x width (x channels): 5 to 8 swap the axes, the others mirror."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _read(path: Path, max_pixels: int) -> bytes:
    try:
        byte_count = path.stat().st_size
        if byte_count > MAX_BYTES_PER_PIXEL * max_pixels:
            raise ImageRejectedError("too_large", f"{byte_count:,} bytes can not be an image of {max_pixels:,} pixels")
        return path.read_bytes()
    except OSError as error:
        raise ImageRejectedError("unreadable", error.strerror or str(error)) from error


def _decode(file: ImageFile) -> Decoded:
    try:
        pixels_HWC, notes, remarks = _decode_as_stored(file)
    except (*PILLOW_ERRORS, cv2.error) as error:
        raise fault_of(error) from error
    upright_HWC = np.ascontiguousarray(turn_upright(pixels_HWC, file.orientation), dtype=np.uint8)
    return Decoded(upright_HWC, notes, [*file.remarks, *remarks])


def _decode_as_stored(file: ImageFile) -> Decoded:
    if file.codec == "jpeg":
        return _decode_jpeg(file)
    if file.png is not None and file.png.header.bits == 16:
        return _decode_png_16(file.png)
    return _flatten(file.header)


def _decode_jpeg(file: ImageFile) -> Decoded:
    """Decode strictly; of what libjpeg remarks on, keep what is whole all the same."""
    is_cmyk, data, remarks = file.header.mode == "CMYK", file.data, list[str]()
    try:
        pixels_HWC = simplejpeg.decode_jpeg(data, "CMYK" if is_cmyk else "RGB", strict=True)
    except ValueError as error:
        require_whole(data)
        data, remarks = scans_alone(data), [f"libjpeg: {error}"]
        pixels_HWC = None if is_cmyk else decode_scans(data)
    if is_cmyk:  # decoded above for the remarks; Pillow knows Adobe's inverted inks
        inks = Image.open(io.BytesIO(data), formats=["JPEG"]).convert("RGB")
        return Decoded(np.asarray(inks), ["CMYK, converted without a colour profile"], remarks)
    return Decoded(pixels_HWC, [], remarks)


def _decode_png_16(png: PngParts) -> Decoded:
    """Scale 16 bits to 8; Pillow would saturate grey and cut off colour."""
    pixels = cv2.imdecode(np.frombuffer(png.data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("the 16-bit image data cannot be decoded")
    if pixels.ndim == 2:
        alpha = np.full_like(pixels, _MOST_16_BITS)
        if png.header.colour == GREY and len(png.transparency) == 2:  # OpenCV knows it of colours alone
            alpha[pixels == int.from_bytes(png.transparency)] = 0
        pixels = np.dstack([pixels] * 3 + [alpha])
    most, bgr = int(pixels[:, :, :3].max(initial=0)), pixels[:, :, 2::-1]
    values = bgr.astype(np.float32) / (_MOST_16_BITS / _MOST_8_BITS)
    notes = [f"16 bits a channel, scaled from 0..65535 to 0..255; its largest value is {most}"]
    if pixels.shape[2] == 4:
        alpha = pixels[:, :, 3:].astype(np.float32) / _MOST_16_BITS
        notes += _about_alpha(alpha)
        values = values * alpha + _MOST_8_BITS * (1.0 - alpha)
    return Decoded(np.rint(values).astype(np.uint8), notes, [])


def _flatten(image: Image.Image) -> Decoded:
    """Convert any Pillow mode to RGB, what is transparent over white."""
    if not image.has_transparency_data:
        return Decoded(np.asarray(image.convert("RGB")), [], [])
    layered = image.convert("RGBA")
    notes = _about_alpha(np.asarray(layered.getchannel("A")) / _MOST_8_BITS)
    white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
    return Decoded(np.asarray(Image.alpha_composite(white, layered).convert("RGB")), notes, [])


def _about_alpha(alpha: npt.NDArray[np.floating]) -> list[str]:
    if alpha.min(initial=1) == 1:
        return []
    return ["transparent parts over white" if alpha.max() > 0 else "wholly transparent: all of it is white"]


def _hash(pixels_HWC: Pixels) -> str:
    digest = hashlib.blake2b(repr(pixels_HWC.shape).encode(), digest_size=16)
    digest.update(pixels_HWC.data)
    return digest.hexdigest()


def _notes(path: Path, file: ImageFile) -> list[str]:
    notes = []
    if path.suffix.lower() not in CODEC_ENDINGS[file.codec]:
        notes.append(f"ending says {path.suffix.lstrip('.') or 'nothing'}, content is {file.codec}")
    if file.is_animated:
        notes.append("animated: first frame")
    if file.orientation != UPRIGHT:
        notes.append(f"turned upright (EXIF orientation {file.orientation})")
    return notes
