"""A mask file as the numbers that stand in it, before anything says what they mean.

Decoders make images of files: they stretch grey of few bits to 0..255, cut 16 bits to 8, mix in what is transparent.
Of labels that would make others, so each of these is undone here, or refused.
"""

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from eightgig.core.errors import ImageRejectedError
from eightgig.data.images.decoding import MAX_BYTES_PER_PIXEL, turn_upright
from eightgig.data.images.exif import orientation_of
from eightgig.data.images.image_file import PILLOW_ERRORS, require_known_bmp
from eightgig.data.images.png import SIGNATURE, PngParts, split_png
from eightgig.data.images.webp import NUM_HEADER_BYTES, canvas_size

_LOSSLESS = ("PNG", "TIFF", "BMP", "GIF", "PPM")
_BITS_TAG, _PHOTOMETRIC_TAG, _KIND_TAG, _ORIENTATION_TAG = 258, 262, 254, 274  # of TIFF 6.0
_MIN_IS_WHITE, _SMALLER_OR_MASK = 0, 0b101
_MOST_8_BITS, _MOST_16_BITS = 255, 65535
_MOST_PAGES = 1000  # that are counted


class Palette(NamedTuple):
    """What the positions of a palette look like.

    Attributes:
        colours_P3: uint8, red, green, blue.
        is_see_through: bool, 256, whether each is transparent.
        is_gif: whether grey values had to become positions, as GIF knows nothing else.
    """

    colours_P3: npt.NDArray[np.uint8]
    is_see_through: npt.NDArray[np.bool_]
    is_gif: bool


class RawMask(NamedTuple):
    """What a mask file holds.

    Attributes:
        values_HW: int64, grey values or positions in a palette; empty where pixels are colours.
        colours_HW3: uint8, red, green, blue; None where pixels are values.
        palette: where values are positions in one.
        bits: of a grey value, where these are fewer than 8, otherwise 8.
        hint: what else a person should know who wonders about the values.
        remark: what is wrong with the file, though every value is whole.
    """

    values_HW: npt.NDArray[np.int64]
    colours_HW3: npt.NDArray[np.uint8] | None = None
    palette: Palette | None = None
    bits: int = 8
    hint: str = ""
    remark: str = ""


def read_raw_mask(path: Path, *, max_pixels: int) -> RawMask:
    """Return what stands in a mask file.

    Raises:
        ImageRejectedError: `missing_mask`, `unreadable_mask`, `too_large_mask`, `lossy_mask`, `transparent_mask`.
    """
    try:
        data = _content(path, max_pixels)
        png = split_png(data) if data.startswith(SIGNATURE) else None
        return _read(data, png, max_pixels)
    except FileNotFoundError:
        raise ImageRejectedError("missing_mask", f"{path.name} is not there") from None
    except ImageRejectedError as error:
        if error.reason.endswith("_mask"):
            raise
        raise _unreadable(f"{path.name} cannot be read ({error.detail})") from error
    except UnidentifiedImageError:
        found = "another format, or a kind of numbers that is not known; save masks as grey or palette PNG"
        raise _unreadable(f"{path.name} cannot be read ({found})") from None
    except (*PILLOW_ERRORS, Image.DecompressionBombError) as error:
        raise _unreadable(f"{path.name} cannot be read ({error})") from error


def _content(path: Path, max_pixels: int) -> bytes:
    """Return the file in memory: of one on disk Pillow reads whatever length stands in it."""
    num_bytes = path.stat().st_size
    if num_bytes > MAX_BYTES_PER_PIXEL * max_pixels:
        raise ImageRejectedError("too_large_mask", f"{num_bytes:,} bytes can not be a mask of {max_pixels:,} pixels")
    data = path.read_bytes()
    if canvas_size(data[:NUM_HEADER_BYTES]):
        raise _lossy("WEBP")
    return data


def _read(data: bytes, png: PngParts | None, max_pixels: int) -> RawMask:
    if png is not None:
        _refuse_size(png.header.width, png.header.height, max_pixels)
        data = png.data
    # By name: some of Pillow's other readers call programs of the system.
    with Image.open(io.BytesIO(data), formats=(*_LOSSLESS, "JPEG")) as image:
        _refuse_size(image.width, image.height, max_pixels)
        if image.format not in _LOSSLESS:
            raise _lossy(image.format)
        require_known_bmp(image, data)
        _refuse_pages(image, png)
        raw = _values(image, png)
    orientation, remark = orientation_of(png.exif, png.xmp) if png else (1, "")  # a TIFF Pillow has turned already
    remarks = [*(png.remarks if png else []), *filter(None, [remark])]
    raw = raw._replace(remark="; ".join(remarks))
    if raw.colours_HW3 is not None:
        return raw._replace(colours_HW3=turn_upright(raw.colours_HW3, orientation))
    return raw._replace(values_HW=turn_upright(raw.values_HW, orientation))


