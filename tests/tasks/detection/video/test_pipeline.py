import json
import logging
import threading
import time
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any
from weakref import WeakSet

import av
import cv2
import numpy as np
import pytest
from pydantic import ValidationError
from tests.present import present

from eightgig.core.errors import ExportError
from eightgig.tasks.detection.video.parameters import VideoParameters
from eightgig.tasks.detection.video.pipeline import detect_video
from eightgig.tasks.detection.video.records import VideoReport
from eightgig.tasks.detection.video.source import open_source
from eightgig.tasks.detection.video.stages import STAGES, Slot

CLASSES = ["ball", "box"]
SIDE = 40
both_ways = pytest.mark.parametrize("overlap", [True, False])


def detect(source: Any, runner: Any, folder: Path | None = None, **chosen: Any) -> VideoReport:
    """Into `folder`/video.mp4 and track.jsonl."""
    paths: dict[str, Any] = {"video_path": folder / "video.mp4", "track_path": folder / "track.jsonl"} if folder else {}
    with source, runner:
        return detect_video(
            source, runner, image_size=160, classes=CLASSES, parameters=VideoParameters(**chosen), **paths
        )


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "track.jsonl").read_text().splitlines()]


def frames_of(folder: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(folder / "video.mp4"))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


def times_of(folder: Path) -> tuple[list[float], float]:
    """When each drawn frame is shown, and when the last one ends."""
    with av.open(str(folder / "video.mp4")) as container:
        frames = [(frame.time, float(frame.duration * present(frame.time_base))) for frame in container.decode(video=0)]
    return [time_s for time_s, _ in frames], sum(frames[-1])


