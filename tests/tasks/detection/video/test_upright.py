"""Frames are upright, as a player shows them, whatever way round they are stored."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eightgig.tasks.detection.video.frames import Frame
from eightgig.tasks.detection.video.upright import Orientation, fill, orientation_of, upright_size, write_upright

ONE = 2**16
# The display matrix (a, b, c, d), and where the corner is that is stored at the top left.
WAYS = {
    "as stored": ((1, 0, 0, 1), "top left"),
    "90 clockwise": ((0, 1, -1, 0), "top right"),
    "180": ((-1, 0, 0, -1), "bottom right"),
    "270 clockwise": ((0, -1, 1, 0), "bottom left"),
    "mirrored": ((-1, 0, 0, 1), "top right"),
    "upside down": ((1, 0, 0, -1), "bottom left"),
    "transposed": ((0, 1, 1, 0), "top left"),
    "transposed the other way": ((0, -1, -1, 0), "bottom right"),
}
# The same as PyAV writes it: degrees counter-clockwise, then mirrored.
TURNED = {
    "90 clockwise": (-90,),
    "180": (180,),
    "270 clockwise": (90,),
    "mirrored": (0, True),
    "upside down": (0, False, True),
    "transposed": (90, False, True),
}


def matrix(a: int, b: int, c: int, d: int) -> np.ndarray:
    return np.array([a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 2**30], np.int32)


def red_corner(frame_HWC: Frame) -> str:
    """Which corner is red."""
    height, width = frame_HWC.shape[:2]
    rows = {"top": height // 8, "bottom": height - 1 - height // 8}
    columns = {"left": width // 8, "right": width - 1 - width // 8}
    is_red = {
        f"{row} {column}": frame_HWC[y, x, 2].astype(int) - frame_HWC[y, x, 0] > 100
        for row, y in rows.items()
        for column, x in columns.items()
    }
    (found,) = [corner for corner, is_so in is_red.items() if is_so]
    return found


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("way", TURNED)
def test_every_frame_is_upright(way: str, ending: str, film: Any, seen: Any, levels: Any, tmp_path: Path) -> None:
    found = seen(film(tmp_path / f"phone.{ending}", turned=TURNED[way]))
    swaps = WAYS[way][0][0] == 0
    assert found.size == ((96, 160) if swaps else (160, 96))
    assert [red_corner(frame) for frame in found.frames] == [WAYS[way][1]] * 12
    assert np.abs(np.array(found.levels) - levels(12)).max() <= 5


@pytest.mark.parametrize("way", WAYS)
def test_a_matrix_puts_each_pixel_where_it_says(way: str) -> None:
    """Pixel by pixel: (x, y) goes to (ax + cy, bx + dy), moved back into the image."""
    (a, b, c, d), _ = WAYS[way]
    stored_HWC = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    orientation = orientation_of(matrix(a, b, c, d))
    width, height = upright_size(7, 5, orientation)
    upright_HWC = np.full((height, width, 3), 255, np.uint8)
    write_upright(stored_HWC, orientation, upright_HWC)
    for y in range(5):
        for x in range(7):
            at_x, at_y = a * x + c * y, b * x + d * y
            at_x, at_y = at_x + (width - 1) * (a + c < 0), at_y + (height - 1) * (b + d < 0)
            assert upright_HWC[at_y, at_x].tolist() == stored_HWC[y, x].tolist()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    way=st.sampled_from(sorted(TURNED)),
    half_width=st.integers(10, 60),
    half_height=st.integers(10, 60),
    num_frames=st.integers(2, 9),
)
def test_whatever_way_and_size(
    way: str, half_width: int, half_height: int, num_frames: int, film: Any, seen: Any, levels: Any
) -> None:
    size = (2 * half_width, 2 * half_height)
    with tempfile.TemporaryDirectory() as folder:
        path = film(
            Path(folder) / "a.mp4", num_frames, size=size, turned=TURNED[way], codec="libx264", pixels="yuv444p"
        )
        found = seen(path)
    assert found.size == (size[::-1] if WAYS[way][0][0] == 0 else size)
    assert [red_corner(frame) for frame in found.frames] == [WAYS[way][1]] * num_frames
    assert np.abs(np.array(found.levels) - levels(num_frames)).max() <= 8


@pytest.mark.parametrize(("degrees", "nearest"), [(10, "top left"), (-80, "top right"), (170, "bottom right")])
def test_an_oblique_angle_becomes_the_nearest_right_one_and_is_told(
    degrees: int, nearest: str, film: Any, seen: Any, tmp_path: Path
) -> None:
    found = seen(film(tmp_path / "a.mp4", 2, turned=(degrees,)))
    assert red_corner(found.frames[1]) == nearest
    assert any("oblique angle" in note for note in found.notes)


def test_a_matrix_of_nothing_is_as_good_as_none() -> None:
    assert orientation_of(np.zeros(9, np.int32)) == Orientation()


def test_what_is_found_elsewhere_is_copied_and_what_is_in_place_is_left() -> None:
    slot_HWC, found_HWC = np.zeros((4, 6, 3), np.uint8), np.full((4, 6, 3), 9, np.uint8)
    fill(slot_HWC, found_HWC)
    assert slot_HWC.min() == 9
    assert not np.may_share_memory(slot_HWC, found_HWC)
    fill(slot_HWC, slot_HWC)
    assert slot_HWC.min() == 9
