import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

SIDE = 40
Frame = NDArray[np.uint8]


def square_at(index: int, *, width: int, height: int) -> tuple[int, int]:
    """Left and top of the bright square in frame `index`."""
    return 10 + 2 * index % (width - SIDE - 20), 12 + index % (height - SIDE - 24)


def paint(frame_HWC: Frame, index: int) -> None:
    """A dark frame with a bright square that moves."""
    height, width = frame_HWC.shape[:2]
    left, top = square_at(index, width=width, height=height)
    frame_HWC[:] = 30
    frame_HWC[top : top + SIDE, left : left + SIDE] = 250


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    def make(num_frames: int, *, width: int = 320, height: int = 240, fps: float = 25.0) -> Path:
        path = tmp_path / f"video_{num_frames}_{width}x{height}.mp4"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
        frame_HWC = np.empty((height, width, 3), np.uint8)
        for index in range(num_frames):
            paint(frame_HWC, index)
            writer.write(frame_HWC)
        writer.release()
        return path

    return make


class SquareFinder:
    """A runner that finds the bright square, as class 1, and calls `before` with the number of the call."""

    name, precision, computes_in, device = "square finder", "fp32", "fp32", "cpu"

    def __init__(self, before: Callable[[int], None] = lambda _: None, *, label: int = 1) -> None:
        self._before = before
        self._label = label
        self.num_calls = 0

    def __enter__(self) -> "SquareFinder":
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def describe(self) -> dict[str, Any]:
        return {}

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self._before(self.num_calls)
        self.num_calls += 1
        images_N3HW = feeds["images"]
        assert images_N3HW.dtype == np.float32
        assert 0 <= images_N3HW.min() <= images_N3HW.max() <= 1
        rows, columns = (np.flatnonzero((images_N3HW[0, 0] > 0.7).any(axis=axis)) for axis in (1, 0))
        edges = np.array([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]])
        predictions_NPK = np.zeros((1, 2, 5 + 8), np.float32)
        predictions_NPK[0, 0, :4] = [*edges.mean(axis=0), *(edges[1] - edges[0])]
        predictions_NPK[0, 0, [4, 5 + self._label]] = 1.0, 0.9
        return {"predictions": predictions_NPK}


class Camera:
    """A live source of as many frames as it is told, each as soon as it is asked for."""

    name, is_live, width, height, num_frames = "camera 7", True, 320, 240, None

    def __init__(self, most: int, *, fps: float | None = 25.0, seconds: float = 0.0) -> None:
        self._most = most
        self._seconds = seconds
        self.fps = fps
        self.num_asked = 0

    def __enter__(self) -> "Camera":
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def read_into(self, frame_HWC: Frame) -> bool:
        time.sleep(self._seconds)
        paint(frame_HWC, self.num_asked)
        self.num_asked += 1
        return self.num_asked <= self._most


@pytest.fixture
def finder() -> type[SquareFinder]:
    return SquareFinder


@pytest.fixture
def camera() -> type[Camera]:
    return Camera


@pytest.fixture
def square() -> Callable[..., tuple[int, int]]:
    """Where the square of a frame is: left and top; its sides are 40."""
    return square_at
