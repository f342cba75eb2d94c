"""A file is a file whether or not it says how long it is: every frame of it is given, at its own time.

Grey levels tell the frames' numbers; a slot that no decoder filled holds 7.
"""

import shutil
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.present import present

from eightgig.core.errors import DataError

# Name of the file and how it is written. What is measured of grey: 5 levels off at most, where a codec is coarse.
KINDS: dict[str, dict[str, Any]] = {
    "a.mp4": {},
    "b_frames.mp4": {"codec": "libx264"},
    "sound.mp4": {"sound": True},
    "fragmented.mp4": {"codec": "libx264", "options": {"movflags": "frag_keyframe+empty_moov"}},
    "phone.3gp": {"kind": "3gp"},
    "a.mov": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "a.mkv": {"codec": "libx264"},
    "sound.mkv": {"sound": True},
    "live.mkv": {"options": {"live": "1"}},  # neither length nor index
    "a.webm": {"codec": "libvpx"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "av1.mp4": {"codec": "libsvtav1"},
    "live.webm": {"codec": "libvpx", "options": {"live": "1"}},
    "a.ts": {"codec": "libx264"},
    "a.m2ts": {"codec": "libx264", "kind": "mpegts", "options": {"mpegts_m2ts_mode": "1"}},
    "a.mpg": {"codec": "mpeg2video", "codec_options": {"bf": "2"}},
    "a.vob": {"codec": "mpeg2video"},
    "raw.h264": {"codec": "libx264", "kind": "h264"},
    "raw.m2v": {"codec": "mpeg2video", "kind": "mpeg2video"},
    "raw.m4v": {"kind": "m4v"},
    "raw.obu": {"codec": "libsvtav1", "kind": "obu"},
    "raw.mjpeg": {"codec": "mjpeg", "pixels": "yuvj420p", "kind": "mjpeg"},
    "raw.y4m": {"codec": "rawvideo", "kind": "yuv4mpegpipe"},
    "b_frames.avi": {"codec_options": {"bf": "2"}},
    "h264.avi": {"codec": "libx264"},
    "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "a.flv": {"codec": "flv"},
    "a.wmv": {"codec": "wmv2"},
    "a.ogv": {"codec": "libvpx", "kind": "ogg"},
    "a.ivf": {"codec": "libvpx", "kind": "ivf"},
    "a.nut": {},
    "a.mxf": {"codec": "mpeg2video", "kind": "mxf"},
    "a.gif": {"codec": "gif", "pixels": "gray"},
    "a.apng": {"codec": "apng", "pixels": "rgb24"},
    "animated.png": {"codec": "apng", "pixels": "rgba", "kind": "apng"},
    "odd.mkv": {"codec": "ffv1", "size": (161, 97)},
    "grey.avi": {"codec": "ffv1", "pixels": "gray"},
    "grey16.mkv": {"codec": "ffv1", "pixels": "gray16le"},
    "444.mkv": {"codec": "libx264", "pixels": "yuv444p"},
    "422.mov": {"codec": "prores_ks", "pixels": "yuv422p10le"},
    "10bit.mkv": {"codec": "libx264", "pixels": "yuv420p10le"},
    "alpha.mov": {"codec": "prores_ks", "pixels": "yuva444p10le"},
    "rgba.mov": {"codec": "qtrle", "pixels": "argb"},
    "rgb.avi": {"codec": "rawvideo", "pixels": "bgr24"},
    "bgr0.mkv": {"codec": "ffv1", "pixels": "bgr0"},
}


@pytest.mark.parametrize("name", KINDS)
def test_every_frame_is_given_at_its_time(name: str, film: Any, seen: Any, levels: Any, tmp_path: Path) -> None:
    found = seen(film(tmp_path / name, **KINDS[name]))
    assert not found.is_live
    assert found.size == KINDS[name].get("size", (160, 96))
    assert found.times_s == pytest.approx([index / 25 for index in range(12)], abs=1.1e-3)
    assert np.abs(np.array(found.levels) - levels(12)).max() <= 5
    red = [frame[8, 10].astype(int) for frame in found.frames]
    assert all(pixel[2] > 180 and pixel[0] < 70 for pixel in red) or KINDS[name].get("pixels", "").startswith("gray")
    assert found.end_s == pytest.approx(0.48, abs=2e-3)
    said = " ".join(found.notes)
    assert ("sound" in said) == bool(KINDS[name].get("sound"))
    assert ("have no time" in said) == (name == "raw.h264")
    assert "damaged" not in said


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(["a.mp4", "f.mp4", "a.mkv", "live.webm", "a.ts", "a.avi", "a.flv", "a.ogv"]),
    num_frames=st.integers(1, 40),
    fps=st.sampled_from([5, 12, 24, 25, 30, 50, 60]),
    width=st.integers(8, 60).map(lambda half: 2 * half),
    height=st.integers(8, 60).map(lambda half: 2 * half),
)
def test_whatever_container_length_rate_and_size(
    name: str, num_frames: int, fps: int, width: int, height: int, film: Any, seen: Any, levels: Any
) -> None:
    codec = {"live.webm": "libvpx", "a.ogv": "libvpx", "a.flv": "flv"}.get(name, "mpeg4")
    options = {"live.webm": {"live": "1"}, "f.mp4": {"movflags": "frag_keyframe+empty_moov"}}.get(name)
    codec_options = {"strict": "unofficial"} if codec == "mpeg4" else None
    with tempfile.TemporaryDirectory() as folder:
        path = film(
            Path(folder) / name,
            num_frames,
            size=(width, height),
            fps=fps,
            codec=codec,
            kind="ogg" if name == "a.ogv" else None,
            options=options,
            codec_options=codec_options,
        )
        found = seen(path)
    assert len(found.frames) == num_frames
    assert found.size == (width, height)
    assert np.abs(np.array(found.levels) - levels(num_frames)).max() <= 8
    assert found.times_s == pytest.approx([index / fps for index in range(num_frames)], abs=1.1e-3)


