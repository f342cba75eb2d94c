"""Videos, and an archive of images."""

import io
import tarfile
from pathlib import Path

from tests.fuzz.edits import byte_edits, either
from tests.fuzz.harness import Reader
from tests.fuzz.parts import part_edits
from tests.fuzz.readers.images import pixels, put

_MOST_FRAMES = 20


# One of each way that frames and their times are stored: name, codec, pixels, options of the container.
_KINDS: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    ("a.mp4", "mpeg4", "yuv420p", {}),
    ("a.mp4", "libx264", "yuv420p", {"movflags": "frag_keyframe+empty_moov"}),
    ("a.avi", "mjpeg", "yuvj420p", {}),
    ("a.mkv", "libvpx", "yuv420p", {}),
    ("a.webm", "libvpx-vp9", "yuv420p", {"live": "1"}),
    ("a.ts", "mpeg2video", "yuv420p", {}),
    ("a.h264", "libx264", "yuv420p", {}),
    ("a.flv", "flv", "yuv420p", {}),
    ("a.mov", "qtrle", "argb", {}),
    ("a.gif", "gif", "bgr8", {}),
    ("a.apng", "apng", "rgba", {}),
    ("a.ogv", "libvpx", "yuv420p", {}),
)


def _write_videos(folder: Path) -> None:
    import av

    for seed, (name, codec, pixel_format, options) in enumerate(_KINDS):
        path = folder / f"{seed:02d}" / name
        path.parent.mkdir(parents=True)
        with av.open(str(path), "w", format="ogg" if name == "a.ogv" else None, container_options=options) as container:
            stream = container.add_stream(codec, rate=25, options={})
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
            if name == "a.mov":
                stream.set_display_rotation(90)
            for number in range(4):
                frame = av.VideoFrame.from_ndarray(pixels(number, 48, 64), "rgb24").reformat(format=pixel_format)
                frame.pts = number
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))


def _read_video(folder: Path) -> None:
    import numpy as np

    from eightgig.tasks.detection.video.source import open_source

    (path,) = folder.iterdir()
    with open_source(path) as source:
        frame = np.empty((source.height, source.width, 3), np.uint8)
        for _ in range(_MOST_FRAMES):
            if not source.read_into(frame):
                break


def _write_archive(folder: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in (("jpg/image_00001.jpg", b"one" * 50), ("jpg/image_00002.jpg", b"two" * 50)):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    put(folder / "0" / "102flowers.tgz", buffer.getvalue())


def _read_archive(folder: Path) -> None:
    from eightgig.data.ingest.oxford102 import unpack

    unpack(folder / "102flowers.tgz", folder / "out")


READERS = [
    Reader("films.video", _write_videos, _read_video),
    Reader("films.archive", _write_archive, _read_archive, {"*": either(byte_edits, part_edits("gzip"))}),
]
