"""Which bands of an image are its colours, and how their numbers become 0 to 255; what is left out or guessed is told.

A band counts as transparency only where the file says so. Extra bands that it says nothing about (near-infrared, most
often) are left out. Numbers that are no 8 or 16 bits have no black and white of their own: these must be given.
"""

from typing import Any, NamedTuple

import numpy as np

from eightgig.core.errors import DataError
from eightgig.data.images.tiff import (
    ALPHA,
    FLOAT,
    MIN_IS_BLACK,
    MIN_IS_WHITE,
    PALETTE,
    PREMULTIPLIED,
    RGB,
    SEPARATED,
    SIGNED,
    UNSIGNED,
    YCBCR,
    TiffFile,
    TiffPage,
)

_NUM_COLOURS = {MIN_IS_WHITE: 1, MIN_IS_BLACK: 1, RGB: 3, PALETTE: 1, SEPARATED: 4, YCBCR: 3}
_LAB = (8, 9, 10)
_READ_IN_PLANES = (RGB, SEPARATED)  # of others, libvips 8.18 mixes up all rows but the first, without a word
_BITS = (1, 2, 4, 8, 16, 32)
_WHITE = 255
_FULL_RANGE = {"uchar": (0, 255), "ushort": (0, 65535)}
_FULL_ALPHA = {"uchar": 255, "ushort": 65535, "float": 1}
_WAY_OUT = "Convert it to RGB of 8 bits (for example gdal_translate -ot Byte -scale)"


class BandPlan(NamedTuple):
    """How an image of libvips becomes RGB of 8 bits.

    Attributes:
        colours: bands of the colours, from 0: one of grey, three of RGB, four of CMYK.
        alpha: the band of transparency; None where there is none.
        black_white: the numbers that become 0 and 255; None where they are these already.
        is_inverted: whether black and white are yet to be exchanged.
        no_data: the number that becomes black; None where none does.
        is_guess: whether black and white are those of the numbers' kind, which the image may not use.
        notes: what a person should know of it.
    """

    colours: tuple[int, ...]
    alpha: int | None
    black_white: tuple[float, float] | None
    is_inverted: bool = False
    no_data: float | None = None
    is_guess: bool = False
    notes: tuple[str, ...] = ()


class Wanted(NamedTuple):
    """What the user chose: bands, counted from 1, and the numbers that become black and white; None leaves it open."""

    bands: tuple[int, ...] | None = None
    black_white: tuple[float, float] | None = None


AS_THE_FILE_SAYS = Wanted()


class BandsError(DataError):
    """Bands or numbers that are no colours; says so without the file's name."""


def plan_bands(image: Any, tiff: TiffFile | None, wanted: Wanted) -> BandPlan:
    """Return how an image of libvips is to be read.

    Args:
        image: as libvips opened it.
        tiff: what the file says, where it is a TIFF.
        wanted: what the user chose.

    Raises:
        BandsError: its bands are no colours, or nothing says what is black and white; without the file's name.
    """
    notes: list[str] = []
    if wanted.bands is not None:
        colours, alpha = _chosen(image.bands, wanted.bands, notes), None
    elif tiff is not None:
        colours, alpha = _of_tiff(tiff.page, image, notes)
    else:
        colours, alpha = _of_others(image)
    if tiff is not None:
        _tell_pages(tiff, notes)
    black_white = _black_white(image.format, image.bands, wanted, notes)
    no_data = tiff.page.no_data if tiff and black_white else None
    if no_data is not None:
        notes.append(f"what has no data ({no_data:g} in all bands) is black")
    if alpha is not None and image.format not in _FULL_ALPHA:
        notes.append("its transparency is left out: its numbers have no full value")
        alpha = None
    is_guess = black_white is not None and wanted.black_white is None
    is_inverted = (
        tiff is not None and tiff.page.photometric == MIN_IS_WHITE and black_white is not None and not is_guess
    )
    if is_inverted:
        notes.append("its smallest number is white, as the file says")
    return BandPlan(colours, alpha, black_white, is_inverted, no_data, is_guess, tuple(notes))


