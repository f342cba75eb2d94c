"""What is found about a run through a video; imports nothing heavy."""

from eightgig.core.records import Record


class StageTime(Record):
    """How long one stage takes for a frame, while the others are at work.

    Attributes:
        median_ms: of the last 4,096 frames.
        mean_ms: of all frames.
    """

    median_ms: float
    mean_ms: float


class VideoReport(Record):
    """What a run through a video was, and how fast.

    Attributes:
        source: the file's name, `camera 0`, or an address without its password.
        runner: what ran the network.
        precision: of the network.
        device: where it ran.
        image_size: side of what the network sees, pixels.
        overlapped: whether the stages worked at the same time.
        interrupted: whether Ctrl-C ended it; what was done until then is in the files.
        width: of the frames, pixels.
        height: of the frames, pixels.
        fps_source: frames a second that the source claims; None where it does not.
        duration_s: how long the source lasts; None of a camera, and where it was not read to its end.
        notes: what a person should know of the source, a sentence each: what it lacks, and what was not taken of it.
        frames_expected: that a file's header claims; None where it claims none, and for a camera. More than were read:
            the file is damaged.
        frames_read: that the source gave.
        frames_written: that went through all stages; every one of a file.
        frames_dropped: of a camera, because a newer one was there.
        num_detections: in all frames together.
        seconds: from the first frame to the last.
        fps_end_to_end: frames written by seconds.
        stages: by name, in order: decode, preprocess, infer, suppress, draw, encode.
        resident_mib_at_100: memory of this process after 100 frames; None where there were fewer.
        resident_mib_at_end: the same at the end.
    """

    source: str
    runner: str
    precision: str
    device: str
    image_size: int
    overlapped: bool
    interrupted: bool
    width: int
    height: int
    fps_source: float | None
    duration_s: float | None = None
    notes: tuple[str, ...] = ()
    frames_expected: int | None
    frames_read: int
    frames_written: int
    frames_dropped: int
    num_detections: int
    seconds: float
    fps_end_to_end: float
    stages: dict[str, StageTime]
    resident_mib_at_100: float | None
    resident_mib_at_end: float
