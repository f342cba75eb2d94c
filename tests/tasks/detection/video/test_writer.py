import json
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.present import present

from eightgig.core.errors import DataError
from eightgig.tasks.detection.detections import Detections
from eightgig.tasks.detection.video.frames import Frame
from eightgig.tasks.detection.video.writer import track_file, video_file


def frames_in(path: Path) -> list[Frame]:
    """As OpenCV reads them."""
    capture = cv2.VideoCapture(str(path))
    frames: list[Any] = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


def times_in(path: Path) -> tuple[list[float], float]:
    """When each frame is shown, and when the last one ends."""
    with av.open(str(path)) as container:
        frames = [(frame.time, float(frame.duration * present(frame.time_base))) for frame in container.decode(video=0)]
    return [time_s for time_s, _ in frames], sum(frames[-1])


def grey(level: int = 0, height: int = 120, width: int = 160) -> Frame:
    return np.full((height, width, 3), level, np.uint8)


def test_a_video_has_the_frames_that_were_written_in_order_at_their_times(tmp_path: Path) -> None:
    path = tmp_path / "out" / "video.mp4"
    with video_file(path, width=160, height=120) as video:
        for number in range(10):
            video.write(grey(20 * number), number * 0.08 + 0.5 * (number > 5), 0.08)
        assert not path.exists()
    means = [frame.mean() for frame in frames_in(path)]
    assert np.abs(np.array(means) - list(range(0, 200, 20))).max() < 4
    times_s, end_s = times_in(path)
    assert times_s == pytest.approx([number * 0.08 + 0.5 * (number > 5) for number in range(10)], abs=1e-4)
    assert end_s == pytest.approx(9 * 0.08 + 0.5 + 0.08, abs=1e-4)
    assert list(path.parent.iterdir()) == [path]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    steps_us=st.lists(st.integers(20, 5_000_000), max_size=12),
    begun_us=st.integers(0, 5_000_000),
    last_us=st.integers(1000, 2_000_000),
    held_us=st.integers(0, 3_000_000),
)
def test_whatever_the_times(
    steps_us: list[int], begun_us: int, last_us: int, held_us: int, tmp_path_factory: Any
) -> None:
    path = tmp_path_factory.mktemp("times") / "video.mp4"
    wanted_s = (np.cumsum([begun_us, *steps_us]) / 1e6).tolist()
    with video_file(path, width=32, height=16) as video:
        for time_s in wanted_s:
            video.write(grey(90, 16, 32), time_s, last_us / 1e6)
        video.hold_until(wanted_s[-1] + held_us / 1e6)
    times_s, end_s = times_in(path)
    assert times_s == pytest.approx(wanted_s, abs=2e-5)  # a 60,000th of a second
    assert end_s == pytest.approx(wanted_s[-1] + max(last_us, held_us) / 1e6, abs=4e-5)
    assert all(frame.shape == (16, 32, 3) for frame in frames_in(path))


def test_frames_of_one_time_all_stay(tmp_path: Path) -> None:
    with video_file(tmp_path / "video.mp4", width=160, height=120) as video:
        for time_s in (0.0, 0.0, 0.0, 0.00001, 0.5):
            video.write(grey(), time_s, 0.0)
    times_s, end_s = times_in(tmp_path / "video.mp4")
    assert times_s == pytest.approx([0, 0, 0, 0, 0.5], abs=1e-4)
    assert end_s == pytest.approx(0.5 + 1 / 30, abs=1e-4)


@pytest.mark.parametrize(("width", "height"), [(161, 121), (160, 121), (161, 120), (17, 16), (1001, 16)])
def test_odd_sides_are_whole(width: int, height: int, tmp_path: Path) -> None:
    with video_file(tmp_path / "odd.mp4", width=width, height=height) as video:
        for _ in range(3):
            video.write(grey(200, height, width), 0.0, 0.04)
    frames = frames_in(tmp_path / "odd.mp4")
    assert [frame.shape for frame in frames] == [(height, width, 3)] * 3
    assert frames[2][-1, -1] == pytest.approx(200, abs=4)


