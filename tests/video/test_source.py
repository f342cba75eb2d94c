from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from eightgig.core.errors import ConfigurationError, DataError
from eightgig.video.source import CaptureSource, open_source


class FakeCapture:
    """A capture whose frames have the sizes given."""

    def __init__(self, *sizes: tuple[int, int], **properties: float) -> None:
        self._sizes = list(sizes)
        self._properties = properties
        self.is_released = False

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def get(self, key: int) -> float:
        names = {cv2.CAP_PROP_FPS: "fps", cv2.CAP_PROP_FRAME_COUNT: "count", cv2.CAP_PROP_FRAME_WIDTH: "width"}
        names[cv2.CAP_PROP_FRAME_HEIGHT] = "height"
        return self._properties.get(names[key], 0.0)

    def read(self, image: Any = None) -> tuple[bool, Any]:
        if not self._sizes:
            return False, None
        width, height = self._sizes.pop(0)
        return True, np.zeros((height, width, 3), np.uint8)

    def release(self) -> None:
        self.is_released = True


@pytest.mark.parametrize("as_type", [str, Path])
def test_a_file_gives_every_frame_once_into_the_memory_that_it_is_given(
    as_type: type, make_video: Callable[..., Path], square: Callable[..., tuple[int, int]]
) -> None:
    with open_source(as_type(make_video(30))) as source:
        assert (source.name, source.is_live) == ("video_30_320x240.mp4", False)
        assert (source.width, source.height, source.fps, source.num_frames) == (320, 240, 25.0, 30)
        frame_HWC = np.empty((240, 320, 3), np.uint8)
        lefts = []
        while source.read_into(frame_HWC):
            lefts.append(int(np.flatnonzero((frame_HWC > 140).all(axis=(2)).any(axis=0))[0]))
        assert not source.read_into(frame_HWC)
    wanted = [square(index, width=320, height=240)[0] for index in range(30)]
    assert np.abs(np.array(lefts) - wanted).max() <= 1


@pytest.mark.parametrize(
    "address", ["rtsp://me:secret@house/front", "HTTP://house/a.mp4", "https://a.b/c", "tcp://1.2"]
)
def test_addresses_are_refused_unless_their_kind_is_allowed(address: str) -> None:
    kind = address.partition(":")[0].lower()
    with pytest.raises(ConfigurationError, match=f"of the kind `{kind}` are not allowed \\(allowed: none\\)") as caught:
        open_source(address)
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"\(allowed: rtmp\).*or add `[a-z]+` to allowed_schemes"):
        open_source(address, allow=("rtmp",))


def test_an_allowed_address_is_opened_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def capture(*arguments: Any) -> FakeCapture:
        opened.append(arguments)
        return FakeCapture((320, 240), fps=15.0)

    monkeypatch.setattr(cv2, "VideoCapture", capture)
    source = open_source("rtsp://me:secret@house/front", allow=("RTSP",))
    assert opened == [("rtsp://me:secret@house/front", cv2.CAP_FFMPEG)]
    assert (source.name, source.is_live, source.fps) == ("rtsp://house/front", True, 15.0)


def test_what_is_no_video_is_refused_by_name(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("no video")
    with pytest.raises(DataError, match=r"notes\.mp4: wanted a video, found nothing that OpenCV can read as one"):
        open_source(text)
    with pytest.raises(DataError, match=r"gone\.mp4: wanted a video file .* there is no such file"):
        open_source(str(tmp_path / "gone.mp4"))
    with pytest.raises(DataError, match="there is no such file"):
        open_source(str(tmp_path))


def test_a_truncated_video_is_refused(make_video: Callable[..., Path], tmp_path: Path) -> None:
    """Its index is at the end."""
    part = tmp_path / "part.mp4"
    part.write_bytes(make_video(30).read_bytes()[:2000])
    with pytest.raises(DataError, match="found nothing that OpenCV can read"):
        open_source(part)


@pytest.mark.parametrize("number", [99, "99"])
def test_a_camera_that_is_not_there(number: str | int) -> None:
    with pytest.raises(DataError, match="camera 99: wanted a camera, but there is none here, or another program"):
        open_source(number)


def test_frames_too_small_or_too_large_are_refused() -> None:
    capture = FakeCapture((8, 8))
    with pytest.raises(DataError, match="wanted frames of 16 to 8192 pixels a side, found 8x8"):
        CaptureSource(capture, "tiny")
    assert capture.is_released
    with pytest.raises(DataError, match="found 20000x100"):
        CaptureSource(FakeCapture((640, 480), width=20000, height=100), "claims too much")


def test_a_frame_of_another_size_is_an_error() -> None:
    source = CaptureSource(FakeCapture((320, 240), (320, 240), (640, 480), count=3), "odd.mp4")
    frame_HWC = np.empty((240, 320, 3), np.uint8)
    assert source.read_into(frame_HWC)
    assert source.read_into(frame_HWC)
    with pytest.raises(DataError, match=r"odd\.mp4: wanted all frames 320x240, found one of 640x480"):
        source.read_into(frame_HWC)


def test_what_a_source_does_not_know_is_none() -> None:
    source = CaptureSource(FakeCapture((320, 240), fps=float("nan"), count=-9e18), "camera 0", is_camera=True)
    assert (source.fps, source.num_frames, source.is_live) == (None, None, True)
