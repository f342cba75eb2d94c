"""An image is read once, from top to bottom, and few of a network's answers exist at a time."""

import shutil
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eightgig.core.errors import ConfigurationError, DataError
from eightgig.tasks.segmentation.tiled.masks import blend_masks
from eightgig.tiles.grid import Grid
from eightgig.tiles.records import StageTimer
from eightgig.tiles.scratch import RowRing, Slots, require_space
from eightgig.tiles.source import ArraySource
from eightgig.tiles.strips import Strips, answer_all

IMAGE = np.random.default_rng(0).integers(0, 256, (150, 170, 3), dtype=np.uint8)
GRID = Grid(150, 170, 64, 16)


class Recorded(ArraySource):
    """Remembers which rows were asked for, and may fail at one."""

    def __init__(self, image_HWC, fails_at=None):
        super().__init__(image_HWC)
        self.asked, self._fails_at = [], fails_at

    def read(self, top, bottom):
        self.asked.append((top, bottom))
        if self._fails_at is not None and bottom > self._fails_at:
            raise DataError("cut short")
        return super().read(top, bottom)


def test_tiles_are_the_image_mirrored_beyond_its_border(tmp_path):
    mirrored_HWC = np.pad(IMAGE, [(0, 64), (0, 64), (0, 0)], mode="reflect")
    source, found = Recorded(IMAGE), 0
    with Strips(source, GRID, tmp_path, StageTimer()) as strips:
        for batch in strips.batches(2):
            for column, image_CHW in zip(batch.columns, batch.images_N3HW, strict=True):
                top, left = GRID.rows[batch.row].position, GRID.columns[column].position
                assert np.array_equal(image_CHW.transpose(1, 2, 0), mirrored_HWC[top : top + 64, left : left + 64])
                found += 1
    assert found == GRID.num_tiles
    assert source.asked[0][0] == 0
    assert source.asked[-1][1] == 150
    assert all(before[1] == after[0] for before, after in zip(source.asked, source.asked[1:], strict=False))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20))
def test_a_image_smaller_than_a_tile_is_mirrored_again_and_again(scratch, height, width):
    with Strips(ArraySource(IMAGE[:height, :width]), Grid(height, width, 64, 16), scratch, StageTimer()) as strips:
        (batch,) = strips.batches(4)
    wanted = np.pad(IMAGE[:height, :width], [(0, 64 - height), (0, 64 - width), (0, 0)], mode="reflect")
    assert np.array_equal(batch.images_N3HW[0].transpose(1, 2, 0), wanted)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")


def test_two_answers_exist_at_most(tmp_path):
    alive, most = [], 0

    def run(images_N3HW):
        nonlocal most
        most = max(most, 1 + sum(answer() is not None for answer in alive))
        logits = np.zeros((len(images_N3HW), 2, 64, 64), np.float32)
        alive.append(weakref.ref(logits))
        return logits

    source = ArraySource(IMAGE)
    blend_masks(source, run, num_classes=2, grid=GRID, batch=1, on_rows=lambda *_: None, scratch=tmp_path)
    assert len(alive) == GRID.num_tiles
    assert most <= 2


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_answers_come_in_order(tmp_path, batch):
    taken, clock = [], StageTimer()
    with Strips(ArraySource(IMAGE), GRID, tmp_path, clock) as strips:
        answer_all(strips.batches(batch), len, lambda b, answer: taken.append((b.row, b.columns, answer)), clock)
    assert [(row, column) for row, columns, _ in taken for column in columns] == [*np.ndindex(3, 4)]
    assert all(len(columns) == answer <= batch for _, columns, answer in taken)
    assert clock.seconds["read"] > 0


def test_a_failure_ends_everything_and_leaves_nothing(tmp_path):
    def fail(images_N3HW):
        raise RuntimeError("out of memory")

    how = {"num_classes": 2, "grid": GRID, "batch": 1, "on_rows": lambda *_: None, "scratch": tmp_path}
    with pytest.raises(RuntimeError, match="out of memory"):
        blend_masks(ArraySource(IMAGE), fail, **how)
    with pytest.raises(DataError, match="cut short"):
        blend_masks(Recorded(IMAGE, fails_at=100), lambda i: np.zeros((len(i), 2, 64, 64), np.float32), **how)
    assert list(tmp_path.iterdir()) == []


def test_a_grid_of_another_size_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="wanted a grid for 170 x 150 pixels, found one for 150 x 170"):
        Strips(ArraySource(IMAGE), Grid(170, 150, 64, 16), tmp_path, StageTimer())


def test_a_ring_holds_the_last_rows(tmp_path):
    with RowRing(tmp_path, 60, 170, 3) as ring:
        for top in range(0, 150, 30):
            ring.write(top, 0, IMAGE[top : top + 30])
        assert np.array_equal(ring.read((95, 150), (20, 90)), IMAGE[95:150, 20:90])


def test_a_slot_that_was_never_written(tmp_path):
    with Slots(tmp_path, 10) as slots:
        slots.write(1, np.arange(10, dtype=np.float32))
        assert slots.read(1, (2, 5)).tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
        with pytest.raises(EOFError, match="40 bytes at 80 were never written"):
            slots.read(2, (10,))


def test_a_full_disk_is_told_before_it_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=40))
    require_space(tmp_path, 40, "the work")
    with pytest.raises(DataError, match=r"the work needs 41 B, but only 40 B are free\. Free some, or choose"):
        require_space(tmp_path, 41, "the work")