def _values(image: Image.Image, png: PngParts | None) -> RawMask:
    most = _largest_value(image)
    bits = png.header.bits if png else _tiff_tag(image, _BITS_TAG, 8)
    hint = "the file says that 0 is white" if _tiff_tag(image, _PHOTOMETRIC_TAG, 1) == _MIN_IS_WHITE else ""
    if image.mode == "1":
        return RawMask(np.asarray(image).astype(np.int64), bits=1, hint=hint)
    if image.mode == "P":
        return _positions(image)
    if image.mode in ("RGB", "RGBA", "LA", "PA"):
        if (png and bits == 16) or bits > 8 or most != _MOST_8_BITS:
            raise _unreadable("colours or transparency of more or less than 8 bits a channel; save 8 bits a channel")
        return _colours(image)
    values_HW = np.asarray(image)
    if values_HW.ndim != 2:
        raise _unreadable(f"wanted one value a pixel, found mode {image.mode}; save masks as a grey or palette PNG")
    whole_HW = values_HW.astype(np.int64)
    if values_HW.dtype.kind == "f" and not np.array_equal(whole_HW, values_HW):
        raise _unreadable("its values are no whole numbers, so they are no labels")
    if image.mode == "L" and bits in (2, 4):  # Pillow stretched them
        return RawMask(whole_HW // (_MOST_8_BITS // (2**bits - 1)), bits=bits, hint=hint)
    if most not in (_MOST_8_BITS, _MOST_16_BITS):  # PGM, likewise
        stretched = _MOST_8_BITS if image.mode == "L" else _MOST_16_BITS
        return RawMask(np.rint(whole_HW * (most / stretched)).astype(np.int64), hint=hint)
    return RawMask(whole_HW, hint=hint)


def _positions(image: Image.Image) -> RawMask:
    palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    clear = image.info.get("transparency")
    is_see_through = np.zeros(256, np.bool_)
    if isinstance(clear, bytes):
        is_see_through[: len(clear)] = np.frombuffer(clear, np.uint8)[:256] < _MOST_8_BITS
    elif isinstance(clear, int) and 0 <= clear < len(is_see_through):
        is_see_through[clear] = True
    values_HW = np.asarray(image).astype(np.int64)
    return RawMask(values_HW, palette=Palette(palette, is_see_through, image.format == "GIF"))


def _colours(image: Image.Image) -> RawMask:
    pixels = np.asarray(image.convert("RGBA") if image.mode == "PA" else image)
    if image.mode != "RGB":
        alpha_HW = pixels[..., -1]
        num_clear = int((alpha_HW < _MOST_8_BITS).sum())
        if num_clear:
            raise ImageRejectedError(
                "transparent_mask",
                f"{num_clear} pixels are transparent: they could be what their hidden value says, or void; save the "
                "mask without transparency",
            )
        pixels = pixels[..., :-1]
    if pixels.shape[-1] == 1:
        return RawMask(pixels[..., 0].astype(np.int64))
    return RawMask(np.zeros((0, 0), np.int64), colours_HW3=pixels)


def _largest_value(image: Image.Image) -> int:
    """Return what a PNM file calls white; 255 for the other formats."""
    tiles: Any = getattr(image, "tile", ())
    arguments = tiles[0][3] if image.format == "PPM" and tiles else ()
    found = arguments[1] if isinstance(arguments, tuple) and len(arguments) == 2 else _MOST_8_BITS
    return found if isinstance(found, int) and found > 0 else _MOST_8_BITS


def _tiff_tag(image: Image.Image, tag: int, otherwise: int) -> int:
    value = getattr(image, "tag_v2", {}).get(tag, otherwise)
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int) else otherwise


def _refuse_pages(image: Image.Image, png: PngParts | None) -> None:
    """Refuse several masks in one file; smaller copies of the first, as maps have them, do not count."""
    count = 2 if png and png.is_animated else 1
    if image.format == "TIFF":
        count = _num_tiff_pages(image)
    elif image.format == "GIF":
        count = 2 if bool(getattr(image, "is_animated", False)) else 1
    if count > 1:
        raise _unreadable("it holds more than one page or frame; save the one that is meant")


def _num_tiff_pages(image: Image.Image) -> int:
    count, page = 0, 0
    try:
        while page < _MOST_PAGES:
            image.seek(page)
            count += not _tiff_tag(image, _KIND_TAG, 0) & _SMALLER_OR_MASK
            page += 1
    except EOFError:
        pass
    image.seek(0)
    return count


def _refuse_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageRejectedError("too_large_mask", f"{width} x {height}; at most {max_pixels} pixels")


def _unreadable(detail: str) -> ImageRejectedError:
    return ImageRejectedError("unreadable_mask", detail)


def _lossy(name: str | None) -> ImageRejectedError:
    return ImageRejectedError("lossy_mask", f"{name} mixes labels at their borders; save masks as PNG")
