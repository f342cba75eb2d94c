"""One picture file: what it is, and its pixels as upright RGB; every fault has a short reason code.

Reasons (the `reason` column of rejects.csv):
    empty         the file has no bytes
    not_an_image  the content is something else, for example an HTML page saved as .jpg
    unsupported   a picture, but in a format this project does not read (TIFF, HEIC, ...)
    truncated     the file ends too early
    damaged       the decoder complained; what it would give is partly grey or shifted
    too_large     more pixels than allowed; refused by the header, nothing was decoded
    too_small     a side is shorter than allowed
    unreadable    the file cannot be opened, or its name cannot be written as text
    conflicting_label   the same picture lies in two classes (found by `manifest`)

No decoder sees every damage: bytes changed inside a JPEG's picture data mostly decode without a word (of 200 photos
with 40 bytes zeroed in the middle, libjpeg warned of 59). Ingest catches what the decoders say; from then on the
store's own checksums catch every change.
"""

import hashlib
import io
import struct
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import ExifTags, Image, UnidentifiedImageError

from eightgig.core.errors import ImageRejectedError
from eightgig.core.records import Record
from eightgig.data.parameters import PILLOW_LIMIT_PIXELS
from eightgig.data.webp import NUM_HEADER_BYTES, canvas_size

Pixels = npt.NDArray[np.uint8]

CODECS = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "WEBP": "webp", "BMP": "bmp", "GIF": "gif"}
CODEC_ENDINGS = {
    "jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "png": (".png",),
    "webp": (".webp",),
    "bmp": (".bmp", ".dib"),
    "gif": (".gif",),
}
_OTHER_FORMATS = {b"II*\0": "TIFF", b"MM\0*": "TIFF", b"\0\0\1\0": "ICO", b"8BPS": "Photoshop"}
# What Pillow raises on damaged files, by format; warnings too, where the caller has made them errors.
PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    RuntimeError,
    EOFError,
    struct.error,
    UserWarning,
)
MAX_BYTES_PER_PIXEL = 8
_TRUNCATED = ("premature end of jpeg", "truncated", "unexpected end", "empty input")


class Inspection(Record):
    """What one readable picture is.

    Attributes:
        codec: `jpeg`, `png`, `webp`, `bmp` or `gif`, by content.
        width: pixels, upright.
        height: pixels, upright.
        byte_count: size of the file.
        content_hash: blake2b of the upright RGB pixels and their shape; equal for equal pictures in different files.
        note: what a person may want to know, otherwise empty.
    """

    codec: str
    width: int
    height: int
    byte_count: int
    content_hash: str
    note: str = ""


def inspect_image(path: Path, *, max_pixels: int, min_side: int) -> Inspection:
    """Give what `path` holds, after decoding it fully.

    Raises:
        ImageRejectedError: it cannot be used; the reason is one of this module's codes.
    """
    data = _read(path, max_pixels)
    header = _open(data, max_pixels)
    pixels_HWC = _decode(header, data)
    height, width = pixels_HWC.shape[:2]
    if min(height, width) < min_side:
        raise ImageRejectedError("too_small", f"{width} x {height} pixels, the shorter side must be {min_side} or more")
    codec = CODECS[str(header.format)]
    return Inspection(
        codec=codec,
        width=width,
        height=height,
        byte_count=len(data),
        content_hash=_hash(pixels_HWC),
        note="; ".join(_notes(path, codec, header)),
    )


def decode_rgb(data: bytes, *, max_pixels: int = PILLOW_LIMIT_PIXELS) -> Pixels:
    """Give the upright RGB pixels of an encoded picture, uint8, height x width x 3.

    Grey, palette, CMYK and 1-bit become RGB; what is transparent is laid over white; 16-bit values are scaled by
    1/257; EXIF orientation is applied; of an animation the first frame is taken.

    Raises:
        ImageRejectedError: it cannot be decoded without a fault; the reason is one of this module's codes.
    """
    return _decode(_open(data, max_pixels), data)


def is_plain_jpeg(data: bytes) -> bool:
    """Tell whether a JPEG decoder alone gives the right pixels: grey or colour, and upright."""
    header = _open(data, PILLOW_LIMIT_PIXELS)
    return CODECS[str(header.format)] == "jpeg" and header.mode in ("L", "RGB") and _orientation(header) == 1