VARIABLE_S = [0.0, 0.04, 0.08, 0.5, 0.52, 1.0, 3.0, 3.04, 3.08, 5.0, 5.5, 5.6]


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm", "a.ts", "a.flv", "a.nut", "a.gif", "a.apng"])
def test_times_are_the_containers_own(name: str, film: Any, seen: Any, levels: Any, tmp_path: Path) -> None:
    codec = {"a.webm": "libvpx", "a.ts": "mpeg2video", "a.flv": "flv", "a.gif": "gif", "a.apng": "apng"}
    pixels = {"a.gif": "gray", "a.apng": "rgb24"}.get(name, "yuv420p")
    found = seen(
        film(
            tmp_path / name,
            times_s=VARIABLE_S,
            codec=codec.get(name, "mpeg4"),
            pixels=pixels,
            time_base=Fraction(1, 100),
        )
        if name != "a.ts"
        else film(tmp_path / name, times_s=VARIABLE_S, codec="mpeg2video", time_base=None)
    )
    assert found.times_s == pytest.approx(VARIABLE_S, abs=1.1e-3 if name != "a.ts" else 0.021)
    assert np.abs(np.array(found.levels) - levels(12)).max() <= 5
    assert not any("leap" in note or "no time" in note for note in found.notes)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    steps=st.lists(st.integers(1, 400), min_size=1, max_size=25),
    begun=st.integers(0, 3000),
    name=st.sampled_from(["a.mp4", "a.mkv"]),
)
def test_whatever_times(steps: list[int], begun: int, name: str, film: Any, seen: Any) -> None:
    times_s = (np.cumsum([begun, *steps]) / 1000).tolist()
    with tempfile.TemporaryDirectory() as folder:
        path = film(Path(folder) / name, len(times_s), times_s=times_s, time_base=Fraction(1, 1000))
        found = seen(path)
    assert found.times_s == pytest.approx(times_s, abs=1.1e-3)
    assert found.end_s > found.times_s[-1]


def test_an_edit_list_that_cuts_the_beginning_is_followed_as_players_do(film: Any, seen: Any, tmp_path: Path) -> None:
    """Copying from 0.2 s on without encoding anew leaves such a list: frames before are there to be decoded only."""
    whole, part = film(tmp_path / "whole.mp4", 24, codec_options={"g": "24"}), tmp_path / "part.mp4"
    with av.open(str(whole)) as source, av.open(str(part), "w") as target:
        track = source.streams.video[0]
        copy = target.add_stream_from_template(track)
        for packet in source.demux(track):
            if packet.size:
                packet.pts = present(packet.pts) - round(0.2 / packet.time_base)
                packet.dts = packet.pts
                packet.stream = copy
                target.mux(packet)
    found = seen(part)
    assert len(found.frames) == 19
    assert found.times_s == pytest.approx([index / 25 for index in range(19)], abs=1e-3)
    assert found.levels[0] == pytest.approx(20 + 3 * 5, abs=5)
    assert found.num_claimed == 24
    assert not any("cut off" in note for note in found.notes)


def test_of_a_file_with_a_cover_the_moving_images_are_taken(film: Any, seen: Any, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv")
    with av.open(str(path)) as source, av.open(str(tmp_path / "two.mkv"), "w") as target:
        track = source.streams.video[0]
        copies = [target.add_stream_from_template(track) for _ in range(2)]
        for packet in source.demux(track):
            for copy in copies if packet.size else []:
                again = av.Packet(bytes(packet))
                again.pts, again.dts, again.time_base = packet.pts, packet.dts, packet.time_base
                again.is_keyframe, again.stream = packet.is_keyframe, copy
                target.mux(again)
    found = seen(tmp_path / "two.mkv")
    assert len(found.frames) == 12
    assert any("2 tracks of images: number 0 is taken" in note for note in found.notes)


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_sound_alone_is_no_video(kind: str, tmp_path: Path, seen: Any) -> None:
    path = tmp_path / f"sound.{kind}"
    with av.open(str(path), "w") as container:
        track = container.add_stream("aac", rate=8000, layout="mono")
        beep = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        beep.sample_rate, beep.pts = 8000, 0
        container.mux([*track.encode(beep), *track.encode(None)])
    with pytest.raises(DataError, match=rf"sound\.{kind}: wanted a video, found no track of moving images \(sound\)"):
        seen(path)


def changing_size(path: Path, codec: str, sizes: list[tuple[int, int]]) -> Path:
    """MPEG-TS of parts that each have a size of their own, as a video call leaves it."""
    parts = []
    for number, (width, height) in enumerate(sizes):
        part = path.with_name(f"{number}.ts")
        with av.open(str(part), "w", format="mpegts") as container:
            stream = container.add_stream(codec, rate=25, options={"bf": "2"})
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for index in range(5):
                frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), 200, np.uint8), "rgb24")
                frame = frame.reformat(format="yuv420p")
                frame.pts = 5 * number + index
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    return path


