import time
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from eightgig.tasks.detection.video.source import open_source

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


def level_of(index: int) -> int:
    """Grey level of frame `index` of a film: each frame tells its number."""
    return 20 + 3 * (index % 70)


def write_film(
    path: Path,
    num_frames: int = 12,
    *,
    size: tuple[int, int] = (160, 96),
    fps: int = 25,
    codec: str = "mpeg4",
    pixels: str = "yuv420p",
    kind: str | None = None,
    times_s: Sequence[float] | None = None,
    turned: tuple[Any, ...] | None = None,
    sound: bool = False,
    codec_options: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
    time_base: Fraction | None = None,
) -> Path:
    """Grey frames with a red field at the stored top left, encoded by PyAV.

    Args:
        kind: FFmpeg's name of the container, where the file's ending does not tell.
        times_s: when each frame is shown; frame / fps unless given.
        turned: what `VideoStream.set_display_rotation` takes.
    """
    width, height = size
    ticks = time_base or Fraction(1, fps)
    with av.open(str(path), "w", format=kind, container_options=dict(options or {})) as container:
        stream = container.add_stream(codec, rate=fps, options=dict(codec_options or {}))
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.time_base = ticks
        if turned:
            stream.set_display_rotation(*turned)
        if sound:
            track = container.add_stream("aac", rate=8000, layout="mono")
        for index in range(num_frames):
            pixels_HWC = np.full((height, width, 3), level_of(index), np.uint8)
            pixels_HWC[: height // 4, : width // 4] = (255, 0, 0)
            frame = av.VideoFrame.from_ndarray(pixels_HWC, "rgb24").reformat(format=pixels)
            frame.time_base = ticks
            frame.pts = index if times_s is None else round(times_s[index] / ticks)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound:
            for number in range(round(num_frames / fps * 8000 / 1024)):
                beep = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                beep.sample_rate, beep.pts = 8000, 1024 * number
                container.mux(track.encode(beep))
            container.mux(track.encode(None))
    return path


class Seen:
    """What a source gave: frames (copies), their times, and what it said in the end."""

    def __init__(self, source: Any) -> None:
        self.frames: list[Frame] = []
        self.times_s: list[float] = []
        with source:
            self.size, self.fps, self.is_live = (source.width, source.height), source.fps, source.is_live
            self.num_claimed = source.num_frames
            while True:
                slot_HWC = np.full((source.height, source.width, 3), 7, np.uint8)  # of no frame
                if not source.read_into(slot_HWC):
                    break
                self.frames.append(slot_HWC)
                self.times_s.append(source.time_s)
            self.end_s, self.notes = source.end_s, source.notes

    @property
    def levels(self) -> list[int]:
        return [int(np.median(frame)) for frame in self.frames]


@pytest.fixture(scope="session")
def film() -> Callable[..., Path]:
    return write_film


@pytest.fixture(scope="session")
def seen() -> Callable[..., Seen]:
    """Open a source, read all of it, and close it."""
    return lambda address, **options: Seen(open_source(address, **options))


@pytest.fixture(scope="session")
def levels() -> Callable[[int], list[int]]:
    """The grey levels of a film's first frames."""
    return lambda count: [level_of(index) for index in range(count)]


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

    name, is_live, width, height, num_frames, num_frames_about = "camera 7", True, 320, 240, None, None
    pixel_aspect, time_s, end_s, notes = Fraction(1), None, None, ()

    def __init__(self, most: int, *, fps: float | None = 25.0, seconds: float = 0.0) -> None:
        self._most = most
        self._seconds = seconds
        self.fps = fps
        self.duration_s = 1 / fps if fps else 0.0
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
