"""Where frames come from: a video file, a camera, or an address whose kind was allowed."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from eightgig.core.errors import ConfigurationError, DataError

Frame = NDArray[np.uint8]

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_SMALLEST_SIDE, _LARGEST_SIDE = 16, 8192
_FASTEST_FPS = 1000.0


class FrameSource(Protocol):
    """Frames one after another, all of one size.

    Attributes:
        name: for a person.
        is_live: whether frames come in their own time, so that those that nobody takes are lost.
        width: pixels.
        height: pixels.
        fps: frames a second as it claims; None where it does not.
        num_frames: as it claims; None where it does not.
    """

    name: str
    is_live: bool
    width: int
    height: int
    fps: float | None
    num_frames: int | None

    def read_into(self, frame_HWC: Frame) -> bool:
        """Write the next frame, BGR, height x width x 3; False when there is none. DataError: it has another size."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_source(source: str | int, *, allow: Sequence[str] = ()) -> "CaptureSource":
    """Give the open source; leave it by its `with` block.

    Args:
        source: a path, the number of a camera (`0` or "0"), or an address.
        allow: kinds of address that may be opened, for example `rtsp`. Without one, nothing reaches for the network.

    Raises:
        ConfigurationError: an address of a kind that is not allowed.
        DataError: no such file or camera, nothing that OpenCV reads as a video, or frames too small or too large.
    """
    text = str(source)
    if text.isdecimal():
        return CaptureSource(cv2.VideoCapture(int(text)), f"camera {text}", is_camera=True)
    address = _SCHEME.match(text)
    if address:
        _require_allowed(text, address[1].lower(), allow)
        return CaptureSource(cv2.VideoCapture(text, cv2.CAP_FFMPEG), _without_password(text))
    path = Path(text).expanduser()
    if not path.is_file():
        raise DataError(f"{text}: wanted a video file or the number of a camera, but there is no such file")
    # As an absolute path, no name can be taken for one of FFmpeg's own notations (`concat:...`).
    return CaptureSource(cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG), path.name)


class CaptureSource:
    """An OpenCV capture as a FrameSource.

    Args:
        capture: an opened cv2.VideoCapture.
        name: for a person.
        is_camera: without a beginning and an end.

    Raises:
        DataError: it gives no frame, or one too small or too large.
    """

    def __init__(self, capture: Any, name: str, *, is_camera: bool = False) -> None:
        self.name = name
        self._capture = capture
        count = _known(capture.get(cv2.CAP_PROP_FRAME_COUNT), 2**40)
        self.num_frames = int(count) if count and not is_camera else None
        self.is_live = is_camera or self.num_frames is None
        self.fps = _known(capture.get(cv2.CAP_PROP_FPS), _FASTEST_FPS)
        try:
            self._first: Frame | None = _first_frame(capture, name, is_camera)
        except DataError:
            capture.release()
            raise
        self.height, self.width = self._first.shape[:2]

    def read_into(self, frame_HWC: Frame) -> bool:
        """Write the next frame into `frame_HWC`; False when there is none. DataError: it has another size."""
        if self._first is not None:
            frame_HWC[:], self._first = self._first, None
            return True
        is_there, found_HWC = self._capture.read(frame_HWC)
        if is_there and found_HWC.shape != frame_HWC.shape:
            height, width = found_HWC.shape[:2]
            raise DataError(
                f"{self.name}: wanted all frames {self.width}x{self.height}, found one of {width}x{height}. "
                "Convert the video to one size."
            )
        return bool(is_there)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.release()


def _first_frame(capture: Any, name: str, is_camera: bool) -> Frame:
    """Give the first frame; its size is checked before it is decoded, and after."""
    is_there, frame_HWC = False, None
    if capture.isOpened():
        claimed = [int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
        if all(claimed):  # some cameras claim none
            _require_size(claimed[0], claimed[1], name)
        is_there, frame_HWC = capture.read()
    if not is_there and is_camera:
        raise DataError(f"{name}: wanted a camera, but there is none here, or another program has it")
    if frame_HWC is None:
        raise DataError(
            f"{name}: wanted a video, found nothing that OpenCV can read as one. Convert it to MP4 (H.264), or give "
            "another file."
        )
    _require_size(frame_HWC.shape[1], frame_HWC.shape[0], name)
    first_HWC: Frame = frame_HWC
    return first_HWC


def _require_size(width: int, height: int, name: str) -> None:
    if not all(_SMALLEST_SIDE <= side <= _LARGEST_SIDE for side in (width, height)):
        raise DataError(
            f"{name}: wanted frames of {_SMALLEST_SIDE} to {_LARGEST_SIDE} pixels a side, found {width}x{height}"
        )


def _require_allowed(address: str, scheme: str, allow: Sequence[str]) -> None:
    if scheme not in {name.lower() for name in allow}:
        raise ConfigurationError(
            f"{_without_password(address)}: addresses of the kind `{scheme}` are not allowed "
            f"(allowed: {', '.join(allow) or 'none'}). Give a file or the number of a camera, or add `{scheme}` to "
            "allowed_schemes if you trust this address."
        )


def _without_password(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _known(value: float, most: float) -> float | None:
    """Give what a source claims; None for the 0, -1, NaN or nonsense of one that does not know."""
    return float(value) if math.isfinite(value) and 0 < value <= most else None