def refuse_kind(page: TiffPage) -> None:
    """Refuse a TIFF whose pixels are no colours, before it is opened.

    Raises:
        BandsError: without the file's name.
    """
    if len({*page.bits}) > 1 or page.bits[0] not in _BITS or len({*page.numbers}) > 1 or page.numbers[0] > FLOAT:
        bits = ", ".join(map(str, page.bits[:8]))
        kind = {UNSIGNED: "whole", SIGNED: "signed", FLOAT: "float"}.get(page.numbers[0], "complex or unknown")
        raise BandsError(f"wanted 8, 16 or 32 bits in each band alike, found {bits} ({kind} numbers). {_WAY_OUT}.")
    if page.is_planar and page.num_bands > 1 and page.photometric not in _READ_IN_PLANES:
        raise BandsError(
            "wanted RGB, or the bands of each pixel beside each other, found bands that lie apart (planar "
            "configuration 2). Write them beside each other, for example gdal_translate -co INTERLEAVE=PIXEL."
        )
    if page.photometric in _LAB:
        raise BandsError(f"wanted RGB or grey, found colours in CIE Lab. {_WAY_OUT}.")
    if page.photometric not in _NUM_COLOURS:
        raise BandsError(f"wanted RGB or grey, found pixels of the kind {page.photometric} (tag 262). {_WAY_OUT}.")
    if page.photometric == SEPARATED and not page.is_cmyk:
        raise BandsError(f"wanted RGB or grey, found inks that are not CMYK. {_WAY_OUT}.")


def to_rgb(image: Any, plan: BandPlan) -> Any:
    """Return an image of libvips as RGB of 8 bits; nothing is computed yet."""
    first, count = plan.colours[0], len(plan.colours)
    is_run = plan.colours == tuple(range(first, first + count))
    colours = image.extract_band(first, n=count) if is_run else _joined([image[band] for band in plan.colours])
    if plan.is_inverted and image.format in _FULL_RANGE:  # libvips has inverted it: the range is that of the file
        colours = colours * -1 + _FULL_RANGE[image.format][1]
    if plan.black_white is not None:
        colours = _scaled(colours, plan)
    if plan.is_inverted:
        colours = colours * -1 + _WHITE
    if len(plan.colours) == 4:  # as Pillow does, without a profile: each ink takes its share of the light
        key = colours[3] * -1 + _WHITE
        colours = _joined([(colours[band] * -1 + _WHITE) * key / _WHITE for band in range(3)])
    if plan.alpha is not None:
        share = image[plan.alpha] / _FULL_ALPHA[image.format]
        colours = colours * share + (share * -1 + 1) * _WHITE
    if colours.format != "uchar":
        colours = colours.rint().cast("uchar")
    return (colours if colours.bands == 3 else _joined([colours] * 3)).copy(interpretation="srgb")


def _scaled(colours: Any, plan: BandPlan) -> Any:
    black, white = plan.black_white or (0, _WHITE)
    scaled = (colours - black) * (_WHITE / (white - black))
    # Comparing with itself finds what is no number; outside of the range, the last step cuts.
    scaled = (colours == colours).ifthenelse(scaled, 0)  # noqa: PLR0124
    if plan.no_data is not None and np.isfinite(plan.no_data):
        # Written with more digits than the numbers themselves have.
        no_data = float(np.float32(plan.no_data)) if colours.format == "float" else plan.no_data
        scaled = (colours == no_data).bandand().ifthenelse(0, scaled)
    return (scaled < 0).ifthenelse(0, (scaled > _WHITE).ifthenelse(_WHITE, scaled))


def _joined(bands: list[Any]) -> Any:
    return bands[0].bandjoin(bands[1:]) if len(bands) > 1 else bands[0]


def _chosen(num_bands: int, bands: tuple[int, ...], notes: list[str]) -> tuple[int, ...]:
    if max(bands) > num_bands:
        asked = "-".join(map(str, bands))
        raise BandsError(f"tiles.bands={asked}: the image has {num_bands} bands. Choose among these.")
    notes.append(
        f"bands {', '.join(map(str, bands))} of {num_bands} are read as {'grey' if len(bands) == 1 else 'RGB'}"
    )
    return tuple(band - 1 for band in bands)