@both_ways
def test_every_frame_of_a_file_is_found_drawn_and_written_in_order(
    overlap: bool, make_video: Any, finder: Any, square: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    report = detect(open_source(make_video(70)), finder(), out, overlap=overlap)
    assert (report.frames_expected, report.frames_read, report.frames_written, report.frames_dropped) == (70, 70, 70, 0)
    assert (report.num_detections, report.overlapped, report.interrupted) == (70, overlap, False)
    lines, frames = lines_of(out), frames_of(out)
    assert [line["frame"] for line in lines] == list(range(70))
    assert [line["time_s"] for line in lines] == pytest.approx([index / 25 for index in range(70)], abs=1e-4)
    assert len(frames) == 70
    for index, (line, frame_HWC) in enumerate(zip(lines, frames, strict=True)):
        left, top = square(index, width=320, height=240)
        (found,) = line["detections"]
        assert (found["id"], found["class"]) == (1, "box")
        assert found["score"] == pytest.approx(0.9, abs=1e-4)
        assert found["box"] == pytest.approx([left, top, left + SIDE, top + SIDE], abs=3)
        assert frame_HWC[top + 20, left + 20].mean() > 200
        assert frame_HWC[top + 20, (left + 160) % 320].mean() < 80


@both_ways
def test_a_portrait_clip_is_worked_on_upright(overlap: bool, film: Any, finder: Any, tmp_path: Path) -> None:
    """Stored lying, shown standing: what was drawn and found is of the frames, not of what the memory held."""
    out = tmp_path / "out"
    path = film(tmp_path / "phone.mp4", 12, size=(320, 240), turned=(-90,))
    report = detect(open_source(path), finder(), out, overlap=overlap)
    assert (report.width, report.height, report.frames_written) == (240, 320, 12)
    for line in lines_of(out):
        # The red field, 80 x 60 at the stored top left: it becomes 60 x 80 at the top right.
        assert line["detections"][0]["box"] == pytest.approx([180, 0, 240, 80], abs=4)
    levels = [int(np.median(frame_HWC)) for frame_HWC in frames_of(out)]
    assert np.abs(np.array(levels) - [20 + 3 * index for index in range(12)]).max() <= 8  # encoded twice
    assert frames_of(out)[5].shape == (320, 240, 3)


VARIABLE_S = [0.04 * index for index in range(30)] + [1.2 + 0.2 * index for index in range(30)]


@both_ways
def test_frames_are_shown_when_their_source_shows_them(overlap: bool, film: Any, finder: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    path = film(tmp_path / "dark.mkv", 60, size=(320, 240), times_s=VARIABLE_S, time_base=Fraction(1, 1000))
    report = detect(open_source(path), finder(), out, overlap=overlap)
    assert [line["time_s"] for line in lines_of(out)] == pytest.approx(VARIABLE_S, abs=1.1e-3)
    times_s, end_s = times_of(out)
    assert times_s == pytest.approx(VARIABLE_S, abs=1.2e-3)
    assert end_s == pytest.approx(7.2, abs=0.17)  # Matroska does not say how long its last frame is shown
    assert report.duration_s == pytest.approx(end_s, abs=1e-3)


@both_ways
def test_a_file_that_does_not_say_how_long_it_is_loses_no_frame(
    overlap: bool, film: Any, finder: Any, tmp_path: Path
) -> None:
    """The network is slow: a camera's frames would be dropped."""
    path = film(tmp_path / "recorded.webm", 60, size=(320, 240), codec="libvpx", options={"live": "1"})
    report = detect(open_source(path), finder(lambda _: time.sleep(0.01)), tmp_path / "out", overlap=overlap)
    assert (report.frames_read, report.frames_written, report.frames_dropped) == (60, 60, 0)
    assert [line["frame"] for line in lines_of(tmp_path / "out")] == list(range(60))
    assert times_of(tmp_path / "out")[0] == pytest.approx([index / 25 for index in range(60)], abs=1.1e-3)


def test_what_a_video_lacks_is_told(film: Any, finder: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = film(tmp_path / "a.mkv", 60, size=(320, 240), sound=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with caplog.at_level(logging.WARNING):
        report = detect(open_source(path), finder(), tmp_path / "out")
    sound, cut = report.notes
    assert sound == "Its sound is left out: the drawn video is silent."
    assert cut.startswith(
        f"It ends at {report.duration_s:.2f} s, after {report.frames_written} frames, and was cut off"
    )
    assert f"a.mkv: {sound}" in caplog.messages
    assert f"a.mkv: {cut}" in caplog.messages
    assert VideoReport.model_validate_json(report.model_dump_json()) == report


def test_a_video_that_is_not_read_to_its_end_has_none(make_video: Any, finder: Any, tmp_path: Path) -> None:
    report = detect(open_source(make_video(60)), finder(), tmp_path, max_frames=10)
    assert report.duration_s is None
    assert times_of(tmp_path)[1] == pytest.approx(0.4, abs=1e-3)


def test_a_drawn_box_has_the_colour_of_its_class(make_video: Any, finder: Any, square: Any, tmp_path: Path) -> None:
    for name, draw in (("plain", False), ("drawn", True)):
        detect(open_source(make_video(3)), finder(), tmp_path / name, draw=draw)
    left, top = square(0, width=320, height=240)
    edge = (slice(top + 10, top + 30), slice(left - 2, left + 3))
    blue, _, red = frames_of(tmp_path / "drawn")[0][edge].reshape(-1, 3).astype(int).T
    assert (red - blue).max() > 60  # class 1 is orange
    assert np.ptp(frames_of(tmp_path / "plain")[0][edge].astype(int), axis=2).max() < 10


def test_overlapped_and_plain_write_the_same(make_video: Any, finder: Any, tmp_path: Path) -> None:
    for name, overlap in (("overlapped", True), ("plain", False)):
        detect(open_source(make_video(60)), finder(), tmp_path / name, overlap=overlap, queue_size=2)
    tracks, videos = zip(
        *[[(tmp_path / n / f).read_bytes() for f in ("track.jsonl", "video.mp4")] for n in ("overlapped", "plain")],
        strict=True,
    )
    assert tracks[0] == tracks[1]
    assert videos[0] == videos[1]


@both_ways
def test_the_report_says_what_ran_and_how_long(overlap: bool, make_video: Any, finder: Any) -> None:
    report = detect(open_source(make_video(120)), finder(), overlap=overlap)
    assert (report.source, report.runner, report.precision) == ("video_120_320x240.mp4", "square finder", "fp32")
    assert (report.width, report.height, report.fps_source, report.image_size) == (320, 240, 25.0, 160)
    assert tuple(report.stages) == STAGES
    assert all(0 < report.stages[name].median_ms < 1000 for name in STAGES)
    assert report.fps_end_to_end == pytest.approx(120 / report.seconds)
    assert report.resident_mib_at_100 == pytest.approx(report.resident_mib_at_end, abs=50)
    if not overlap:
        assert sum(stage.mean_ms for stage in report.stages.values()) <= report.seconds / 120 * 1e3


def test_a_runner_may_suppress_by_itself(make_video: Any, finder: Any, tmp_path: Path) -> None:
    class Suppressing(finder):
        def run(self, feeds: Any) -> dict[str, np.ndarray]:
            beside_the_frame = [0, 10, 0, 50, 15, 0.7, 0]
            return {"detections": np.array([[0, 10, 20, 50, 60, 0.75, 0], beside_the_frame], np.float32)}

    report = detect(open_source(make_video(3)), Suppressing(), tmp_path / "out")
    assert report.num_detections == 3
    (found,) = lines_of(tmp_path / "out")[0]["detections"]
    # The canvas of 160 holds 320 x 240 at half its size, 20 pixels from the top.
    assert found == {"id": 1, "class": "ball", "score": 0.75, "box": [20.0, 0.0, 100.0, 80.0]}


@both_ways
def test_it_stops_after_as_many_frames_as_asked_for(overlap: bool, make_video: Any, finder: Any) -> None:
    report = detect(open_source(make_video(60)), finder(), overlap=overlap, max_frames=17)
    assert (report.frames_read, report.frames_written, report.resident_mib_at_100) == (17, 17, None)


@both_ways
def test_memory_is_flat(
    overlap: bool, make_video: Any, finder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced_kib, slots = {}, []
    # Not found by `gc.get_objects`: its list holds tuples that other threads are filling, which then fail to.
    alive: WeakSet[Slot] = WeakSet()
    make_slot = Slot.__init__

    def make_and_remember(slot: Slot, *args: Any) -> None:
        make_slot(slot, *args)
        alive.add(slot)

    monkeypatch.setattr(Slot, "__init__", make_and_remember)

    def look(call: int) -> None:
        if call in (60, 190):
            slots.append(len(alive))
            traced_kib[call] = tracemalloc.get_traced_memory()[0] / 1024

    tracemalloc.start()
    try:
        detect(open_source(make_video(200)), finder(look), tmp_path / "out", overlap=overlap, queue_size=3)
    finally:
        tracemalloc.stop()
    assert slots == ([6, 6] if overlap else [1, 1])
    assert traced_kib[190] - traced_kib[60] < 100


class BrokenError(Exception):
    """Of a stage."""


def fail_at(number: int) -> Callable[[int], None]:
    def before(call: int) -> None:
        if call == number:
            raise BrokenError(f"at {call}")

    return before


@both_ways
@pytest.mark.parametrize("stage", ["read", "run", "finish"])
def test_an_error_in_any_stage_is_raised_as_it_was_and_leaves_nothing(
    stage: str, overlap: bool, make_video: Any, finder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out, num_threads = open_source(make_video(60)), tmp_path / "out", threading.active_count()
    if stage == "read":
        whole, count = source.read_into, iter(range(99))
        monkeypatch.setattr(source, "read_into", lambda frame: (fail_at(20)(next(count)), whole(frame))[1])
    if stage == "finish":
        count = iter(range(99))
        monkeypatch.setattr("eightgig.tasks.detection.video.stages.draw_boxes", lambda *_: fail_at(20)(next(count)))
    with pytest.raises(BrokenError, match="at 20"):
        detect(source, finder(fail_at(20) if stage == "run" else lambda _: None), out, overlap=overlap)
    assert list(out.iterdir()) == []
    assert threading.active_count() == num_threads


def test_a_runner_that_gives_something_else_is_refused(make_video: Any, finder: Any) -> None:
    class Wrong(finder):
        def run(self, feeds: Any) -> dict[str, np.ndarray]:
            return {"logits": np.zeros((1, 5))}

    with pytest.raises(
        ExportError, match="square finder: wanted the output `predictions` or `detections`, found logits"
    ):
        detect(open_source(make_video(5)), Wrong())


def interrupt_at(number: int) -> Callable[[int], None]:
    def before(call: int) -> None:
        if call == number:
            raise KeyboardInterrupt

    return before


@both_ways
def test_ctrl_c_leaves_files_that_can_be_read(overlap: bool, make_video: Any, finder: Any, tmp_path: Path) -> None:
    num_threads = threading.active_count()
    report = detect(open_source(make_video(60)), finder(interrupt_at(30)), tmp_path, overlap=overlap)
    assert (report.interrupted, report.frames_written) == (True, 30)
    assert [line["frame"] for line in lines_of(tmp_path)] == list(range(30))
    assert len(frames_of(tmp_path)) == 30
    assert threading.active_count() == num_threads


@both_ways
def test_ctrl_c_before_the_first_frame_goes_through(
    overlap: bool, make_video: Any, finder: Any, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        detect(open_source(make_video(60)), finder(interrupt_at(0)), tmp_path / "out", overlap=overlap)
    assert list((tmp_path / "out").iterdir()) == []


def test_of_a_camera_the_newest_frame_wins(camera: Any, finder: Any, tmp_path: Path) -> None:
    """The network is slow: while it runs, five more frames come each time."""
    source, moved = camera(90), threading.Condition()
    read, asked = source.read_into, []

    def read_into(frame_HWC: np.ndarray) -> bool:
        with moved:
            moved.notify_all()
        return bool(read(frame_HWC))

    def run_slowly(call: int) -> None:
        asked.append(source.num_asked)
        with moved:
            moved.wait_for(lambda: source.num_asked >= min(asked[-1] + 6, 91), timeout=10)

    source.read_into = read_into
    report = detect(source, finder(run_slowly), tmp_path)
    seen = [line["frame"] for line in lines_of(tmp_path)]
    assert report.frames_dropped > 40
    assert report.frames_written == len(seen) == report.frames_read - report.frames_dropped
    assert report.frames_read == 90
    # When the network asks again, at least all frames but the two that are just being read are there.
    assert all(after >= begun + 6 - 2 for begun, after in zip(asked, seen[1:], strict=False) if begun + 6 <= 90)
    assert len(frames_of(tmp_path)) == len(seen)
    times_s = [line["time_s"] for line in lines_of(tmp_path)]
    assert times_s == sorted(times_s)
    assert times_of(tmp_path)[0] == pytest.approx(times_s, abs=1.1e-3)  # each stands as long as it was the newest


def test_a_camera_stops_after_as_many_frames_as_went_through(camera: Any, finder: Any) -> None:
    report = detect(camera(10_000), finder(), max_frames=12)
    assert report.frames_written == 12
    assert report.frames_read == 12 + report.frames_dropped


def test_a_fast_network_misses_no_frame_of_a_camera(camera: Any, finder: Any) -> None:
    report = detect(camera(20, fps=None, seconds=0.02), finder())
    assert (report.frames_read, report.frames_expected, report.fps_source) == (20, None, None)
    assert report.frames_dropped <= 2


def test_parameters_are_checked() -> None:
    with pytest.raises(ValidationError, match="confidence"):
        VideoParameters(confidence=1.5)
    with pytest.raises(ValidationError, match="queue_size"):
        VideoParameters(queue_size=0)
