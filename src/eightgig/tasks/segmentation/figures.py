"""Figures and images of a segmenter: overlays, masks in colours with their legend, and IoU by class."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image

from eightgig.core.files import atomic_write
from eightgig.data.images.decoding import Pixels
from eightgig.data.ingest.class_table import coloured, colours_of
from eightgig.data.store.masks import VOID, Labels
from eightgig.report.figures import BLUE, ORANGE, _styled, shown_names
from eightgig.report.images import Tile

_OPACITY = 0.55
_SWATCH_PX = 64


def overlaid(image_HWC: Pixels, labels_HW: Labels, classes: Sequence[str], *, opacity: float = _OPACITY) -> Pixels:
    """Return the image under the colours of its classes, uint8 RGB; where the mask is void it stays as it is."""
    colours_HW3 = coloured(labels_HW, colours_of(classes))
    blended_HWC = cv2.addWeighted(image_HWC, 1 - opacity, colours_HW3, opacity, 0)
    return np.where((labels_HW == VOID)[..., None], image_HWC, blended_HWC).astype(np.uint8)


def triptych(image_HWC: Pixels, truth_HW: Labels, found_HW: Labels, classes: Sequence[str], caption: str) -> list[Tile]:
    """Return three tiles: the image, its true mask, and the mask that was found."""
    colours = colours_of(classes)
    return [
        Tile(image_HWC, caption),
        Tile(coloured(truth_HW, colours), "truth (black: void)"),
        Tile(coloured(found_HW, colours), "found"),
    ]


def legend_tiles(labels: Sequence[int], classes: Sequence[str]) -> list[Tile]:
    """Return a tile in the colour of each class, with its name under it."""
    colours = colours_of(classes)
    swatches = [np.full((_SWATCH_PX, _SWATCH_PX, 3), colours[label], np.uint8) for label in labels]
    return [Tile(swatch, classes[label]) for swatch, label in zip(swatches, labels, strict=True)]


def legend(classes: Sequence[str], *, columns: int = 10) -> Pixels:
    """Return all classes with their colours as one image, uint8 RGB."""
    from eightgig.report.images import contact_sheet

    return contact_sheet(legend_tiles(range(len(classes)), classes), columns=columns, tile_side_px=110)


def write_mask_png(path: Path, labels_HW: Labels, classes: Sequence[str]) -> None:
    """Write a mask as a palette PNG: its values are positions in the classes, and any viewer shows their colours."""
    colours = colours_of(classes)
    image = Image.fromarray(labels_HW, mode="P")
    image.putpalette(colours[:-1].ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        image.save(temporary, "PNG")


def iou_by_class(per_class: pd.DataFrame) -> go.Figure:
    """Return the intersection over union and the recall of each class, the weakest class at the bottom.

    Args:
        per_class: columns `class, pixels, iou, recall`; classes without a true pixel are left out.
    """
    rows = per_class.dropna(subset=["iou"]).sort_values("iou")
    shares = rows["pixels"] / max(1, rows["pixels"].sum())
    names = [f"{name} ({share:.1%})" for name, share in zip(shown_names(rows["class"]), shares, strict=True)]
    figure = go.Figure()
    for column, label, colour in (("iou", "intersection over union", BLUE), ("recall", "recall", ORANGE)):
        figure.add_bar(y=names, x=rows[column], name=label, orientation="h", marker={"color": colour})
    figure.update_xaxes(title="share (beside the name: of all pixels)", range=(0, 1.01), tickformat=".0%")
    return _styled(figure, height_px=int(140 + 30 * max(3, len(rows))), barmode="group", bargap=0.3)


def pixels_by_class(pixels: pd.DataFrame) -> go.Figure:
    """Return the share of the pixels that each class has, in each split.

    Args:
        pixels: columns `class_name, split, num_pixels`.
    """
    sums = pixels.groupby(["split", "class_name"], sort=False)["num_pixels"].sum()
    figure = go.Figure()
    for split in ("train", "val", "test"):
        if split not in sums.index.get_level_values(0):
            continue
        own = sums[split].sort_values(ascending=False)
        figure.add_bar(x=shown_names(own.index), y=own / own.sum(), name=split)
    figure.update_xaxes(type="category")
    figure.update_yaxes(title="share of the pixels", tickformat=".0%")
    return _styled(figure, height_px=360, barmode="group")


def as_percent(confusion: pd.DataFrame) -> pd.DataFrame:
    """Return a confusion matrix of pixels in hundredths of each true class, which people can read."""
    totals: NDArray[np.float64] = confusion.sum(axis=1).clip(lower=1).to_numpy(dtype=np.float64)
    return (100 * confusion.div(totals, axis=0)).round(0).astype(int)
