"""The benchmark of tiles where pyvips is not installed: its image has to be one that can be read without it, too."""

import sys

import numpy as np


def test_the_image_is_written_and_read_without_pyvips_as_with_it(benchmark, monkeypatch, tmp_path):
    tiles = benchmark("tiles")
    with_it = tiles.write_image(tmp_path, 70)
    with tiles.open_source(with_it, max_pixels=10**6) as source:
        expected = source.read(0, 70).copy()
    monkeypatch.setitem(sys.modules, "pyvips", None)
    without = tiles.write_image(tmp_path, 70)
    assert without.suffix == ".png"
    with tiles.open_source(without, max_pixels=10**6) as source:
        found = source.read(0, 70)
    assert found.shape == (70, 70, 3)
    assert np.abs(found.astype(int) - expected).max() <= 1  # one rounds, the other cuts off
