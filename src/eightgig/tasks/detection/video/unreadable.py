"""Why a file is no video, and what to do about it."""

from pathlib import Path

from eightgig.tasks.detection.video.wholeness import has_index, what_is_missing

_HEAD = 1024
_NAMES_OTHERS = "which names other files. These are not opened from within a file: give the video itself."
_LISTS: tuple[tuple[bytes, str], ...] = (
    (b"#EXTM3U", "a playlist (HLS)"),
    (b"ffconcat", "a list of files (ffconcat)"),
    (b"<MPD", "a playlist (DASH)"),
    (b"m=video", "the description of a stream (SDP)"),
)
_IMAGES = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"II*\0", b"MM\0*")
_STILL_BRANDS = {b"heic", b"heix", b"mif1", b"avif"}
_CUT_OFF = "It was cut off: copy or record it once more, or repair it by a tool for what recorded it."


def why_unreadable(path: Path) -> str:
    """Return the reason that the file itself tells, and the way out, to follow "nothing to be read as a video"."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        return ": it is empty. Copy or record it once more."
    listed = next((kind for sign, kind in _LISTS if sign in head), None)
    if listed:
        return f": it is {listed}, {_NAMES_OTHERS}"
    if _is_image(head):
        return ": it is an image. Give it to `--tags predict`."
    if not has_index(path):
        return ": its index (`moov`), which is written last, is not there. " + _CUT_OFF
    missing = what_is_missing(path)
    return f": it {missing}. {_CUT_OFF}" if missing else ". Convert it to MP4 (H.264), or give another file."


def is_still(path: Path) -> bool:
    """Return whether a file is a HEIC or AVIF image, which FFmpeg takes for a video of its parts."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS


def _is_image(head: bytes) -> bool:
    return head.startswith(_IMAGES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
