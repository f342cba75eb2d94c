"""What the user may choose about videos; imports nothing heavy, so that Kedro reads it fast."""

from typing import ClassVar

from pydantic import Field

from eightgig.core.records import Record


class VideoParameters(Record):
    """How a video is worked on.

    Attributes:
        source: a file, or the number of a camera; None renders a sample of `sample_frames` frames.
        runner: the variant that runs; `auto` takes the recommended one.
        confidence: smallest score of a detection.
        iou: of two boxes of a class that overlap more, the lower score is dropped.
        max_detections: detections kept of a frame.
        max_frames: frames to work on; None is all of them.
        allowed_schemes: kinds of address that may be opened, for example `rtsp`; none unless named.
        overlap: whether the stages work at the same time, each on another frame; False is a plain loop.
        draw: whether boxes are drawn into the video that is written.
        queue_size: frames of a file that may wait between the stages; a camera's never wait.
        sample_frames: length of the rendered sample.
    """

    renamed: ClassVar = {"most": "max_detections"}

    source: str | int | None = None
    runner: str = "auto"
    confidence: float = Field(default=0.25, ge=0, le=1)
    iou: float = Field(default=0.45, ge=0, le=1)
    max_detections: int = Field(default=300, ge=1)
    max_frames: int | None = Field(default=None, ge=1)
    allowed_schemes: tuple[str, ...] = ()
    overlap: bool = True
    draw: bool = True
    queue_size: int = Field(default=4, ge=1, le=64)
    sample_frames: int = Field(default=120, ge=1)
