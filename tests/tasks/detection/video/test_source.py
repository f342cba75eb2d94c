import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from eightgig.core.errors import ConfigurationError, DataError
from eightgig.tasks.detection.video.camera import CameraSource
from eightgig.tasks.detection.video.source import open_source


class FakeCapture:
    """A capture of a camera whose frames have the shapes given, all of one grey."""

    def __init__(self, *shapes: tuple[int, ...], fills: bool = False, **properties: float) -> None:
        self._shapes = list(shapes)
        self._fills = fills
        self._properties = properties
        self.is_released = False

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def get(self, key: int) -> float:
        names = {cv2.CAP_PROP_FPS: "fps", cv2.CAP_PROP_FRAME_WIDTH: "width", cv2.CAP_PROP_FRAME_HEIGHT: "height"}
        return self._properties.get(names[key], 0.0)

    def read(self, image: Any = None) -> tuple[bool, Any]:
        if not self._shapes:
            return False, None
        found = np.full(self._shapes.pop(0), 130, np.uint8)
        if not self._fills or image is None or image.shape != found.shape:
            return True, found
        image[:] = found
        return True, image

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
        assert source.notes == ()
    wanted = [square(index, width=320, height=240)[0] for index in range(30)]
    assert np.abs(np.array(lefts) - wanted).max() <= 1


@pytest.mark.parametrize(
    "address", ["rtsp://me:secret@house/front", "HTTP://house/a.mp4", "https://a.b/c", "tcp://1.2", "file:///a.mp4"]
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

    def refuse(address: str, **options: Any) -> None:
        opened.append((address, options))
        raise av.error.ConnectionRefusedError(111, "Connection refused", address)

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(
        DataError, match=r"rtsp://house/front: wanted a video stream, .*\(Connection refused\)"
    ) as caught:
        open_source("rtsp://me:secret@house/front", allow=("RTSP", "file"))
    ((address, options),) = opened
    assert address == "rtsp://me:secret@house/front"
    assert options["timeout"] == 30.0
    protocols = options["container_options"]["protocol_whitelist"].split(",")
    assert {"rtsp", "tcp"} <= set(protocols)
    assert not {"file", "http", "https", "concat", "subfile", "pipe"} & set(protocols)
    assert "secret" not in "".join(map(str, (caught.value, caught.value.__cause__, caught.value.__suppress_context__)))


def test_what_is_no_video_is_refused_by_name(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("no video")
    with pytest.raises(
        DataError, match=r"notes\.mp4: wanted a video, found nothing that FFmpeg can read as one\. Convert it to MP4"
    ):
        open_source(text)
    with pytest.raises(DataError, match=r"gone\.mp4: wanted a video file .* there is no such file"):
        open_source(str(tmp_path / "gone.mp4"))
    with pytest.raises(DataError, match="there is no such file"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("number", [99, "99"])
def test_a_camera_that_is_not_there(number: str | int) -> None:
    with pytest.raises(DataError, match="camera 99: wanted a camera, but there is none here, or another program"):
        open_source(number)


def test_frames_too_small_or_too_large_are_refused(film: Any, tmp_path: Path) -> None:
    capture = FakeCapture((8, 8, 3))
    with pytest.raises(DataError, match="wanted frames of 16 to 8192 pixels a side, found 8x8"):
        CameraSource(capture, "tiny")
    assert capture.is_released
    with pytest.raises(DataError, match="found 20000x100"):
        CameraSource(FakeCapture((480, 640, 3), width=20000, height=100), "claims too much")
    small = film(tmp_path / "small.mkv", size=(12, 40), codec="ffv1")
    with pytest.raises(DataError, match=r"small\.mkv: wanted frames of 16 to 8192 pixels a side, found 12x40"):
        open_source(small)


@pytest.mark.parametrize("fills", [True, False])
@pytest.mark.parametrize("shape", [(240, 320, 3), (480, 640, 3), (240, 320), (240, 320, 1), (240, 320, 4)])
def test_a_cameras_frame_is_in_the_slot_whatever_the_driver_gives(shape: tuple[int, ...], fills: bool) -> None:
    source = CameraSource(FakeCapture((240, 320, 3), shape, shape, fills=fills, fps=15.0), "camera 0")
    for _ in range(3):
        frame_HWC = np.zeros((240, 320, 3), np.uint8)
        assert source.read_into(frame_HWC)
        assert (frame_HWC == 130).all()
    assert not source.read_into(frame_HWC)


def test_what_a_source_does_not_know_is_none() -> None:
    source = CameraSource(FakeCapture((240, 320, 3), fps=float("nan")), "camera 0")
    assert (source.fps, source.num_frames, source.is_live, source.time_s) == (None, None, True, None)


def test_a_file_by_its_address_is_a_file(film: Any, seen: Any, tmp_path: Path) -> None:
    found = seen(film(tmp_path / "a b.mp4").as_uri(), allow=("file",))
    assert (found.is_live, len(found.frames)) == (False, 12)


def test_frames_are_freed_as_they_are_read_and_wait_for_no_garbage_collector(film, tmp_path):
    """A circle of references would hold hundreds of decoded frames, of 1 to 50 MB each."""
    path, frame_HWC = film(tmp_path / "a.mp4", 60), np.empty((96, 160, 3), np.uint8)
    gc.collect()
    gc.disable()
    try:
        with open_source(path) as source:
            while source.read_into(frame_HWC):
                pass
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        # By their type, not by `isinstance`: that asks objects of any library, and some answer with a warning.
        waited = sum(type(one) is av.VideoFrame for one in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert waited <= 3
