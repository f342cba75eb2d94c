"""Images of a report: contact sheets as files, and images inside a page."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from eightgig.core.errors import ConfigurationError
from eightgig.report.page import Mark

GROUND, INK = (250, 250, 248), (40, 44, 52)
MARK_COLOURS: dict[Mark, tuple[int, int, int]] = {
    "plain": (205, 209, 214),
    "good": (79, 163, 107),
    "bad": (214, 92, 92),
}


@dataclass(frozen=True)
class Tile:
    """One image of a sheet, what to write under it, and whether it shows something good or bad."""

    image_HWC: NDArray[np.uint8]
    caption: str = ""
    mark: Mark = "plain"


def contact_sheet(tiles: Sequence[Tile], *, columns: int = 6, tile_side_px: int = 180) -> NDArray[np.uint8]:
    """Return one image (height, width, 3) RGB uint8 of all tiles in rows, each whole, with its caption under it.

    Captions are wrapped to two lines and cut with an ellipsis; a bar of colour above each tells good from bad.

    Raises:
        ConfigurationError: no tiles, or no columns.
    """
    if not tiles or columns < 1:
        raise ConfigurationError(f"contact sheet: wanted tiles and columns >= 1, found {len(tiles)} and {columns=}.")
    gap_px, font_px = max(6, tile_side_px // 18), max(12, tile_side_px // 12)
    font, line_px = ImageFont.load_default(font_px), round(font_px * 1.3)
    cell_px = (tile_side_px + gap_px, tile_side_px + gap_px + 2 * line_px + 8)
    num_columns, num_rows = min(columns, len(tiles)), math.ceil(len(tiles) / columns)
    sheet = Image.new("RGB", (num_columns * cell_px[0] + gap_px, num_rows * cell_px[1] + gap_px), GROUND)
    draw = ImageDraw.Draw(sheet)
    for index, tile in enumerate(tiles):
        x, y = (gap_px + (index % columns) * cell_px[0], gap_px + (index // columns) * cell_px[1])
        _paste(sheet, tile, (x, y), tile_side_px)
        draw.rectangle((x, y + tile_side_px + 2, x + tile_side_px - 1, y + tile_side_px + 4), MARK_COLOURS[tile.mark])
        for number, line in enumerate(_wrapped(tile.caption, font, tile_side_px)):
            draw.text((x, y + tile_side_px + 7 + number * line_px), line, INK, font)
    return np.asarray(sheet)


def _paste(sheet: Image.Image, tile: Tile, at: tuple[int, int], side_px: int) -> None:
    """Fit the image into its square without cutting or stretching it."""
    image = _as_image(tile.image_HWC)
    scale = side_px / max(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    fitted = image.resize((width, height), Image.Resampling.LANCZOS)
    sheet.paste(fitted, (at[0] + (side_px - width) // 2, at[1] + (side_px - height) // 2))


def _wrapped(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width_px: int) -> list[str]:
    """Return at most two lines that fit; a long word is broken, and what is left out ends with an ellipsis."""
    lines = [""]
    for character in " ".join(text.split()):
        if font.getlength(lines[-1] + character) <= width_px:
            lines[-1] += character
            continue
        head, _, tail = lines[-1].rpartition(" ")
        lines[-1:] = [head or lines[-1], (tail + character if head else character).lstrip()]
    if len(lines) <= 2:
        return lines
    second = lines[1]
    while second and font.getlength(second + "…") > width_px:
        second = second[:-1]
    return [lines[0], second.rstrip() + "…"]


def _as_image(image_HWC: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(image_HWC)).convert("RGB")


def to_data_uri(image_HWC: NDArray[np.uint8], *, quality: int = 82, longest_side_px: int | None = None) -> str:
    """Return the image as a JPEG inside a `data:` address, for a page that needs no other file.

    Args:
        image_HWC: (height, width, 3) RGB or (height, width) grey, uint8.
        quality: of the JPEG, 1..95.
        longest_side_px: larger images are scaled down to it.
    """
    image = _as_image(image_HWC)
    if longest_side_px:
        image.thumbnail((longest_side_px, longest_side_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
