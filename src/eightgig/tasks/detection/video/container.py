"""Frames of whatever FFmpeg reads: files, and addresses whose kind was allowed."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import SideDataContainer

from eightgig.core.errors import DataError
from eightgig.tasks.detection.video.colour import ToBgr
from eightgig.tasks.detection.video.decoding import Decoder, video_track
from eightgig.tasks.detection.video.frames import Frame, counted, known_rate, require_size
from eightgig.tasks.detection.video.losses import Ending, losses, losses_on_the_way
from eightgig.tasks.detection.video.timeline import Start, Timeline
from eightgig.tasks.detection.video.upright import UPRIGHT, Orientation, orientation_of, upright_size, write_upright
from eightgig.tasks.detection.video.wholeness import what_is_missing

_USUAL_FPS = 30.0
_ANY_CLOCK = 0x0200  # AVFMT_TS_DISCONT: broadcasts, whose clock runs from any number
_HDR_CURVES = {16, 18}  # AVCOL_TRC_SMPTE2084 and AVCOL_TRC_ARIB_STD_B67
_MOST_STRETCHED = 4  # more times as wide as high, or as high as wide, no pixel is but in a damaged header
_FRAMES_ALONE = {"gif", "apng", "mjpeg", "ivf"}
_MOST_BEHIND = 4096  # bytes: a comment may stand behind the last frame
_LONGEST_HOLD_S = 600.0  # what a header says of a video's end is believed so far beyond the last frame


class ContainerSource:
    """An open container as a FrameSource.

    Args:
        container: opened by PyAV; is closed with the source.
        name: for a person.
        path: of the file; None of an address.
        is_live: whether frames come in their own time: then they have no times but the clock's.

    Raises:
        DataError: it holds no video, not one frame of it can be decoded, or frames are too small or too large.
    """

    def __init__(
        self, container: InputContainer, name: str, *, path: Path | None = None, is_live: bool = False
    ) -> None:
        self.name, self.is_live = name, is_live
        self._container, self._path = container, path
        self._to_bgr = ToBgr()
        self.time_s: float | None = None
        self.end_s: float | None = None
        self.duration_s, self._num_given = 0.0, 0
        self._last_number: int | None = None
        self._is_finished = self._has_other_sizes = False
        self._notes: list[str] = []
        try:
            self._decoder = Decoder(container, video_track(container, name))
            self._frames = self._decoder.frames()
            self._first: av.VideoFrame | None = self._begin()
        except BaseException:
            container.close()
            raise

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of it; complete when the last frame was given."""
        return tuple(self._notes)

    def read_into(self, frame_HWC: Frame) -> bool:
        """Write the next frame, BGR, into `frame_HWC`; False when there is none. One of another size is scaled."""
        while (frame := self._first or next(self._frames, None)) is not None:
            self._first = None
            if self._write(frame, frame_HWC):
                self._num_given += 1
                return True
        if not self._is_finished:
            self._is_finished = True
            self._finish()
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._frames.close()
        self._container.close()

    def _write(self, frame: av.VideoFrame, frame_HWC: Frame) -> bool:
        """Write a decoded frame upright; False where nothing can be made of its pixels."""
        try:
            stored_HWC = self._to_bgr(frame)
        except (av.FFmpegError, ValueError):
            self._decoder.undecodable.add(self._decoder.seconds(frame.pts))
            return False
        self._keep_time(frame)
        orientation = orientation_in(frame)
        self._note_size(upright_size(frame.width, frame.height, orientation))
        write_upright(stored_HWC, orientation, frame_HWC)
        return True

    def _begin(self) -> av.VideoFrame:
        """Return the first frame, and learn from it how the video is shown."""
        first = next(self._frames, None)
        if first is None:
            raise DataError(_nothing_decoded(self.name, self._decoder))
        orientation, stream = orientation_in(first), self._decoder.stream
        self.width, self.height = upright_size(first.width, first.height, orientation)
        require_size(self.width, self.height, self.name)
        self.fps = known_rate(stream.guessed_rate) or known_rate(stream.average_rate)
        self.num_frames = None if self.is_live else stream.frames or None
        length_s = 0.0 if self.is_live else float(self._container.duration or 0) / av.time_base
        self.num_frames_about = self.num_frames or round(length_s * (self.fps or 0)) or None
        aspect = stream.sample_aspect_ratio or Fraction(1)
        aspect = aspect if 1 / _MOST_STRETCHED <= aspect <= _MOST_STRETCHED else Fraction(1)
        self.pixel_aspect = 1 / aspect if orientation.swaps else aspect
        # AVI numbers its frames in the order in which they are stored; their order on the screen is the decoder's.
        self._has_frame_numbers = self._container.format.name == "avi"
        self._start = self._start_of(first)
        self._timeline = Timeline(self._start, 1 / (self.fps or _USUAL_FPS))
        self._notes += _about(self._container, self._decoder, first, orientation, self.pixel_aspect)
        return first

    def _start_of(self, first: av.VideoFrame) -> Start:
        begun = self._container.start_time
        return Start(
            frame_s=self._decoder.seconds(first.dts if self._has_frame_numbers else first.pts),
            decoding_s=self._decoder.start_s,
            container_s=None if begun is None else begun / av.time_base,
            is_broadcast=bool(self._container.format.flags & _ANY_CLOCK),
        )

    def _keep_time(self, frame: av.VideoFrame) -> None:
        if self.is_live:
            return
        self.time_s = self._timeline.time_of(self._shown_s(frame))
        self.duration_s = self._timeline.duration_of(self._decoder.seconds(frame.duration) or 0.0)

    def _note_size(self, size: tuple[int, int]) -> None:
        if size == (self.width, self.height) or self._has_other_sizes:
            return
        self._has_other_sizes = True
        at = "" if self.time_s is None else f" at {self.time_s:.2f} s"
        self._notes.append(
            f"Its size changes to {size[0]}x{size[1]}{at}: frames of other sizes are scaled into "
            f"{self.width}x{self.height}, and boxes are in pixels of that."
        )

    def _finish(self) -> None:
        """Learn how it ended; what it lacks is told."""
        if not self._num_given:
            raise DataError(
                f"{self.name}: nothing can be made of its pixels ({self._decoder.stream.pix_fmt}). Convert it to MP4 "
                "(H.264)."
            )
        if self.is_live:
            self._notes += losses_on_the_way(self._decoder)
            return
        ending = self._ending()
        self._notes += _about_times(self._timeline, self._start, self.fps)
        lost = list(losses(self._decoder, self._timeline.origin_s, self._start.frame_s, ending))
        self._notes += lost
        if self.num_frames and not lost:
            self.num_frames = self._num_given  # the header counts frames that an edit list leaves out
        self.end_s = ending.last_s
        if ending.claimed_s is not None and ending.is_of_track and not lost:
            self.end_s = min(max(ending.last_s, ending.claimed_s), ending.last_s + _LONGEST_HOLD_S)

    def _ending(self) -> Ending:
        timeline, decoder = self._timeline, self._decoder
        last_s = (self.time_s or 0.0) + self.duration_s
        claimed_s = None if timeline.num_leaps or timeline.num_missing else self._claimed_end_s()
        has_count = self._container.format.name.partition(",")[0] != "mov"  # there edit lists leave frames out
        return Ending(
            begun_s=self.time_s or 0.0,
            last_s=last_s,
            read_s=last_s if decoder.end_s is None else decoder.end_s - timeline.origin_s,
            claimed_s=None if claimed_s is None else claimed_s - timeline.origin_s,
            frame_s=max(1 / (self.fps or _USUAL_FPS), self.duration_s, timeline.last_step_s),
            is_of_track=self._is_alone(),
            num_given=self._num_given,
            num_claimed=self.num_frames if has_count else None,
            missing=None if self._path is None else what_is_missing(self._path) or self._unread(self._path),
        )

    def _unread(self, path: Path) -> str | None:
        """Return how much lies behind the last frame, in containers of frames alone: there a decoder stopped early."""
        if self._container.format.name not in _FRAMES_ALONE:
            return None
        count = path.stat().st_size - self._decoder.read_to
        return f"goes on for {count:,} bytes that hold no frame" if count > _MOST_BEHIND else None

    def _claimed_end_s(self) -> float | None:
        """Return where the container says the track ends, by its own clock; of some it is the end of all tracks."""
        stream, container = self._decoder.stream, self._container
        begun_s, length_s = self._decoder.seconds(stream.start_time), self._decoder.seconds(stream.duration)
        if length_s is not None:
            return (begun_s or 0.0) + length_s
        if container.duration is None:
            return None
        # Of Matroska it is the end, whatever the first frame's time is; other programs write the length.
        begun_s, length_s = (container.start_time or 0) / av.time_base, container.duration / av.time_base
        return length_s if length_s > begun_s else begun_s + length_s

    def _is_alone(self) -> bool:
        """Return whether what the container claims is of this track."""
        return self._decoder.stream.duration is not None or len(self._container.streams) == 1

    def _shown_s(self, frame: av.VideoFrame) -> float | None:
        """Return when a frame is shown, by the container's clock."""
        if not self._has_frame_numbers:
            return self._decoder.seconds(frame.pts)
        after = None if self._last_number is None else self._last_number + 1
        self._last_number = after if frame.dts is None else frame.dts
        return self._decoder.seconds(self._last_number)


