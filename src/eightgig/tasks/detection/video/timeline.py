"""When each frame is shown: what a container says, made into seconds that begin with the video and only rise."""

from dataclasses import dataclass

# FFmpeg's own bounds: a broadcast that leaps by more begins a new clock, and players go on without a pause.
_LEAP_S = 10.0
# Frames that stand in the wrong order within a second are a disorder; further back the clock was set anew.
_DISORDER_S = 1.0
# A broadcast's frames come at one rate: after a longer pause some were lost on the way. Where more than this part of
# its frames come late, the rate that it claims is another one (of half frames, for example).
_LATE_FRAMES, _MOST_LATE = 1.5, 0.2
# A frame with the time of the one before it (or an earlier one) is shown a little later: it is not lost.
_LEAST_STEP_S = 1e-3
# A first frame later than this was cut from a longer recording, and nobody wants to wait for it.
_LONGEST_LEAD_S = 60.0


@dataclass(frozen=True)
class Start:
    """What is known where a video begins, in seconds of the container's clock.

    Attributes:
        frame_s: presentation time of the first frame; None where it has none.
        decoding_s: decoding time of the first packet.
        container_s: earliest time in the container, other tracks included.
        is_broadcast: whether the clock of such containers runs from any number (MPEG-TS, MPEG-PS).
    """

    frame_s: float | None
    decoding_s: float | None = None
    container_s: float | None = None
    is_broadcast: bool = False


def origin_of(start: Start) -> float:
    """Return what the container's clock says when the video begins.

    A file's clock begins at zero, and a first frame at 0.5 s is shown at 0.5 s. Not so where decoding begins at zero:
    then the first frame waits only because frames are stored in another order. A broadcast's clock runs from any
    number.
    """
    if start.frame_s is None:
        return 0.0
    if start.is_broadcast:
        origin_s = start.frame_s if start.container_s is None else min(start.frame_s, start.container_s)
    else:
        origin_s = start.frame_s if start.decoding_s is None or start.decoding_s <= 0 else min(0.0, start.frame_s)
    return start.frame_s if start.frame_s - origin_s > _LONGEST_LEAD_S else origin_s


class Timeline:
    """Gives the time of each frame since the beginning.

    Args:
        start: of the video.
        frame_s: seconds between frames, for those without a time.

    Attributes:
        origin_s: what the container's clock says at the beginning.
        num_missing: frames without a time.
        num_disordered: frames with the time of the one before them, or an earlier one.
        num_leaps: how often the clock was set anew.
        last_step_s: time between the last two frames.
        first_gap_s: where the first frames of a broadcast are missing.
    """

    first_gap_s: float | None = None

    def __init__(self, start: Start, frame_s: float) -> None:
        self.origin_s = origin_of(start)
        self.num_missing = self.num_disordered = self.num_leaps = 0
        self._num_late = self._num_lost = self._num_steps = 0
        self._is_broadcast, self._frame_s = start.is_broadcast, frame_s
        self._shift_s = -self.origin_s
        self._last_s: float | None = None
        self.last_step_s = frame_s

    def time_of(self, shown_s: float | None) -> float:
        """Return the time of the next frame, above that of the one before; `shown_s` is by the container's clock."""
        time_s = self._risen(shown_s)
        if self._last_s is not None:
            self.last_step_s = time_s - self._last_s
            self._note_step(self._last_s)
        self._last_s = time_s
        return time_s

    @property
    def num_lost(self) -> int:
        """How many frames of a broadcast did not arrive, as the gaps in its times tell; 0 of any other container."""
        return self._num_lost if self._num_late <= _MOST_LATE * self._num_steps else 0

    def duration_of(self, claimed_s: float) -> float:
        """Return how long the last frame is shown: as it claims, or else as long as the one before it."""
        return claimed_s if claimed_s > 0 else self.last_step_s

    def _note_step(self, before_s: float) -> None:
        self._num_steps += 1
        if self._is_broadcast and self.last_step_s > _LATE_FRAMES * self._frame_s:
            self._num_late += 1
            self._num_lost += round(self.last_step_s / self._frame_s) - 1
            self.first_gap_s = before_s if self.first_gap_s is None else self.first_gap_s

    def _risen(self, shown_s: float | None) -> float:
        if self._last_s is None:
            self.num_missing += shown_s is None
            return max(0.0, (shown_s or 0.0) + self._shift_s) if shown_s is not None else 0.0
        next_s = self._last_s + self._frame_s
        if shown_s is None:
            self.num_missing += 1
            return next_s
        ahead_s = shown_s + self._shift_s - self._last_s
        if ahead_s <= -_DISORDER_S or (self._is_broadcast and ahead_s > _LEAP_S):
            self.num_leaps += 1
            self._shift_s = next_s - shown_s
            return next_s
        if ahead_s <= 0:
            self.num_disordered += 1
            return self._last_s + _LEAST_STEP_S
        return self._last_s + ahead_s
