"""Frames of a camera at this machine, by OpenCV: it knows the cameras of every system by their number."""

from fractions import Fraction
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np

from eightgig.core.errors import DataError
from eightgig.tasks.detection.video.frames import Frame, known_rate, require_size
from eightgig.tasks.detection.video.upright import fill


class CameraSource:
    """An OpenCV capture of a camera as a FrameSource.

    Args:
        capture: an opened cv2.VideoCapture.
        name: for a person.

    Raises:
        DataError: it gives no frame, or one too small or too large.
    """

    is_live = True
    num_frames: int | None = None
    num_frames_about: int | None = None
    pixel_aspect = Fraction(1)
    time_s: float | None = None
    end_s: float | None = None
    notes: tuple[str, ...] = ()

    def __init__(self, capture: Any, name: str) -> None:
        self.name = name
        self._capture = capture
        self.fps = known_rate(capture.get(cv2.CAP_PROP_FPS))
        self.duration_s = 1 / self.fps if self.fps else 0.0
        try:
            self._first: Frame | None = _first_frame(capture, name)
        except DataError:
            capture.release()
            raise
        self.height, self.width = self._first.shape[:2]

    def read_into(self, frame_HWC: Frame) -> bool:
        """Write the next frame into `frame_HWC`; False when there is none. One of another size is scaled."""
        is_there, found_HWC = (True, self._first) if self._first is not None else self._capture.read(frame_HWC)
        self._first = None
        if is_there:
            fill(frame_HWC, _as_bgr(found_HWC))
        return bool(is_there)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.release()


def _first_frame(capture: Any, name: str) -> Frame:
    """Return the first frame; its size is checked before it is decoded, and after."""
    is_there, frame_HWC = False, None
    if capture.isOpened():
        claimed = [int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
        if all(claimed):  # some cameras claim none
            require_size(claimed[0], claimed[1], name)
        is_there, frame_HWC = capture.read()
    if not is_there or frame_HWC is None:
        raise DataError(f"{name}: wanted a camera, but there is none here, or another program has it")
    require_size(frame_HWC.shape[1], frame_HWC.shape[0], name)
    first_HWC: Frame = frame_HWC
    return first_HWC


def _as_bgr(found_HWC: Frame) -> Frame:
    """Return three channels: drivers of some cameras give grey, or a fourth one."""
    num_channels = found_HWC.shape[2] if found_HWC.ndim == 3 else 1
    rules = {1: cv2.COLOR_GRAY2BGR, 4: cv2.COLOR_BGRA2BGR}
    return np.asarray(cv2.cvtColor(found_HWC, rules[num_channels]), np.uint8) if num_channels in rules else found_HWC
