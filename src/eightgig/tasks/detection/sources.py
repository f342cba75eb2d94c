"""Where images with boxes come from: drawn by code, or a folder of the user's in one of three formats."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from eightgig.core.progress import track
from eightgig.data.ingest.sources import RawImages, Source
from eightgig.tasks.detection.layouts import find_format
from eightgig.tasks.detection.parameters import DetectionDataParameters

DrawnBox = tuple[int, float, float, float, float]
"""Label and corners in pixels."""


def open_detection_source(parameters: DetectionDataParameters) -> Source:
    """Return the source that the parameters name; its `RawImages.source` is `yolo`, `voc` or `coco`."""
    return _Rendered(parameters) if parameters.source == "rendered" else _UserFolder(parameters)


class _Rendered:
    def __init__(self, parameters: DetectionDataParameters) -> None:
        self._parameters = parameters

    def materialise(self, folder: Path) -> RawImages:
        """Draw all images anew in YOLO's format; the last drawing is replaced only when the new one is whole."""
        from eightgig.data.samples.scenes import CLASSES, render_scenes

        target, unfinished = folder / "rendered", folder / ".rendered.tmp"
        shutil.rmtree(unfinished, ignore_errors=True)
        number, seed = self._parameters.num_images, self._parameters.seed
        for name, jpeg, boxes in track(render_scenes(number, seed=seed), "drawing scenes", total=number):
            _write_image(unfinished, name, jpeg, boxes)
        _write_data_yaml(unfinished, CLASSES)
        shutil.rmtree(target, ignore_errors=True)
        unfinished.rename(target)
        origin = f"{number} scenes drawn by code, seed {seed}"
        return RawImages(source="yolo", root=str(target.resolve()), origin=origin)


class _UserFolder:
    def __init__(self, parameters: DetectionDataParameters) -> None:
        self._parameters = parameters

    def materialise(self, folder: Path) -> RawImages:  # noqa: ARG002 - the images stay where they are
        """Name the user's folder and its format: it is read, never written to or copied."""
        root = Path(self._parameters.root or "").expanduser().resolve()
        source = self._parameters.source
        found = find_format(root, self._parameters.annotations) if source == "auto" else source
        return RawImages(source=found, root=str(root), origin=f"images with {found} boxes in {root.name}")


def _write_image(root: Path, name: str, jpeg: bytes, boxes: Sequence[DrawnBox]) -> None:
    from simplejpeg import decode_jpeg_header

    height, width = decode_jpeg_header(jpeg)[:2]
    image, label = root / "images" / name, (root / "labels" / name).with_suffix(".txt")
    for path in (image, label):
        path.parent.mkdir(parents=True, exist_ok=True)
    image.write_bytes(jpeg)
    label.write_text("".join(_line(box, width, height) for box in boxes), encoding="utf-8")


def _line(box: DrawnBox, width: int, height: int) -> str:
    label, x1, y1, x2, y2 = box
    shares = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height
    return " ".join([str(label), *(f"{share:.7f}" for share in shares)]) + "\n"


def _write_data_yaml(root: Path, classes: Sequence[str]) -> None:
    # JSON's texts and lists are YAML's too.
    text = f"path: .\ntrain: images\nnames: {json.dumps(list(classes))}\n"
    (root / "data.yaml").write_text(text, encoding="utf-8")
