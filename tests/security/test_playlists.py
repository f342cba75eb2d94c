"""Local files that name addresses, which FFmpeg takes for videos: it may read them, but it reaches for nobody.

With OPENCV_FFMPEG_CAPTURE_OPTIONS="protocol_whitelist;file,http,tcp,crypto,data" the first of them does.
"""

import socket

import pytest

from eightgig.core.errors import DataError
from eightgig.video.source import open_source

PLAYLISTS = {
    "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n",
    "a.mpd": (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" profiles="x"><Period>'
        '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>http://127.0.0.1:{port}/a.mp4'
        "</BaseURL></Representation></AdaptationSet></Period></MPD>"
    ),
    "a.ffconcat": "ffconcat version 1.0\nfile http://127.0.0.1:{port}/a.mp4\n",
    "a.sdp": (
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\n"
    ),
}


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        yield server


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_reaches_for_nobody(tmp_path, listener, name):
    (tmp_path / name).write_text(PLAYLISTS[name].format(port=listener.getsockname()[1]))
    with pytest.raises(DataError, match="wanted a video, found nothing that OpenCV"), open_source(tmp_path / name):
        pass
    with pytest.raises(TimeoutError):
        listener.accept()
