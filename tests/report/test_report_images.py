import base64
import io

import numpy as np
import pytest
from PIL import Image

from eightgig.core.errors import ConfigurationError
from eightgig.report.images import MARK_COLOURS, Tile, contact_sheet, to_data_uri

WIDE = np.full((60, 120, 3), (10, 120, 200), np.uint8)


def has_colour(sheet: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((sheet == np.array(colour, np.uint8)).all(axis=-1).any())


def test_a_sheet_keeps_the_shape_of_images_and_shows_marks():
    sheet = contact_sheet(
        [Tile(WIDE, "one", "good"), Tile(WIDE, "two", "bad"), Tile(WIDE)], columns=2, tile_side_px=100
    )
    blue = (sheet == WIDE[0, 0]).all(axis=-1)
    rows, cols = np.flatnonzero(blue.any(axis=1)), np.flatnonzero(blue.any(axis=0))
    assert sheet.dtype == np.uint8
    assert blue.sum() == pytest.approx(3 * 100 * 50, rel=0.02)
    assert rows[-1] - rows[0] > 100  # two rows of tiles
    assert cols[-1] - cols[0] > 190  # two columns
    assert all(has_colour(sheet, MARK_COLOURS[mark]) for mark in ("good", "bad", "plain"))


def test_captions_are_written_and_do_not_run_over_the_edge():
    plain = contact_sheet([Tile(WIDE)], tile_side_px=100)
    long = contact_sheet([Tile(WIDE, "very long words " * 20)], tile_side_px=100)
    single = contact_sheet([Tile(WIDE, "x" * 200)], tile_side_px=100)
    assert plain.shape == long.shape == single.shape
    for sheet in (long, single):
        changed = (sheet != plain).any(axis=-1)
        assert changed.any()
        assert not changed[:, -5:].any()


def test_grey_images_are_taken():
    assert contact_sheet([Tile(np.zeros((20, 20), np.uint8))]).shape[2] == 3


def test_an_empty_sheet_is_refused():
    with pytest.raises(ConfigurationError, match="wanted tiles and columns >= 1, found 0"):
        contact_sheet([])


def test_a_data_address_holds_the_image_scaled_down():
    head, _, body = to_data_uri(WIDE, longest_side_px=60).partition(",")
    image = Image.open(io.BytesIO(base64.b64decode(body)))
    assert head == "data:image/jpeg;base64"
    assert image.size == (60, 30)
    assert np.abs(np.asarray(image).astype(int) - WIDE[0, 0]).mean() < 4