@pytest.mark.parametrize("codec", ["mpeg2video", "libx264"])
@pytest.mark.parametrize("second", [(320, 240), (96, 160), (32, 32)])
def test_frames_of_another_size_are_scaled_and_told(
    second: tuple[int, int], codec: str, seen: Any, tmp_path: Path
) -> None:
    found = seen(changing_size(tmp_path / "call.ts", codec, [(160, 96), second]))
    assert len(found.frames) == 10
    width, height = second
    scale = min(160 / width, 96 / height)
    for frame in found.frames[5:]:
        assert frame.shape == (96, 160, 3)
        assert np.median(frame[40:56, 70:90]) == pytest.approx(200, abs=4)
        inside = (frame.min(axis=2) > 100).sum()
        assert inside == pytest.approx(width * scale * height * scale, rel=0.06)
    (note,) = [note for note in found.notes if "size" in note]
    assert note.startswith(f"Its size changes to {width}x{height} at 0.")
    assert "scaled into 160x96" in note


def test_transparent_pixels_are_laid_over_white_as_of_images(seen: Any, tmp_path: Path) -> None:
    pixels_HW4 = np.zeros((48, 64, 4), np.uint8)
    pixels_HW4[:, :32] = (10, 20, 30, 255)
    pixels_HW4[:, 32:] = (200, 0, 0, 0)
    pixels_HW4[:16, 32:] = (200, 0, 0, 128)
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("qtrle", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "argb"
        frame = av.VideoFrame.from_ndarray(pixels_HW4, "rgba")
        frame.pts = 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    (shown,) = seen(tmp_path / "a.mov").frames
    assert shown[24, 10].tolist() == [30, 20, 10]
    assert shown[40, 50].tolist() == [255, 255, 255]
    assert shown[8, 50].tolist() == pytest.approx([127, 127, 227], abs=1)


@pytest.mark.parametrize(("matrix", "size"), [("bt709", (160, 96)), ("smpte170m", (1280, 720)), (None, (1280, 720))])
def test_colours_are_those_that_a_player_shows(
    matrix: str | None, size: tuple[int, int], seen: Any, tmp_path: Path
) -> None:
    """An untagged video of this size is BT.709 to players."""
    from av.video.reformatter import Colorspace

    width, height = size
    is_hd = matrix in ("bt709", None)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        if matrix:
            stream.codec_context.colorspace = 1 if is_hd else 6
        shown = av.VideoFrame.from_ndarray(np.full((height, width, 3), (200, 40, 90), np.uint8), "rgb24")
        frame = shown.reformat(format="yuv444p", dst_colorspace=Colorspace.ITU709 if is_hd else Colorspace.ITU601)
        frame.pts = 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    (pixels_HWC,) = seen(tmp_path / "a.mkv").frames
    assert pixels_HWC[40, 40, ::-1].tolist() == pytest.approx([200, 40, 90], abs=2)


@pytest.fixture(scope="module")
def image_bytes() -> dict[str, bytes]:
    import cv2

    image = np.full((48, 64, 3), 90, np.uint8)
    return {ending: cv2.imencode(ending, image)[1].tobytes() for ending in (".jpg", ".png", ".bmp", ".tiff", ".webp")}


@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp", ".tiff", ".webp"])
def test_a_image_is_no_video(ending: str, image_bytes: dict[str, bytes], seen: Any, tmp_path: Path) -> None:
    path = tmp_path / f"photo{ending}"
    path.write_bytes(image_bytes[ending])
    with pytest.raises(
        DataError, match=rf"photo\{ending}: wanted a video, .* it is an image\. Give it to `--tags predict`"
    ):
        seen(path)


def test_a_file_that_is_called_like_one_of_ffmpegs_notations_is_a_file(
    film: Callable[..., Path], seen: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = film(tmp_path / "plain.mp4")
    for name in (
        "concat:a|b.mp4",
        "http:a.mp4",
        "50%03d.mp4",
        "a'b?*[1].mp4",
        "ünïcode 日本.mp4",
        "subfile,,start,1,,:a.mp4",
    ):
        shutil.copy(plain, tmp_path / name)
        monkeypatch.chdir(tmp_path)
        assert len(seen(name).frames) == 12