def orientation_in(frame: av.VideoFrame) -> Orientation:
    """Return how a frame has to be turned, which the container or the codec has written beside it."""
    # `frame.side_data` would keep what keeps the frame: such a circle, of 1 to 50 MB, waits for the garbage collector.
    matrix: Any = SideDataContainer(frame).get("DISPLAYMATRIX")  # type: ignore[call-arg]
    return UPRIGHT if matrix is None else orientation_of(np.frombuffer(bytes(matrix), np.int32))


def _nothing_decoded(name: str, decoder: Decoder) -> str:
    kind = decoder.stream.codec_context.name
    found = (
        f"{counted(decoder.num_packets, 'packet')} of {kind}" if decoder.num_packets else f"an empty track of {kind}"
    )
    return (
        f"{name}: wanted a video, found {found}, of which not one frame can be decoded. It is damaged, cut off or "
        "encrypted. Copy or record it once more, or give another file."
    )


def _about(
    container: InputContainer, decoder: Decoder, first: av.VideoFrame, orientation: Orientation, aspect: Fraction
) -> Iterator[str]:
    if container.streams.audio:
        yield "Its sound is left out: the drawn video is silent."
    if len(container.streams.video) > 1:
        yield f"It has {len(container.streams.video)} tracks of images: number {decoder.stream.index} is taken."
    if not orientation.is_exact:
        yield "It asks to be shown at an oblique angle: the nearest right angle is taken."
    if aspect != 1:
        yield f"Its pixels are {float(aspect):.3g} times as wide as high: boxes are in pixels as they are stored."
    if first.color_trc in _HDR_CURVES:
        yield "Its colours are HDR: they are taken as they are stored, paler than a player shows them."


def _about_times(timeline: Timeline, start: Start, fps: float | None) -> Iterator[str]:
    if not start.is_broadcast and timeline.origin_s > 0 and (start.decoding_s or 0) > 0:
        yield f"It begins at {timeline.origin_s:.2f} s of its own clock: times are counted from there."
    if timeline.num_missing:
        rate = f"{fps:.4g} a second" if fps else f"{_USUAL_FPS:.0f} a second, for it claims no rate"
        has = "has" if timeline.num_missing == 1 else "have"
        yield f"{counted(timeline.num_missing)} {has} no time: counted on at {rate}."
    if timeline.num_disordered:
        yield f"The time of {counted(timeline.num_disordered)} is not later than the one before: shown just after it."
    if timeline.num_leaps:
        yield f"Its clock leaps {counted(timeline.num_leaps, 'time')}: it goes on without a pause."
    if timeline.num_lost:
        yield f"About {counted(timeline.num_lost)} of it are missing, the first after {timeline.first_gap_s:.2f} s."
