"""Packets of a container, decoded, and some frames of a video; what cannot be read is counted, and the rest goes on."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from eightgig.core.errors import DataError
from eightgig.tasks.detection.video.colour import ToBgr
from eightgig.tasks.detection.video.frames import Frame

_MOST_PIXELS = {"max_pixels": str(2**26)}  # 8192 x 8192: before room is made for what a damaged header claims
_FORGETFUL = {"mpeg1video", "mpeg2video"}
_SEQUENCE_HEADER, _SEQUENCE_WITHIN = b"\0\0\1\xb3", 256  # it is the first thing in a packet, but for padding


@dataclass
class Tally:
    """How often something happened, and when first by the container's clock."""

    count: int = 0
    first_s: float | None = None

    def add(self, time_s: float | None) -> None:
        """Count one more."""
        if not self.count:
            self.first_s = time_s
        self.count += 1


@dataclass
class Decoder:
    """One track of a container, as frames in the order in which they are shown.

    Only slices are decoded in parallel, not frames: with several frames under way, an error at the end of a file
    would cost whole ones that were decoded. The network and the encoder are slower than one thread of this.

    Attributes:
        container: open.
        stream: its track.
        start_s: decoding time of the first packet; None where it has none.
        first_packet_s: earliest presentation time among the packets before the first frame.
        end_s: latest end of any track's packet.
        undecodable: packets that gave an error.
        damaged: packets or frames that are marked as damaged; what could be seen of them was given.
        read_error: why no further packet could be read.
        torn: frames before the first key frame, which lack what they build on.
        num_packets: of the track.
        read_to: end of the last packet in the file, bytes.
    """

    container: InputContainer
    stream: VideoStream
    start_s: float | None = None
    first_packet_s: float | None = None
    end_s: float | None = None
    undecodable: Tally = field(default_factory=Tally)
    damaged: Tally = field(default_factory=Tally)
    read_error: str | None = None
    torn: Tally = field(default_factory=Tally)
    num_packets: int = 0
    read_to: int = 0
    _num_frames: int = field(default=0, init=False)
    _has_key_frame: bool = field(default=False, init=False)
    _sides: bytes | None = field(default=None, init=False)

    def frames(self) -> Generator[av.VideoFrame]:
        """Yield the frames."""
        self.stream.thread_type = "SLICE"
        self.stream.codec_context.options = dict(_MOST_PIXELS)
        for packet in self._packets():
            if self._changes_size(packet):
                yield from self._decoded(None)
                self.stream.codec_context.flush_buffers()
            yield from self._decoded(packet)
        yield from self._decoded(None)

    def seconds(self, ticks: int | None) -> float | None:
        """Return a time stamp of the track as seconds of the container's clock."""
        return None if ticks is None else float(ticks * (self.stream.time_base or Fraction(1)))

    def _packets(self) -> Iterator["Packet[Any]"]:
        """Yield the track's packets; those of the others only tell how long the file is."""
        try:
            for packet in self.container.demux():
                if packet.size:
                    self._note_end(packet)
                if packet.size and packet.stream_index == self.stream.index:
                    self._note(packet)
                    yield packet
        except av.FFmpegError as error:
            self.read_error = error.strerror or str(error)

    def _changes_size(self, packet: "Packet[Any]") -> bool:
        """Return whether an MPEG-1 or -2 stream changes its size here: the decoder would forget the frame it holds."""
        if self.stream.codec_context.name not in _FORGETFUL:
            return False
        head = bytes(packet)[:_SEQUENCE_WITHIN]
        at = head.find(_SEQUENCE_HEADER)
        if at < 0 or len(head) < at + 7:
            return False
        sides = head[at + 4 : at + 7]  # 12 bits each
        before, self._sides = self._sides, sides
        return before is not None and before != sides

    def _note_end(self, packet: "Packet[Any]") -> None:
        shown = packet.dts if packet.pts is None else packet.pts
        if shown is not None and packet.time_base:
            end_s = float((shown + (packet.duration or 0)) * packet.time_base)
            self.end_s = end_s if self.end_s is None else max(self.end_s, end_s)

    def _note(self, packet: "Packet[Any]") -> None:
        shown_s = self.seconds(packet.pts)
        if not self.num_packets:
            self.start_s = self.seconds(packet.dts)
        if not self._num_frames and shown_s is not None and not packet.is_discard:
            self.first_packet_s = shown_s if self.first_packet_s is None else min(self.first_packet_s, shown_s)
        self._has_key_frame |= packet.is_keyframe
        self.num_packets += 1
        self.read_to = max(self.read_to, (packet.pos or 0) + packet.size)

    def _decoded(self, packet: "Packet[Any] | None") -> Iterator[av.VideoFrame]:
        try:
            frames = self.stream.decode(packet)
        except av.FFmpegError:
            if packet is not None:
                self.undecodable.add(self.seconds(packet.pts))
            return
        if packet is not None and packet.is_corrupt:
            self.damaged.add(self.seconds(packet.pts))
        for frame in frames:
            self._num_frames += 1
            if not self._has_key_frame:
                self.torn.add(self.seconds(frame.pts))
            if frame.is_corrupt and not (packet and packet.is_corrupt):
                self.damaged.add(self.seconds(frame.pts))
            yield frame


def video_track(container: InputContainer, name: str) -> VideoStream:
    """Return the track that a player shows.

    Raises:
        DataError: there is none, or nothing here can decode it.
    """
    tracks = [track for track in container.streams.video if not track.disposition & Disposition.attached_pic]
    if not tracks:
        held = "a cover image and sound" if container.streams.video else "sound" if container.streams.audio else "none"
        raise DataError(f"{name}: wanted a video, found no track of moving images ({held}). Give another file.")
    best = container.streams.best("video")
    track = best if best in tracks else tracks[0]
    if track.codec_context is None:
        raise DataError(
            f"{name}: wanted a video, found one in a format that nothing here decodes. Convert it to MP4 (H.264)."
        )
    return track


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
