"""Videos, and an archive of pictures."""

import io
import tarfile
from pathlib import Path

from edits import byte_edits, either
from harness import Reader
from parts import part_edits

from readers.pictures import pixels, put

_MOST_FRAMES = 20


def _write_videos(folder: Path) -> None:
    import cv2

    for seed, (name, codec) in enumerate([("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.mkv", "VP80")]):
        path = folder / str(seed) / name
        path.parent.mkdir(parents=True)
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25.0, (64, 48))
        for number in range(4):
            writer.write(pixels(number, 48, 64))
        writer.release()


def _read_video(folder: Path) -> None:
    import numpy as np

    from eightgig.video.source import open_source

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
    from eightgig.data.oxford102 import unpack

    unpack(folder / "102flowers.tgz", folder / "out")


READERS = [
    Reader("films.video", _write_videos, _read_video),
    Reader("films.archive", _write_archive, _read_archive, {"*": either(byte_edits, part_edits("gzip"))}),
]