def _read(path: Path, max_pixels: int) -> bytes:
    try:
        byte_count = path.stat().st_size
        if byte_count > MAX_BYTES_PER_PIXEL * max_pixels:
            raise ImageRejectedError("too_large", f"{byte_count:,} bytes can not be a picture of {max_pixels:,} pixels")
        return path.read_bytes()
    except OSError as error:
        raise ImageRejectedError("unreadable", error.strerror or str(error)) from error


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Read the header only; the pixels are not decoded yet."""
    if not data:
        raise ImageRejectedError("empty", "the file has no bytes")
    if size := canvas_size(data[:NUM_HEADER_BYTES]):  # opening a WebP already makes room for it
        _refuse_large(*size, max_pixels)
    try:
        header = Image.open(io.BytesIO(data), formats=["JPEG", "PNG", "WEBP", "BMP", "GIF"])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageRejectedError("too_large", str(error)) from error
    except UnidentifiedImageError:
        raise _not_identified(data) from None
    except PILLOW_ERRORS as error:
        raise _fault(error) from error
    _refuse_large(header.width, header.height, max_pixels)
    return header


def _refuse_large(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        size = f"{width} x {height}"
        raise ImageRejectedError("too_large", f"{size} pixels by its header, at most {max_pixels:,} are allowed")


def _not_identified(data: bytes) -> ImageRejectedError:
    other = _OTHER_FORMATS.get(data[:4])
    if data[4:8] == b"ftyp":
        other = data[8:12].decode("ascii", "replace").upper()
    if other:
        return ImageRejectedError("unsupported", f"a file of type {other}; convert it to JPEG or PNG")
    known = data[:3] == b"\xff\xd8\xff" or data[:8] == b"\x89PNG\r\n\x1a\n" or data[:4] in (b"RIFF", b"GIF8")
    if known:
        return ImageRejectedError(
            "truncated", f"begins like a picture, but its header is not whole ({len(data)} bytes)"
        )
    return ImageRejectedError("not_an_image", f"the content begins with {data[:16]!r}")


def _decode(header: Image.Image, data: bytes) -> Pixels:
    try:
        pixels_HWC = _decode_as_stored(header, data)
    except (*PILLOW_ERRORS, cv2.error) as error:
        raise _fault(error) from error
    return np.ascontiguousarray(_turn_upright(pixels_HWC, _orientation(header)))


def _decode_as_stored(header: Image.Image, data: bytes) -> Pixels:
    codec = CODECS[str(header.format)]
    if codec == "jpeg":
        return _decode_jpeg(header, data)
    if codec == "png":
        # Pillow skips the checksums of the picture data when it decodes; `verify` reads them all.
        Image.open(io.BytesIO(data), formats=["PNG"]).verify()
        if data[24] == 16:
            return _decode_png_16(data)
    return _flatten(header)


def _decode_jpeg(header: Image.Image, data: bytes) -> Pixels:
    """Decode strictly: whatever libjpeg only warns of raises ValueError."""
    if header.mode in ("L", "RGB"):
        return simplejpeg.decode_jpeg(data, "RGB", strict=True)
    simplejpeg.decode_jpeg(data, "CMYK", strict=True)  # for its warnings; Pillow knows Adobe's inverted inks
    return np.asarray(header.convert("RGB"))


def _decode_png_16(data: bytes) -> Pixels:
    """Scale 16 bits to 8; Pillow would saturate grey and cut off colour."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("the 16-bit picture data cannot be decoded")
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    values = pixels[:, :, 2::-1].astype(np.float32) / 257.0
    if pixels.shape[2] == 4:
        alpha = pixels[:, :, 3:].astype(np.float32) / 65535.0
        values = values * alpha + 255.0 * (1.0 - alpha)
    return np.rint(values).astype(np.uint8)


def _flatten(image: Image.Image) -> Pixels:
    """Convert any Pillow mode to RGB, what is transparent over white."""
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    layered = image.convert("RGBA")
    white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, layered).convert("RGB"))


def _orientation(header: Image.Image) -> int:
    """Give the EXIF orientation 1 to 8; 1 where there is none or the EXIF data are broken."""
    try:
        value = header.getexif().get(ExifTags.Base.Orientation, 1)
    except PILLOW_ERRORS:
        return 1
    return value if value in range(1, 9) else 1


def _turn_upright(pixels_HWC: Pixels, orientation: int) -> Pixels:
    """Undo the EXIF orientation: 5 to 8 swap the axes, the others mirror."""
    if orientation >= 5:
        pixels_HWC = pixels_HWC.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels_HWC = pixels_HWC[::-1]
    if orientation in (2, 3, 6, 7):
        pixels_HWC = pixels_HWC[:, ::-1]
    return pixels_HWC


def _fault(error: Exception) -> ImageRejectedError:
    text = str(error) or type(error).__name__
    reason = "truncated" if any(sign in text.lower() for sign in _TRUNCATED) else "damaged"
    return ImageRejectedError(reason, text)


def _hash(pixels_HWC: Pixels) -> str:
    digest = hashlib.blake2b(repr(pixels_HWC.shape).encode(), digest_size=16)
    digest.update(pixels_HWC.data)
    return digest.hexdigest()


def _notes(path: Path, codec: str, header: Image.Image) -> list[str]:
    notes = []
    if path.suffix.lower() not in CODEC_ENDINGS[codec]:
        notes.append(f"ending says {path.suffix.lstrip('.') or 'nothing'}, content is {codec}")
    if header.format != "MPO" and _is_animated(header):
        notes.append("animated: first frame")
    if (orientation := _orientation(header)) != 1:
        notes.append(f"turned upright (EXIF orientation {orientation})")
    return notes


def _is_animated(header: Image.Image) -> bool:
    try:
        return bool(getattr(header, "is_animated", False))
    except PILLOW_ERRORS:  # more frames, which are damaged
        return True
