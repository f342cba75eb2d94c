"""Local files that name addresses or other files, which FFmpeg would follow: nothing is opened from within a file."""

import socket

import av
import numpy as np
import pytest

from eightgig.core.errors import DataError
from eightgig.tasks.detection.video.source import open_source

PLAYLISTS = {
    "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}/a.ts\n#EXT-X-ENDLIST\n",
    "a.mpd": (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" profiles="x"><Period>'
        '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{address}/a.mp4'
        "</BaseURL></Representation></AdaptationSet></Period></MPD>"
    ),
    "a.ffconcat": "ffconcat version 1.0\nfile {address}/a.mp4\n",
    "a.sdp": (
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\n"
    ),
    "a.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}/a.ts\n#EXT-X-ENDLIST\n",  # under another name
}
LISTS_OF_FILES = {
    "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{file}\n#EXT-X-ENDLIST\n",
    "a.ffconcat": "ffconcat version 1.0\nfile {file}\n",
    "b.ffconcat": "ffconcat version 1.0\nfile 'concat:{file}|{file}'\n",
}


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        yield server


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_reaches_for_nobody(tmp_path, listener, name):
    port = listener.getsockname()[1]
    (tmp_path / name).write_text(PLAYLISTS[name].format(address=f"http://127.0.0.1:{port}", port=port))
    with (
        pytest.raises(DataError, match=r"wanted a video, found nothing that FFmpeg .*names other files"),
        open_source(tmp_path / name),
    ):
        pass
    with pytest.raises(TimeoutError):
        listener.accept()


@pytest.fixture
def neighbour(tmp_path):
    """A video beside the list, that nobody asked for."""
    path = tmp_path / "neighbour.ts"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg2video", rate=25, options={})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24").reformat(format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with open_source(path) as source:
        assert source.width == 64
    return path


@pytest.mark.parametrize("is_relative", [True, False])
@pytest.mark.parametrize("name", LISTS_OF_FILES)
def test_a_list_opens_no_other_file(tmp_path, neighbour, name, is_relative):
    (tmp_path / name).write_text(LISTS_OF_FILES[name].format(file=neighbour.name if is_relative else neighbour))
    with pytest.raises(DataError, match="names other files"):
        open_source(tmp_path / name)


def test_the_environment_opens_nothing(tmp_path, neighbour, monkeypatch):
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "protocol_whitelist;file,http,tcp,crypto,data")
    (tmp_path / "a.ffconcat").write_text(f"ffconcat version 1.0\nfile {neighbour.name}\n")
    with pytest.raises(DataError, match="names other files"):
        open_source(tmp_path / "a.ffconcat")


def test_numbered_images_are_no_video(tmp_path):
    """FFmpeg takes `%d` in a name for all images that are called so."""
    import cv2

    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(DataError, match="there is no such file"):
        open_source(tmp_path / "%d.png")
