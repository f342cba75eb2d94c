"""Some frames of a video that this project wrote."""

from collections.abc import Iterator
from pathlib import Path

import av

from eightgig.tasks.detection.video.colour import ToBgr
from eightgig.tasks.detection.video.frames import Frame


def stills(path: Path, most: int) -> Iterator[tuple[float, Frame]]:
    """Yield time (seconds) and pixels (RGB, height x width x 3) of at most `most` frames, spread over the video."""
    to_bgr, last = ToBgr(), None
    with av.open(str(path), mode="r") as container:
        stream = container.streams.video[0]
        begun, length = stream.start_time or 0, stream.duration or 0
        for number in range(most):
            wanted = begun + length * number // most
            container.seek(wanted, stream=stream)
            frame = next((frame for frame in container.decode(stream) if (frame.pts or 0) >= wanted), None)
            if frame is not None and (last is None or (frame.pts or 0) > last):
                last = frame.pts or 0
                yield float(frame.time or 0.0), to_bgr(frame)[..., ::-1]
