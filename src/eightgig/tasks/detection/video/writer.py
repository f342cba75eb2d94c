"""What is written of a video: the frames as MP4, and the detections as lines of JSON. Both are whole or not there."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from eightgig.core.errors import DataError
from eightgig.core.files import atomic_write
from eightgig.tasks.detection.detections import Detections
from eightgig.tasks.detection.video.colour import usual_matrix
from eightgig.tasks.detection.video.frames import Frame

# MPEG-4 (part 2) allows at most 65,535 steps a second. 60,000 hold milliseconds and all usual rates but 24000/1001.
_STEPS_A_SECOND = 60_000
_OPTIONS = {"movie_timescale": str(_STEPS_A_SECOND)}  # its 1,000 steps would round when the first frame is shown
_USUAL_DURATION_S = 1 / 30
_QUANTIZER = 3  # of 1 to 31; as good as what OpenCV writes, at its size
_LONGEST_STEP = 19 * 3600 * _STEPS_A_SECOND  # MP4 holds what a frame lasts in 32 bits
WriteLine = Callable[[int, float, Detections, NDArray[np.int64]], None]


class DrawnVideo(Protocol):
    """Takes the frames of a video."""

    def write(self, frame_HWC: Frame, time_s: float, duration_s: float) -> None:
        """Take a BGR frame that is shown from `time_s` on, until the next; the last one for `duration_s`."""

    def hold_until(self, end_s: float) -> None:
        """Show the last frame until `end_s`, if that is longer than its duration."""


@contextmanager
def video_file(
    path: Path | None, *, width: int, height: int, pixel_aspect: Fraction = Fraction(1)
) -> Iterator[DrawnVideo]:
    """Yield what takes the frames; the file is at `path` when the block ends well.

    Args:
        path: of the file, `.mp4`; None writes nothing.
        width: of every frame, pixels.
        height: the same.
        pixel_aspect: width of a pixel by its height.

    Raises:
        DataError: not `.mp4`, nothing can be written there, or the file lacks frames in the end.
    """
    if path is None:
        yield _Nothing()
        return
    if path.suffix.lower() != ".mp4":
        raise DataError(f"{path}: wanted a name that ends in .mp4, found `{path.suffix}`")
    with atomic_write(path) as temporary:
        drawn = _Mp4(temporary, path, width, height, pixel_aspect)
        try:
            yield drawn
        except BaseException:
            drawn.abandon()
            raise
        drawn.close()


class _Nothing:
    """Stands in where no video is wanted."""

    def write(self, frame_HWC: Frame, time_s: float, duration_s: float) -> None: ...
    def hold_until(self, end_s: float) -> None: ...


class _Mp4:
    """An MP4 file of MPEG-4 frames, each with its own time.

    Args:
        temporary: where it is written.
        path: what it will be called.
        width: of every frame, pixels.
        height: the same.
        pixel_aspect: width of a pixel by its height.
    """

    def __init__(self, temporary: Path, path: Path, width: int, height: int, pixel_aspect: Fraction) -> None:
        self._temporary, self._path, self._shape = temporary, path, (height, width, 3)
        self._reformatter = VideoReformatter()
        self._num_written, self._last_step, self._last_steps = 0, -1, 1
        self._waiting: Packet[Any] | None = None
        with self._told():
            self._container: OutputContainer = av.open(str(temporary), "w", format="mp4", container_options=_OPTIONS)
            self._stream = self._container.add_stream("mpeg4", width=width, height=height, pix_fmt="yuv420p")
            context = self._stream.codec_context
            context.time_base = self._stream.time_base = Fraction(1, _STEPS_A_SECOND)
            context.qmin = context.qmax = _QUANTIZER
            context.sample_aspect_ratio = pixel_aspect.limit_denominator(255)  # a byte each
            context.open()

    def write(self, frame_HWC: Frame, time_s: float, duration_s: float) -> None:
        if frame_HWC.shape != self._shape:
            raise DataError(f"{self._path}: wanted frames of {self._shape}, found one of {frame_HWC.shape}")
        step = max(round(time_s * _STEPS_A_SECOND), self._last_step + 1)
        self._last_step = step if self._last_step < 0 else min(step, self._last_step + _LONGEST_STEP)
        self._last_steps = round((duration_s or _USUAL_DURATION_S) * _STEPS_A_SECOND)
        with self._told():
            self._encode(frame_HWC)
        self._num_written += 1

    def hold_until(self, end_s: float) -> None:
        self._last_steps = max(self._last_steps, round(end_s * _STEPS_A_SECOND) - self._last_step)

    def close(self) -> None:
        with self._told():
            if self._waiting is not None:
                self._waiting.duration = min(max(1, self._last_steps), _LONGEST_STEP)
                self._container.mux(self._waiting)
            self._container.close()
            with av.open(str(self._temporary), format="mp4") as written:
                found = written.streams.video[0].frames if written.streams.video else 0
        if found != self._num_written:
            raise DataError(
                f"{self._path}: wanted a video of {self._num_written} frames, but the file holds {found}. "
                "Is the disk full?"
            )

    def abandon(self) -> None:
        with suppress(av.FFmpegError, OSError):
            self._container.close()

    def _encode(self, frame_HWC: Frame) -> None:
        shown = av.VideoFrame.from_numpy_buffer(frame_HWC, "bgr24")
        matrix = usual_matrix(shown)
        frame = self._reformatter.reformat(shown, format="yuv420p", dst_colorspace=matrix, threads=1)
        frame.pts, frame.time_base = self._last_step, Fraction(1, _STEPS_A_SECOND)
        for packet in self._stream.encode(frame):
            if self._waiting is not None:
                self._container.mux(self._waiting)
            self._waiting = packet

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the libraries say into this project's words."""
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            height, width, _ = self._shape
            raise DataError(
                f"{self._path}: a video of {width}x{height} cannot be written there ({error.strerror}). Is the disk "
                "full? Choose another folder."
            ) from error


@contextmanager
def track_file(path: Path | None, classes: Sequence[str]) -> Iterator[WriteLine]:
    """Yield a function that writes one line of JSON a frame; the file is at `path` when the block ends well.

    A line is `{"frame": 7, "time_s": 0.28, "detections": [{"id": 1, "class": "cup", "score": 0.91, "box": [left, top,
    right, bottom]}]}`, boxes in pixels of the frame.

    Args:
        path: of the file; None writes nothing.
        classes: names, by label.
    """
    if path is None:
        yield _write_nothing
        return
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:

        def write(frame: int, time_s: float, detections: Detections, ids_M: NDArray[np.int64]) -> None:
            rows = _rows(detections, ids_M, classes)
            line = {"frame": frame, "time_s": round(time_s, 4), "detections": rows}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

        yield write


def _write_nothing(*_: object) -> None:
    """Stand in where no file is wanted."""


def _rows(detections: Detections, ids_M: NDArray[np.int64], classes: Sequence[str]) -> list[dict[str, object]]:
    boxes = detections.boxes_xyxy_M4.astype(float).round(2).tolist()
    scores = detections.scores_M.astype(float).round(4).tolist()
    columns = zip(ids_M.tolist(), detections.labels_M.tolist(), scores, boxes, strict=True)
    return [
        {"id": number, "class": classes[label], "score": score, "box": box} for number, label, score, box in columns
    ]
