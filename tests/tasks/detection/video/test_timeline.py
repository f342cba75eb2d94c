"""Times rise, and are the container's own where it has them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eightgig.tasks.detection.video.timeline import Start, Timeline, origin_of

FILE = Start(frame_s=0.0, decoding_s=0.0, container_s=0.0)


def times(shown_s: list[float | None], start: Start = FILE, frame_s: float = 0.04) -> list[float]:
    timeline = Timeline(start, frame_s)
    return [timeline.time_of(one) for one in shown_s]


@pytest.mark.parametrize(
    ("start", "origin_s"),
    [
        (FILE, 0.0),
        (Start(frame_s=0.5, decoding_s=0.42, container_s=0.0), 0.0),  # an empty edit, or sound that begins earlier
        (Start(frame_s=5.0, decoding_s=5.0, container_s=5.0), 0.0),
        (Start(frame_s=0.08, decoding_s=0.0, container_s=0.08), 0.08),  # waits for frames that are stored before it
        (Start(frame_s=0.0, decoding_s=-0.08, container_s=0.0), 0.0),
        (Start(frame_s=-0.2, decoding_s=-0.2, container_s=-0.2), -0.2),
        (Start(frame_s=-0.2, decoding_s=None, container_s=None), -0.2),
        (Start(frame_s=3600.0, decoding_s=3600.0, container_s=3600.0), 3600.0),  # cut from a longer recording
        (Start(frame_s=None), 0.0),
        (Start(frame_s=95_000.0, decoding_s=94_999.9, container_s=95_000.0, is_broadcast=True), 95_000.0),
        (Start(frame_s=95_000.3, decoding_s=95_000.2, container_s=95_000.0, is_broadcast=True), 95_000.0),
        (Start(frame_s=95_000.0, decoding_s=95_000.0, container_s=12.0, is_broadcast=True), 95_000.0),
        (Start(frame_s=1.4, decoding_s=1.4, container_s=None, is_broadcast=True), 1.4),
    ],
)
def test_where_a_video_begins(start: Start, origin_s: float) -> None:
    assert origin_of(start) == pytest.approx(origin_s)


def test_frames_without_a_time_are_counted_on() -> None:
    assert times([None, None, None]) == pytest.approx([0.0, 0.04, 0.08])
    assert times([0.0, 0.1, None, None, 0.3]) == pytest.approx([0.0, 0.1, 0.14, 0.18, 0.3])


def test_a_frame_that_is_not_later_is_shown_just_after() -> None:
    assert times([0.0, 0.04, 0.04, 0.03, 0.08]) == pytest.approx([0.0, 0.04, 0.041, 0.042, 0.08])


def test_a_clock_that_is_set_anew_goes_on() -> None:
    assert times([0.0, 5.0, 0.0, 0.04]) == pytest.approx([0.0, 5.0, 5.04, 5.08])
    broadcast = Start(frame_s=1.0, decoding_s=1.0, container_s=1.0, is_broadcast=True)
    assert times([1.0, 1.04, 9000.0, 9000.04], broadcast) == pytest.approx([0.0, 0.04, 0.08, 0.12])
    assert times([0.0, 3000.0]) == pytest.approx([0.0, 3000.0])  # of a file a long still image is meant


def test_it_counts_what_it_mends() -> None:
    timeline = Timeline(FILE, 0.04)
    for shown_s in (0.0, None, 0.04, 0.05, 7.0, 0.0):
        timeline.time_of(shown_s)
    assert (timeline.num_missing, timeline.num_disordered, timeline.num_leaps) == (1, 1, 1)


def test_the_last_frame_lasts_as_it_claims_or_as_long_as_the_one_before() -> None:
    timeline = Timeline(FILE, 0.04)
    timeline.time_of(0.0)
    assert timeline.duration_of(0.0) == pytest.approx(0.04)
    timeline.time_of(0.3)
    assert (timeline.duration_of(0.0), timeline.duration_of(0.2)) == pytest.approx((0.3, 0.2))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    shown_s=st.lists(st.none() | st.floats(-1e5, 1e5, allow_nan=False), min_size=1, max_size=40),
    is_broadcast=st.booleans(),
    decoding_s=st.none() | st.floats(-1e5, 1e5),
)
def test_whatever_a_container_says_times_rise_from_zero_or_later(
    shown_s: list[float | None], is_broadcast: bool, decoding_s: float | None
) -> None:
    start = Start(shown_s[0], decoding_s, decoding_s, is_broadcast)
    found_s = times(shown_s, start)
    assert found_s[0] >= 0
    assert (np.diff(found_s) > 0).all()


def test_gaps_in_a_broadcast_tell_what_was_lost() -> None:
    def lost(shown_s: list[float], *, is_broadcast: bool) -> tuple[int, float | None]:
        timeline = Timeline(Start(0.0, 0.0, 0.0, is_broadcast), 0.04)
        for one in shown_s:
            timeline.time_of(one)
        return timeline.num_lost, timeline.first_gap_s

    steady = [0.04 * number for number in range(50)]
    assert lost(steady, is_broadcast=True) == (0, None)
    assert lost(steady[:20] + steady[23:40] + steady[41:], is_broadcast=True) == (4, pytest.approx(0.76))
    assert lost(steady[::2], is_broadcast=True)[0] == 0  # it claims the rate of half frames
    assert lost(steady[:20] + steady[23:], is_broadcast=False)[0] == 0  # frames of a file last as long as it says
