"""Tiles cover an image whole, at places that suit a network, and count for one everywhere."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eightgig.core.errors import ConfigurationError
from eightgig.tiles.grid import STEP, Grid

grids = st.builds(
    lambda height, width, tile, overlap: Grid(height, width, 8 * tile, 8 * min(overlap, tile // 2)),
    st.integers(1, 700),
    st.integers(1, 700),
    st.integers(2, 16),
    st.integers(1, 8),
)


@settings(max_examples=300, deadline=None)
@given(grids)
def test_every_pixel_counts_once(grid):
    total = np.zeros(grid.height)
    for place, span in enumerate(grid.rows):
        weights = grid.weights(grid.rows, place)
        assert span.position % STEP == 0
        assert (weights >= 0).all()
        assert 0 <= span.local.start < span.local.stop <= grid.tile
        total[span.start : span.stop] += weights
    assert np.allclose(total, 1, atol=1e-6)
    assert grid.height <= max(grid.rows[-1].position + grid.tile, grid.tile)
    assert grid.rows[-1].position + grid.tile < max(grid.height, grid.tile) + STEP


@settings(max_examples=300, deadline=None)
@given(grids)
def test_two_tiles_count_at_most(grid):
    for spans in (grid.rows, grid.columns):
        starts, stops = [span.start for span in spans], [span.stop for span in spans]
        assert all(stop - start == grid.overlap for stop, start in zip(stops, starts[1:], strict=False))
        assert all(stop <= start for stop, start in zip(stops, starts[2:], strict=False))


def test_a_tile_counts_in_full_at_the_images_border_and_little_at_its_own():
    grid = Grid(1000, 1000, 256, 64)
    first, last = grid.weights(grid.rows, 0), grid.weights(grid.rows, len(grid.rows) - 1)
    assert first[0] == last[-1] == 1
    assert first[-1] < 0.01
    assert last[0] < 0.01


def test_how_much_of_the_networks_work_is_of_use():
    assert (Grid(100, 100, 200, 8).num_tiles, Grid(100, 100, 200, 8).useful_share) == (1, 0.25)
    assert Grid(248, 248, 128, 8).num_tiles == 4


@pytest.mark.parametrize(("tile", "overlap"), [(100, 8), (64, 12), (64, 40), (64, 0)])
def test_tiles_that_do_not_suit(tile, overlap):
    with pytest.raises(ConfigurationError, match="wanted both divisible by 8"):
        Grid(100, 100, tile, overlap)