def _of_others(image: Any) -> tuple[tuple[int, ...], int | None]:
    """PNG, JPEG, WebP, ...: their formats say what is transparency."""
    has_alpha = bool(image.hasalpha())
    num_colours = image.bands - has_alpha
    if num_colours not in (1, 3) and not (image.interpretation == "cmyk" and num_colours == 4):
        raise BandsError(f"wanted grey, RGB or CMYK, found {image.bands} bands. {_WAY_OUT}.")
    return tuple(range(num_colours)), num_colours if has_alpha else None


def _of_tiff(page: TiffPage, image: Any, notes: list[str]) -> tuple[tuple[int, ...], int | None]:
    num_bands = image.bands
    if page.photometric == YCBCR and page.num_bands == 3:  # libvips has made RGB of it, some with a band that is full
        return (0, 1, 2), None
    num_colours = _NUM_COLOURS[page.photometric]
    if page.photometric == PALETTE:  # libvips has looked it up: three bands, or one where all of them are grey
        num_colours = num_bands - (page.num_bands - 1)
    num_extra = num_bands - num_colours
    if num_extra < 0 or num_colours < 1:
        raise BandsError(f"wanted {num_colours} bands of colours, found {num_bands}. {_WAY_OUT}.")
    extra = [*page.extra[-num_extra:], *[0] * num_extra][:num_extra] if num_extra else []
    if num_colours == 1 and sum(kind not in (PREMULTIPLIED, ALPHA) for kind in extra) > 1:
        raise BandsError(
            f"wanted RGB or grey, found {num_bands} bands of which the file does not say what they are. Choose: "
            "tiles.bands=1-2-3 for red, green and blue, or tiles.bands=1 for grey."
        )
    alphas = [num_colours + place for place, kind in enumerate(extra) if kind in (PREMULTIPLIED, ALPHA)]
    if len(alphas) > 1:
        raise BandsError(
            f"wanted 8 or 16 bits in 1 to 4 channels, found numbers of the kind `{image.format}` in {num_bands}; "
            f"{len(alphas)} of them are called transparency. Choose what is colour: tiles.bands=1-2-3 or tiles.bands=1."
        )
    left_out = [num_colours + place + 1 for place in range(num_extra) if num_colours + place not in alphas]
    if left_out:
        notes.append(f"band {', '.join(map(str, left_out))} of {num_bands} is left out: the file does not call it "
                     "colour or transparency")  # fmt: skip
    if alphas:
        notes.append("transparent parts over white")
    if page.photometric == SEPARATED:
        notes.append("CMYK, converted without a colour profile")
    return tuple(range(num_colours)), alphas[0] if alphas else None


def _black_white(number_format: str, num_bands: int, wanted: Wanted, notes: list[str]) -> tuple[float, float] | None:
    """Return the numbers that become 0 and 255; None for 8 bits as they are."""
    if wanted.black_white is not None:
        black, white = wanted.black_white
        notes.append(f"scaled from {black:g}..{white:g} to 0..255, as chosen; what is outside is cut")
        return black, white
    if number_format == "uchar":
        return None
    if number_format not in _FULL_RANGE:
        raise BandsError(
            f"wanted 8 or 16 bits in 1 to 4 channels, found numbers of the kind `{number_format}` in {num_bands}: "
            "nothing says which is black and which is white. Set tiles.black and tiles.white (0 and 1 for shares)."
        )
    black, white = _FULL_RANGE[number_format]
    notes.append(f"16 bits, scaled from {black}..{white} to 0..255")
    return black, white


def _tell_pages(tiff: TiffFile, notes: list[str]) -> None:
    if tiff.num_pages > 1:
        notes.append(f"page {tiff.number + 1} of {tiff.num_pages + tiff.num_copies + tiff.num_masks} is read")
    if tiff.num_masks:
        notes.append("its mask of transparency is not applied")