@pytest.mark.parametrize("size", [(160, 120), (1280, 720)])
def test_colours_stay_what_they_are(size: tuple[int, int], tmp_path: Path, seen: Any) -> None:
    width, height = size
    frame_HWC = np.full((height, width, 3), (60, 40, 200), np.uint8)
    with video_file(tmp_path / "red.mp4", width=width, height=height) as video:
        video.write(frame_HWC, 0.0, 0.04)
    (found_HWC,) = seen(tmp_path / "red.mp4").frames
    assert found_HWC[50, 50].tolist() == pytest.approx([60, 40, 200], abs=4)


def test_pixels_that_are_not_square_stay_so(tmp_path: Path) -> None:
    from fractions import Fraction

    with video_file(tmp_path / "tv.mp4", width=160, height=120, pixel_aspect=Fraction(16, 11)) as video:
        video.write(grey(), 0.0, 0.04)
    with av.open(str(tmp_path / "tv.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 11)


def write_and_fail(path: Path) -> None:
    with video_file(path, width=160, height=120) as video:
        video.write(grey(), 0.0, 0.04)
        raise KeyError("of a stage")


def test_after_an_error_the_old_file_is_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(b"old")
    with pytest.raises(KeyError, match="of a stage"):
        write_and_fail(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def write_frames_of_wrong_size(path: Path) -> None:
    with video_file(path, width=160, height=120) as video:
        video.write(grey(), 0.0, 0.04)
        video.write(grey(0, 60, 80), 0.04, 0.04)


def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"wanted frames of \(120, 160, 3\), found one of \(60, 80, 3\)"):
        write_frames_of_wrong_size(tmp_path / "video.mp4")
    assert list(tmp_path.iterdir()) == []


def write_noise(path: Path) -> None:
    rng = np.random.default_rng(0)
    with video_file(path, width=320, height=240) as video:
        for number in range(40):
            video.write(rng.integers(0, 256, (240, 320, 3), np.uint8), number / 25, 0.04)


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of a file is what a full disk is to its writer."""
    resource = pytest.importorskip("resource")
    import signal

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(
            DataError, match=r"video\.mp4: a video of 320x240 cannot be written there .*Is the disk full\?"
        ):
            write_noise(tmp_path / "video.mp4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert list(tmp_path.iterdir()) == []


def test_only_mp4_is_written(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match=r"wanted a name that ends in \.mp4, found `\.avi`"),
        video_file(tmp_path / "video.avi", width=160, height=120),
    ):
        pass


def test_a_size_that_the_format_cannot_hold_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match=r"video\.mp4: a video of 8192x16 cannot be written there"),
        video_file(tmp_path / "video.mp4", width=8192, height=16) as video,
    ):
        video.write(grey(0, 16, 8192), 0.0, 0.04)
    assert list(tmp_path.iterdir()) == []


def test_a_line_of_json_a_frame(tmp_path: Path) -> None:
    path = tmp_path / "track.jsonl"
    boxes = np.array([[1.234567, 2, 30, 40], [5, 6, 7, 8]], np.float32)
    detections = Detections(boxes, np.array([0.912345, 0.5], np.float32), np.array([1, 0]))
    with track_file(path, ["cup", "straße"]) as write:
        write(0, 0.0, detections, np.array([3, 4]))
        write(7, 0.28, Detections(boxes[:0], detections.scores_M[:0], detections.labels_M[:0]), np.array([], int))
        assert not path.exists()
    first, second = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(first) == {
        "frame": 0,
        "time_s": 0.0,
        "detections": [
            {"id": 3, "class": "straße", "score": 0.9123, "box": [1.23, 2.0, 30.0, 40.0]},
            {"id": 4, "class": "cup", "score": 0.5, "box": [5.0, 6.0, 7.0, 8.0]},
        ],
    }
    assert json.loads(second) == {"frame": 7, "time_s": 0.28, "detections": []}


def test_no_file_where_none_is_wanted(tmp_path: Path) -> None:
    nothing = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))
    with video_file(None, width=1, height=1) as video, track_file(None, []) as write_line:
        video.write(np.zeros((1, 1, 3), np.uint8), 0.0, 0.04)
        video.hold_until(1.0)
        write_line(0, 0.0, nothing, np.empty(0, int))
    assert list(tmp_path.iterdir()) == []
