"""Addresses on this machine: what lies behind one as a file loses no frame; what comes in its own time is live."""

import http.server
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from eightgig.core.errors import DataError
from eightgig.tasks.detection.video.source import open_source


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a server of `tmp_path`."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.mp4", {}),
        ("a.webm", {"codec": "libvpx", "options": {"live": "1"}}),
        ("a.ts", {"codec": "mpeg2video"}),
        ("a.h264", {"codec": "libx264", "kind": "h264"}),
    ],
)
def test_a_file_at_an_address_is_a_file(
    name: str, kind: dict[str, Any], film: Any, seen: Any, served: str, tmp_path: Path
) -> None:
    film(tmp_path / name, **kind)
    found = seen(f"{served}/{name}", allow=("http",))
    assert not found.is_live
    assert found.times_s == pytest.approx([index / 25 for index in range(12)], abs=2e-3)


def test_what_a_server_sends_without_an_end_is_live(film: Any, seen: Any, tmp_path: Path) -> None:
    content = film(tmp_path / "a.ts", codec="mpeg2video").read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(content)

        threading.Thread(target=send, daemon=True).start()
        found = seen(f"tcp://127.0.0.1:{server.getsockname()[1]}", allow=("tcp",))
    assert found.is_live
    assert found.num_claimed is None
    assert len(found.frames) == 12
    assert found.times_s == [None] * 12  # by this machine's clock
    assert found.end_s is None


def test_an_address_that_nobody_answers_is_told_without_its_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(
        DataError, match=rf"http://127\.0\.0\.1:{port}/a: wanted a video stream, .* cannot be opened"
    ) as caught:
        open_source(f"http://me:secret@127.0.0.1:{port}/a", allow=("http",))
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "list_of",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{file}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {file}\n",
    ],
)
def test_an_address_does_not_read_this_machine(
    list_of: str, film: Any, served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a server sends may be a playlist, and that may name a file here."""
    secret = film(tmp_path / "secret.ts", codec="mpeg2video")
    (tmp_path / "list").write_text(list_of.format(file=secret.as_uri()))
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:\d+/list: "):
        open_source(f"{served}/list", allow=("http", "file"))


def test_an_address_does_not_lead_to_one_of_another_kind(served: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.3)
        port = listener.getsockname()[1]
        (tmp_path / "list").write_text(f"ffconcat version 1.0\nfile rtmp://127.0.0.1:{port}/a\n")
        with pytest.raises(DataError, match="allowed_schemes"):
            open_source(f"{served}/list", allow=("http",))
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.parametrize(
    ("kind", "greeting"),
    [
        ("rtsp", b"OPTIONS rtsp://"),
        ("rtmp", b"\x03"),
        ("http", b"GET /live"),
        ("https", b"\x16\x03"),
        ("rtsps", b"\x16\x03"),
    ],
)
def test_an_allowed_kind_of_address_is_reached(kind: str, greeting: bytes) -> None:
    """The list of protocols holds what each kind is built on."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(5)
                heard.append(connection.recv(64))

        listening = threading.Thread(target=hang_up, daemon=True)
        listening.start()
        with pytest.raises(DataError, match=f"{kind}://.*/live: wanted a video stream, but it cannot be opened"):
            open_source(f"{kind}://me:secret@127.0.0.1:{server.getsockname()[1]}/live", allow=(kind,))
        listening.join(5)
    assert heard
    assert heard[0].startswith(greeting)
