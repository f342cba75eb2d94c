"""What is written of a video: the frames as MP4, and the detections as lines of JSON. Both are whole or not there."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from eightgig.core.errors import DataError
from eightgig.core.files import atomic_write
from eightgig.models.detections import Detections
from eightgig.video.source import Frame

_USUAL_FPS = 30.0
WriteFrame = Callable[[Frame, int], None]
WriteLine = Callable[[int, float, Detections, NDArray[np.int64]], None]


@contextmanager
def video_file(path: Path | None, *, width: int, height: int, fps: float | None) -> Iterator[WriteFrame]:
    """Give a function that writes a BGR frame so many times; the file is at `path` when the block ends well.

    Args:
        path: of the file, `.mp4`; None writes nothing.
        width: of every frame, pixels; of an odd side the last row or column is left out.
        height: the same.
        fps: frames a second; 30 where None.

    Raises:
        DataError: not `.mp4`, OpenCV cannot write there, or the file lacks frames in the end.
    """
    if path is None:
        yield _write_nothing
        return
    if path.suffix.lower() != ".mp4":
        raise DataError(f"{path}: wanted a name that ends in .mp4, found `{path.suffix}`")
    with atomic_write(path) as temporary:
        # OpenCV chooses the format by the ending.
        unfinished = temporary.with_name(temporary.name + ".mp4")
        try:
            yield from _written_video(unfinished, path, (width, height), fps or _USUAL_FPS)
            unfinished.replace(temporary)
        finally:
            unfinished.unlink(missing_ok=True)


def _written_video(unfinished: Path, path: Path, size: tuple[int, int], fps: float) -> Iterator[WriteFrame]:
    writer = cv2.VideoWriter(str(unfinished), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
    num_written = 0

    def write(frame_HWC: Frame, times: int) -> None:
        nonlocal num_written
        for _ in range(times):
            writer.write(frame_HWC)
        num_written += times

    try:
        if not writer.isOpened():
            raise DataError(f"{path}: OpenCV cannot write an MP4 of {size[0]}x{size[1]} there. Choose another folder.")
        yield write
    finally:
        writer.release()
    # OpenCV says nothing when a disk is full.
    found = int(cv2.VideoCapture(str(unfinished), cv2.CAP_FFMPEG).get(cv2.CAP_PROP_FRAME_COUNT))
    if found != num_written:
        raise DataError(
            f"{path}: wanted a video of {num_written} frames, but the file holds {found}. Is the disk full?"
        )


@contextmanager
def track_file(path: Path | None, classes: Sequence[str]) -> Iterator[WriteLine]:
    """Give a function that writes one line of JSON a frame; the file is at `path` when the block ends well.

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
