"""An image file, opened: what it is, which way up, and what of it is to be decoded. No pixel is made yet."""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from PIL import Image, UnidentifiedImageError

from eightgig.core.errors import ImageRejectedError
from eightgig.data.images.exif import UPRIGHT, orientation_of
from eightgig.data.images.jpeg import split_jpeg
from eightgig.data.images.png import SIGNATURE, PngParts, split_png
from eightgig.data.images.webp import NUM_HEADER_BYTES, canvas_size, split_webp

CODECS = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "WEBP": "webp", "BMP": "bmp", "GIF": "gif"}
_OTHER_FORMATS = {b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF", b"\0\0\1\0": "ICO",
                  b"8BPS": "Photoshop", b"\0\0\0\x0c": "JPEG 2000", b"\xff\x0a": "JPEG XL"}  # fmt: skip
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
_TRUNCATED = ("premature end of jpeg", "truncated", "unexpected end", "empty input")
_JPEG_START, _BITS = b"\xff\xd8\xff", 8
_BMP_BITS = 28  # where the header has them

_Alone = tuple[bytes, bytes, bytes]  # the image data alone, EXIF, XMP


@dataclass
class ImageFile:
    """An image that is not decoded yet.

    Attributes:
        codec: `jpeg`, `png`, `webp`, `bmp` or `gif`, by content.
        header: as Pillow opened it; where metadata are in Pillow's way, of the image data alone.
        data: what is to be decoded.
        orientation: EXIF's, 1 to 8.
        is_animated: whether there are more images than the first.
        png: the parts of a PNG.
        remarks: what is wrong with the file, though it keeps no pixel from being read.
    """

    codec: str
    header: Image.Image
    data: bytes
    orientation: int = UPRIGHT
    is_animated: bool = False
    png: PngParts | None = None
    remarks: list[str] = field(default_factory=list)


def open_image(data: bytes, max_pixels: int) -> ImageFile:
    """Return what `data` hold, by their header.

    Raises:
        ImageRejectedError: no image, one that is not read, too large, or without a whole header.
    """
    if not data:
        raise ImageRejectedError("empty", "the file has no bytes")
    if size := canvas_size(data[:NUM_HEADER_BYTES]):  # opening a WebP already makes room for it
        refuse_large(*size, max_pixels)
    file = _open_png(data, max_pixels) if data.startswith(SIGNATURE) else _open_other(data)
    refuse_large(file.header.width, file.header.height, max_pixels)
    return file


def refuse_large(width: int, height: int, max_pixels: int) -> None:
    """Refuse more than `max_pixels`. ImageRejectedError: `too_large`."""
    if width * height > max_pixels:
        size = f"{width} x {height}"
        raise ImageRejectedError("too_large", f"{size} pixels by its header, at most {max_pixels:,} are allowed")


def require_known_bmp(image: Image.Image, data: bytes) -> None:
    """Refuse grey BMP files of 4 bits: Pillow reads them as if they had 8. ImageRejectedError: `unsupported`."""
    bits = int.from_bytes(data[_BMP_BITS : _BMP_BITS + 2], "little")
    if image.format == "BMP" and image.mode == "L" and bits < _BITS:
        raise ImageRejectedError("unsupported", f"a grey BMP of {bits} bits; save it as PNG")


def fault_of(error: Exception) -> ImageRejectedError:
    """Return a decoder's complaint as a reason."""
    text = str(error) or type(error).__name__
    reason = "truncated" if any(sign in text.lower() for sign in _TRUNCATED) else "damaged"
    return ImageRejectedError(reason, text)


def _open_png(data: bytes, max_pixels: int) -> ImageFile:
    parts = split_png(data)
    refuse_large(parts.header.width, parts.header.height, max_pixels)
    orientation, remark = orientation_of(parts.exif, parts.xmp)
    return ImageFile(
        "png", _pillow(parts.data, "PNG"), parts.data, orientation, parts.is_animated, parts,
        remarks=[*parts.remarks, *filter(None, [remark])],
    )  # fmt: skip


def _open_other(data: bytes) -> ImageFile:
    try:
        header, remarks = _pillow(data, "JPEG", "WEBP", "BMP", "GIF"), []
    except ImageRejectedError as error:
        alone = _ALONE.get(data[:3], _ALONE.get(data[:4]))
        if alone is None or error.reason == "too_large":
            raise
        data, exif, xmp = alone(data)
        try:
            header = _pillow(data, "JPEG", "WEBP")
        except ImageRejectedError:
            raise error from None
        header.info |= {"exif": exif, "xmp": xmp}
        remarks = [f"{error.detail}: read without its metadata"]
    require_known_bmp(header, data)
    orientation, remark = orientation_of(_bytes(header, "exif"), _bytes(header, "xmp"))
    return ImageFile(
        CODECS[str(header.format)], header, data, orientation, _is_animated(header),
        remarks=[*remarks, *filter(None, [remark])],
    )  # fmt: skip


def _jpeg_alone(data: bytes) -> _Alone:
    parts = split_jpeg(data)
    if parts.frame and parts.frame[0] != _BITS:
        raise ImageRejectedError("unsupported", f"{parts.frame[0]} bits a channel; convert it to 8 bits")
    if parts.num_channels not in (0, 1, 3, 4):
        raise ImageRejectedError("unsupported", f"{parts.num_channels} channels; convert it to grey or RGB")
    return parts.stream(), parts.exif, parts.xmp


def _webp_alone(data: bytes) -> _Alone:
    parts = split_webp(data)
    return parts.data, parts.exif, parts.xmp


_ALONE: dict[bytes, Callable[[bytes], _Alone]] = {_JPEG_START: _jpeg_alone, b"RIFF": _webp_alone}


def _pillow(data: bytes, *formats: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageRejectedError("too_large", str(error)) from error
    except UnidentifiedImageError:
        raise _not_identified(data) from None
    except PILLOW_ERRORS as error:
        raise fault_of(error) from error


def _not_identified(data: bytes) -> ImageRejectedError:
    other = _OTHER_FORMATS.get(data[:4])
    if data[4:8] == b"ftyp":
        other = data[8:12].decode("ascii", "replace").upper()
    if other:
        return ImageRejectedError("unsupported", f"a file of type {other}; convert it to JPEG or PNG")
    if data[:3] == _JPEG_START or data[:8] == SIGNATURE or data[:4] in (b"RIFF", b"GIF8"):
        return ImageRejectedError("truncated", f"begins like an image, but its header is not whole ({len(data)} bytes)")
    return ImageRejectedError("not_an_image", f"the content begins with {data[:16]!r}")


def _bytes(header: Image.Image, name: str) -> bytes:
    value = header.info.get(name, b"")
    return value if isinstance(value, bytes) else b""


def _is_animated(header: Image.Image) -> bool:
    if header.format == "MPO":  # a photo with a second view of the same
        return False
    try:
        return bool(getattr(header, "is_animated", False))
    except PILLOW_ERRORS:  # more frames, which are damaged
        return True
