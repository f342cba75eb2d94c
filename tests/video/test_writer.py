import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from eightgig.core.errors import DataError
from eightgig.models.detections import Detections
from eightgig.video.source import Frame
from eightgig.video.writer import track_file, video_file


def frames_in(path: Path) -> list[Frame]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


def test_a_video_has_the_frames_that_were_written_in_order(tmp_path: Path) -> None:
    path = tmp_path / "out" / "video.mp4"
    with video_file(path, width=160, height=120, fps=12.5) as write:
        for grey in range(0, 200, 20):
            write(np.full((120, 160, 3), grey, np.uint8), 2 if grey == 40 else 1)
        assert not path.exists()
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == 12.5
    means = [frame.mean() for frame in frames_in(path)]
    assert np.abs(np.array(means) - [0, 20, 40, 40, *range(60, 200, 20)]).max() < 4
    assert list(path.parent.iterdir()) == [path]


def test_odd_sides_lose_a_row(tmp_path: Path) -> None:
    with video_file(tmp_path / "odd.mp4", width=161, height=121, fps=None) as write:
        write(np.zeros((121, 161, 3), np.uint8), 3)
    assert [frame.shape for frame in frames_in(tmp_path / "odd.mp4")] == [(120, 160, 3)] * 3


def write_and_fail(path: Path) -> None:
    with video_file(path, width=160, height=120, fps=25) as write:
        write(np.zeros((120, 160, 3), np.uint8), 5)
        raise KeyError("of a stage")


def test_after_an_error_the_old_file_is_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(b"old")
    with pytest.raises(KeyError, match="of a stage"):
        write_and_fail(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def write_frames_of_wrong_size(path: Path) -> None:
    with video_file(path, width=160, height=120, fps=25) as write:
        write(np.zeros((120, 160, 3), np.uint8), 4)
        write(np.zeros((60, 80, 3), np.uint8), 1)  # OpenCV drops it, with a word on stderr at most


def test_a_file_that_lacks_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"wanted a video of 5 frames, but the file holds 4\. Is the disk full?"):
        write_frames_of_wrong_size(tmp_path / "video.mp4")
    assert list(tmp_path.iterdir()) == []


def test_only_mp4_is_written(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match=r"wanted a name that ends in \.mp4, found `\.avi`"),
        video_file(tmp_path / "video.avi", width=160, height=120, fps=25),
    ):
        pass


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
    with video_file(None, width=1, height=1, fps=None) as write_frame, track_file(None, []) as write_line:
        write_frame(np.zeros((1, 1, 3), np.uint8), 1)
        write_line(0, 0.0, Detections(*(np.empty(0),) * 3), np.empty(0, int))
    assert list(tmp_path.iterdir()) == []
