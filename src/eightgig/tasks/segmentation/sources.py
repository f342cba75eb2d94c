"""Where images with masks come from: drawn by code, or a folder of the user's."""

import shutil
from pathlib import Path

from eightgig.core.progress import track
from eightgig.data.ingest.class_table import KNOWN_TABLES
from eightgig.data.ingest.sources import RawImages, Source
from eightgig.data.store.masks import encode_mask
from eightgig.tasks.segmentation.layouts import find_layout
from eightgig.tasks.segmentation.parameters import SegmentationDataParameters


def open_mask_source(parameters: SegmentationDataParameters) -> Source:
    """Return the source that the parameters name; its `RawImages.source` is `cityscapes` or `folders`."""
    return _Rendered(parameters) if parameters.source == "rendered" else _UserFolder(parameters)


class _Rendered:
    def __init__(self, parameters: SegmentationDataParameters) -> None:
        self._parameters = parameters

    def materialise(self, folder: Path) -> RawImages:
        """Draw all scenes anew; the last drawing is replaced only when the new one is whole."""
        from eightgig.data.samples.streets import render_streets

        target, unfinished = folder / "rendered", folder / ".rendered.tmp"
        shutil.rmtree(unfinished, ignore_errors=True)
        for part in ("images", "masks"):
            (unfinished / part).mkdir(parents=True)
        number, seed = self._parameters.num_images, self._parameters.seed
        for name, jpeg, mask_HW in track(render_streets(number, seed=seed), "drawing streets", total=number):
            (unfinished / "images" / name).write_bytes(jpeg)
            (unfinished / "masks" / name).with_suffix(".png").write_bytes(encode_mask(mask_HW))
        (unfinished / "classes.csv").write_text(_table_of_cityscapes(), encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        unfinished.rename(target)
        origin = f"{number} street scenes drawn by code, seed {seed}"
        return RawImages(source="folders", root=str(target.resolve()), origin=origin)


class _UserFolder:
    def __init__(self, parameters: SegmentationDataParameters) -> None:
        self._parameters = parameters

    def materialise(self, folder: Path) -> RawImages:  # noqa: ARG002 - the images stay where they are
        """Name the user's folder and its layout: it is read, never written to or copied."""
        root = Path(self._parameters.root or "").expanduser().resolve()
        source = self._parameters.source
        found = find_layout(root) if source == "auto" else source
        return RawImages(source=found, root=str(root), origin=f"images with masks in {root.name}")


def _table_of_cityscapes() -> str:
    table = KNOWN_TABLES["cityscapes"]
    rows = [
        f"{table.classes[place]},{place},{red},{green},{blue}" for (red, green, blue), place in table.colours.items()
    ]
    return "\n".join(["name,label,r,g,b", *rows, ""])
