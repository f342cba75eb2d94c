"""What a source of frames is, and which frames are taken."""

from collections.abc import Sequence
from fractions import Fraction
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from eightgig.core.errors import DataError

Frame = NDArray[np.uint8]

SMALLEST_SIDE, LARGEST_SIDE = 16, 8192  # pixels: below nothing is seen, above one frame takes 200 MB
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
        num_frames_about: about how many, for a bar of progress; None where nobody knows.
        pixel_aspect: width of a pixel by its height; 1 of nearly all sources.
        time_s: of the frame that was read last, since the beginning; None where the source has no clock of its own.
        duration_s: how long that frame is shown if none follows.
        end_s: where the source ends, known when it gave its last frame; None before that, and of a live one.
        notes: a sentence each; complete when it gave its last frame.
    """

    name: str
    is_live: bool
    width: int
    height: int
    fps: float | None
    num_frames: int | None
    num_frames_about: int | None
    pixel_aspect: Fraction
    time_s: float | None
    duration_s: float
    end_s: float | None

    @property
    def notes(self) -> Sequence[str]:
        """What a person should know of it."""

    def read_into(self, frame_HWC: Frame) -> bool:
        """Write the next frame, BGR, height x width x 3; False when there is none."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def require_size(width: int, height: int, name: str) -> None:
    """Raise a DataError where frames are too small or too large."""
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in (width, height)):
        raise DataError(
            f"{name}: wanted frames of {SMALLEST_SIDE} to {LARGEST_SIDE} pixels a side, found {width}x{height}"
        )


def known_rate(claimed: float | Fraction | None) -> float | None:
    """Return what a source claims; None for the 0, -1, NaN or nonsense of one that does not know."""
    return float(claimed) if claimed is not None and 0 < claimed <= _FASTEST_FPS else None


def counted(count: int, thing: str = "frame") -> str:
    """Return `1 frame`, or `1,234 frames`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
