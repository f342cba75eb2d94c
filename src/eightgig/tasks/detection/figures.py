"""Figures and images of a detector: boxes on images, precision over recall, and where the milliseconds go."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from eightgig.data.store.boxes import CORNERS, Boxes
from eightgig.report.figures import BLUE, GREEN, GREY, ORANGE, PALETTE, _styled, shown_names
from eightgig.tasks.detection.detections import Detections
from eightgig.tasks.detection.video.drawing import Colour, Pixels, class_colours, draw_boxes

_KINDS: dict[str, Colour] = {"hit": (79, 163, 107), "miss": (240, 150, 40), "false alarm": (214, 60, 60)}
_REAL_TIME_FPS = 30
_SMALLEST_SIDE_PX = 320


def draw_detections(image_HWC: Pixels, found: Detections, classes: Sequence[str]) -> Pixels:
    """Return a copy of the image with what was found in it, a colour a class, with names and scores."""
    captions = [
        f"{classes[label]} {score:.2f}"
        for label, score in zip(found.labels_M.tolist(), found.scores_M.tolist(), strict=True)
    ]
    return _drawn(image_HWC, found.boxes_xyxy_M4, captions, class_colours(found.labels_M))


def draw_truth(image_HWC: Pixels, boxes: Boxes, classes: Sequence[str]) -> Pixels:
    """Return a copy of the image with its true boxes, a colour a class, with names."""
    captions = [classes[label] for label in boxes.labels_M.tolist()]
    return _drawn(image_HWC, boxes.xyxy_M4, captions, class_colours(boxes.labels_M))


def draw_found(image_HWC: Pixels, rows: pd.DataFrame) -> Pixels:
    """Return a copy of the image with hits in green, misses in orange and false alarms in red.

    Args:
        image_HWC: uint8 RGB.
        rows: columns `kind` (hit, miss, false alarm), `class_name`, and x1, y1, x2, y2 in pixels of the image.
    """
    boxes_M4 = rows[list(CORNERS)].to_numpy(dtype=np.float32)
    return _drawn(image_HWC, boxes_M4, list(rows["class_name"]), [_KINDS[kind] for kind in rows["kind"]])


def _drawn(
    image_HWC: Pixels, boxes_M4: NDArray[np.float32], captions: Sequence[str], colours: Sequence[Colour]
) -> Pixels:
    """Draw on a copy; a small image is enlarged first, so that names can be read."""
    import cv2

    scale = max(1, round(_SMALLEST_SIDE_PX / min(image_HWC.shape[:2])))
    copy_HWC = np.array(cv2.resize(image_HWC, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    draw_boxes(copy_HWC, boxes_M4 * scale, captions, colours)
    return copy_HWC


def pr_curves(curves: pd.DataFrame) -> go.Figure:
    """Return precision over recall, a line a class.

    Args:
        curves: columns `class, recall, precision`, shares from 0 to 1.
    """
    figure = go.Figure()
    for index, (name, rows) in enumerate(curves.groupby("class", sort=False)):
        colour = PALETTE[index % len(PALETTE)]
        figure.add_scatter(
            x=rows["recall"],
            y=rows["precision"],
            name=shown_names([name])[0],
            mode="lines",
            line={"color": colour, "width": 2},
        )
    figure.update_xaxes(title="recall", range=(0, 1.01), tickformat=".0%")
    figure.update_yaxes(title="precision", range=(0, 1.03), tickformat=".0%")
    return _styled(figure, height_px=420)


def per_class_ap(per_class: pd.DataFrame) -> go.Figure:
    """Return the average precision of each class at IoU 0.5 and over 0.5 to 0.95, the weakest class at the bottom.

    Args:
        per_class: columns `class, boxes, ap50, ap50_95`; classes without a box are left out.
    """
    rows = per_class.dropna(subset=["ap50"]).sort_values("ap50")
    names = [f"{name} ({boxes})" for name, boxes in zip(shown_names(rows["class"]), rows["boxes"], strict=True)]
    figure = go.Figure()
    for column, label, colour in (("ap50", "IoU 0.5", BLUE), ("ap50_95", "IoU 0.5 to 0.95", ORANGE)):
        figure.add_bar(y=names, x=rows[column], name=label, orientation="h", marker={"color": colour})
    figure.update_xaxes(title="average precision", range=(0, 1.01), tickformat=".0%")
    return _styled(figure, height_px=int(140 + 40 * max(3, len(rows))), barmode="group", bargap=0.3)


def frames_per_second(benchmark: pd.DataFrame) -> go.Figure:
    """Return the frames a second that each variant allows, of the network alone and from a stored image to boxes.

    Args:
        benchmark: columns `variant, latency_p50_ms`, and if known `end_to_end_ms`; rows without latency are left out.
    """
    rows = benchmark[benchmark["latency_p50_ms"].notna()].iloc[::-1]
    figure = go.Figure()
    for column, label, colour in (
        ("latency_p50_ms", "the network alone", BLUE),
        ("end_to_end_ms", "stored image to boxes", GREEN),
    ):
        if column in rows:
            figure.add_bar(
                y=rows["variant"],
                x=1000 / rows[column].astype(float),
                name=label,
                orientation="h",
                marker={"color": colour},
                hovertemplate="%{x:.1f} frames/s",
            )
    figure.add_vline(
        x=_REAL_TIME_FPS, line={"color": GREY, "dash": "dot"}, annotation_text=f"{_REAL_TIME_FPS} a second"
    )
    figure.update_xaxes(title="frames a second, batch 1", rangemode="tozero")
    return _styled(figure, height_px=int(150 + 34 * max(3, len(rows))), barmode="group", bargap=0.3)


def milliseconds(stages: Mapping[str, float]) -> go.Figure:
    """Return one bar with the mean milliseconds that a frame spends in each stage."""
    figure = go.Figure()
    for index, (name, time_ms) in enumerate(stages.items()):
        figure.add_bar(
            y=["a frame"],
            x=[time_ms],
            name=name,
            orientation="h",
            marker={"color": PALETTE[index % len(PALETTE)]},
            text=f"{time_ms:.1f}" if time_ms >= 0.02 * sum(stages.values()) else "",
            hovertemplate=f"{name}: {time_ms:.2f} ms<extra></extra>",
        )
    figure.update_xaxes(title="milliseconds")
    figure.update_yaxes(showticklabels=False)
    return _styled(figure, height_px=200, barmode="stack")
