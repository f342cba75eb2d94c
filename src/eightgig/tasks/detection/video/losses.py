"""What a video lacks, said so that nothing is lost in silence."""

from collections.abc import Iterator
from dataclasses import dataclass

from eightgig.tasks.detection.video.decoding import Decoder, Tally
from eightgig.tasks.detection.video.frames import counted

# Two accounts of a time may differ by this, or by a frame that is counted in one and not in the other.
_TOLERANCE_S, _TOLERANCE_FRAMES = 0.1, 2
# After the last frame's beginning no more than its own time is left; at two frames' time one is missing.
_MOST_LEFT_FRAMES = 1.75
# One length for all tracks together counts what sound has before its beginning.
_TOLERANCE_OF_ALL_S = 0.5


@dataclass(frozen=True)
class Ending:
    """How a video ended, in seconds since its beginning.

    Attributes:
        begun_s: beginning of the last frame.
        last_s: its end.
        read_s: end of the last packet of any track.
        claimed_s: end that the container claims; None where it does not.
        is_of_track: whether it claims that for this track alone.
        frame_s: time between the last frames, or the usual one where that is longer.
        num_given: frames.
        num_claimed: frames that the header claims, where that is exact.
        missing: what the file lacks at its end.
    """

    begun_s: float
    last_s: float
    read_s: float
    claimed_s: float | None
    is_of_track: bool
    frame_s: float
    num_given: int
    num_claimed: int | None
    missing: str | None

    @property
    def is_early(self) -> bool:
        """Whether it ended before the container says so."""
        if self.claimed_s is None:
            return False
        if not self.is_of_track:
            return self.claimed_s - max(self.last_s, self.read_s) > _TOLERANCE_OF_ALL_S
        return self.claimed_s - self.begun_s > _MOST_LEFT_FRAMES * self.frame_s


def losses(decoder: Decoder, origin_s: float, first_frame_s: float | None, ending: Ending) -> Iterator[str]:
    """Yield a sentence for each thing that a video lacks.

    Args:
        decoder: at its end.
        origin_s: what the container's clock says when the video begins.
        first_frame_s: time of the first frame, by that clock.
        ending: how it ended.
    """
    begun_s = decoder.first_packet_s
    if (
        begun_s is not None
        and first_frame_s is not None
        and first_frame_s - begun_s > max(_TOLERANCE_S, _TOLERANCE_FRAMES * ending.frame_s)
    ):
        yield f"The first {first_frame_s - begun_s:.2f} s cannot be shown: it was cut from the middle of a recording."
    yield from losses_on_the_way(decoder, origin_s)
    reasons = list(_reasons(decoder, ending))
    if reasons:
        yield (
            f"It ends at {ending.last_s:.2f} s, after {counted(ending.num_given)}, and was cut off or damaged there: "
            f"{'; '.join(reasons)}. Copy or record it once more if more is wanted."
        )


def losses_on_the_way(decoder: Decoder, origin_s: float | None = None) -> Iterator[str]:
    """Yield a sentence for each thing that was lost before the end; of a live stream (no origin) also why that came."""
    if decoder.torn.count:
        yield f"Its first {counted(decoder.torn.count)} may be torn: it was cut from the middle of a recording."
    if decoder.undecodable.count:
        yield f"{_some(decoder.undecodable, origin_s)} could not be decoded and {_is(decoder.undecodable)} missing."
    if decoder.damaged.count:
        yield f"{_some(decoder.damaged, origin_s)} {_is(decoder.damaged)} damaged: what could be seen was taken."
    if origin_s is None and decoder.read_error:
        yield f"The stream broke off: {decoder.read_error}."


def _reasons(decoder: Decoder, ending: Ending) -> Iterator[str]:
    if decoder.read_error:
        yield f"nothing could be read beyond ({decoder.read_error})"
    if ending.missing:
        yield f"the file {ending.missing}"
    if ending.is_early and ending.claimed_s is not None:
        yield f"it claims to last until {ending.claimed_s:.2f} s"
    elif ending.num_claimed and ending.num_claimed > ending.num_given + decoder.undecodable.count:
        yield f"it claims {ending.num_claimed:,} frames"


def _some(tally: Tally, origin_s: float | None) -> str:
    where = (
        ""
        if tally.first_s is None or origin_s is None
        else f" (the first at {max(0.0, tally.first_s - origin_s):.2f} s)"
    )
    return f"{counted(tally.count)}{where}"


def _is(tally: Tally) -> str:
    return "is" if tally.count == 1 else "are"
