"""Where frames come from: a video file, a camera, or an address whose kind was allowed."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import av
import cv2
from av.container import InputContainer

from eightgig.core.errors import ConfigurationError, DataError
from eightgig.tasks.detection.video.camera import CameraSource
from eightgig.tasks.detection.video.container import ContainerSource
from eightgig.tasks.detection.video.frames import FrameSource
from eightgig.tasks.detection.video.unreadable import is_still, why_unreadable
from eightgig.tasks.detection.video.wholeness import what_is_missing

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)

# Containers of FFmpeg that hold their frames themselves. Playlists and the like (hls, dash, concat, sdp, image2, ...)
# name other files and addresses, so they are none of them.
_FORMATS = (
    *("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo", "m4v"),
    *(
        "h261",
        "h263",
        "h264",
        "hevc",
        "vvc",
        "obu",
        "ivf",
        "av1",
        "vc1",
        "vc1test",
        "cavsvideo",
        "dirac",
        "flv",
        "live_flv",
    ),
    *("asf", "asf_o", "wtv", "ogg", "gif", "apng", "mjpeg", "mjpeg_2000", "yuv4mpegpipe", "dv", "mxf", "gxf", "nut"),
    *("rm", "swf", "nsv", "ivr"),
)
_FILE_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(_FORMATS)}
# What the protocols themselves are built on. No `file` among them: an address must not read this machine.
_BENEATH = ("tcp", "udp", "tls", "rtp", "srtp", "crypto", "data", "httpproxy")
_BY_PLAYLIST = {"hls", "dash", "sdp", "rtsp", "concat"}
_PATIENCE_S = 30.0  # until an address that is silent is given up


def open_source(source: str | int | Path, *, allow: Sequence[str] = ()) -> FrameSource:
    """Return the open source; leave it by its `with` block.

    Args:
        source: a path, the number of a camera (`0` or "0"), or an address.
        allow: kinds of address that may be opened, for example `rtsp`. Without one, nothing reaches for the network.

    Raises:
        ConfigurationError: an address of a kind that is not allowed.
        DataError: no such file or camera, nothing that can be read as a video, or frames too small or too large.
    """
    text = str(source)
    if text.isdecimal():
        return CameraSource(cv2.VideoCapture(int(text)), f"camera {text}")
    address = _SCHEME.match(text)
    if not address:
        return _open_file(Path(text).expanduser())
    _require_allowed(text, address[1].lower(), allow)
    if address[1].lower() == "file":
        return _open_file(Path(url2pathname(urlsplit(text).path)))
    return _open_address(text, address[1].lower(), allow)


def _open_file(path: Path) -> FrameSource:
    if not path.is_file():
        raise DataError(f"{path}: wanted a video file or the number of a camera, but there is no such file")
    if is_still(path):
        raise DataError(f"{path.name}: wanted a video, found an image. Give it to `--tags predict`.")
    try:
        # With its protocol and an absolute path, no name can be taken for one of FFmpeg's own notations (`concat:...`).
        container = _opened(f"file:{path.resolve()}", _FILE_OPTIONS)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DataError(
            f"{path.name}: wanted a video, found nothing that FFmpeg can read as one{why_unreadable(path)}"
        ) from error
    try:
        return ContainerSource(container, path.name, path=path)
    except DataError as error:
        missing = what_is_missing(path)
        raise DataError(f"{error} The file {missing}.") if missing else error from None


def _open_address(address: str, scheme: str, allow: Sequence[str]) -> FrameSource:
    name = _without_password(address)
    options = {"protocol_whitelist": ",".join([*(kind.lower() for kind in allow if kind.lower() != "file"), *_BENEATH])}
    if scheme in {"rtsp", "rtsps"}:
        options["rtsp_transport"] = "tcp"  # over UDP images arrive torn
    try:
        container = _opened(address, options, timeout=_PATIENCE_S)
    except (av.FFmpegError, OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise DataError(
            f"{name}: wanted a video stream, but it cannot be opened ({why}). Is it there, and is every kind of "
            "address that it leads to in allowed_schemes?"
        ) from None  # FFmpeg's own words hold the password
    return ContainerSource(container, name, is_live=_is_live(container))


def _opened(address: str, options: Mapping[str, str], timeout: float | None = None) -> InputContainer:
    return av.open(
        address,
        mode="r",
        container_options=dict(options),
        metadata_errors="replace",  # names and comments in any encoding
        timeout=timeout,
    )


def _is_live(container: InputContainer) -> bool:
    """Return whether an address gives frames in their own time: a file behind it knows its length or its bytes."""
    kinds = set(container.format.name.split(","))
    return container.duration is None and (container.size <= 0 or bool(kinds & _BY_PLAYLIST))


def _require_allowed(address: str, scheme: str, allow: Sequence[str]) -> None:
    if scheme not in {name.lower() for name in allow}:
        raise ConfigurationError(
            f"{_without_password(address)}: addresses of the kind `{scheme}` are not allowed "
            f"(allowed: {', '.join(allow) or 'none'}). Give a file or the number of a camera, or add `{scheme}` to "
            "allowed_schemes if you trust this address."
        )


def _without_password(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
