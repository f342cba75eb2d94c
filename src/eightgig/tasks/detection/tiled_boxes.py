"""From detections on tiles to those of a whole image: objects that tiles cut are made whole, and none counts twice.

Two tiles that overlap describe the same pixels there. So two boxes of one class that end at their tiles' edges are
parts of one object if they have nearly the same place in what both tiles see; and one that lies in a whole box of
another tile is a part of that:

    tile a  |        +-----------|-+            a sees the object whole, b sees the rest of it at its edge:
    tile b           |       |   | +---         b's box is dropped
                     +-----------|-+
    tile a  |   +----------------|              each sees a part: they are united
    tile b      |            |-----------+

An object that only touches another of its class has another place in the shared part, and stays.
"""

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torchvision.ops import batched_nms

from eightgig.core.errors import ConfigurationError
from eightgig.tasks.detection.detections import Detections
from eightgig.tiles.grid import Grid
from eightgig.tiles.records import StageTimer
from eightgig.tiles.scratch import Pixels, require_space
from eightgig.tiles.source import RowSource
from eightgig.tiles.strips import Batch, Strips, answer_all

Floats = npt.NDArray[np.float32]
RunBoxes = Callable[[Pixels], list[Detections]]
"""From images_N3HW (uint8 RGB) to the detections of each, in pixels of the tile."""
_EDGE_PX = 2.0
_SAME_PLACE = 0.5
_MOSTLY = 0.6


class _Found(NamedTuple):
    """All detections, boxes in pixels of the image.

    Attributes:
        boxes_xyxy_M4: float32.
        scores_M: float32.
        labels_M: int64.
        tiles_xyxy_M4: float32, the tile that each was found in.
        is_cut_M: whether the box ends where its tile ends and the image goes on.
    """

    boxes_xyxy_M4: Floats
    scores_M: Floats
    labels_M: npt.NDArray[np.int64]
    tiles_xyxy_M4: Floats
    is_cut_M: npt.NDArray[np.bool_]


def merge_boxes(
    source: RowSource,
    run: RunBoxes,
    *,
    grid: Grid,
    batch: int,
    iou: float,
    scratch: Path,
    clock: StageTimer | None = None,
) -> Detections:
    """Return the detections of the whole image, best first; a box that was united has the best score of its parts.

    Args:
        source: the image.
        run: the detector, called on one other thread.
        grid: the tiles.
        batch: tiles at once.
        iou: 0 to 1; of boxes of one class that overlap by more, the one with the best score is kept.
        scratch: folder for scratch files, which vanish by themselves.
        clock: seconds by stage are added to it.

    Raises:
        ConfigurationError: `run` gives another number of answers than tiles, or the grid is of another size.
        DataError: the source fails while it is read, or the scratch folder is too full.
    """
    require_space(scratch, 6 * grid.tile * grid.width, "the scratch space of tiles")
    clock = clock or StageTimer()
    parts: list[_Found] = []

    def take(tiles: Batch, answer: list[Detections]) -> None:
        with clock.measure("blend"):
            parts.extend(_in_image(tiles, answer, grid))

    with Strips(source, grid, scratch, clock) as strips:
        answer_all(strips.batches(batch), run, take, clock)
    with clock.measure("blend"):
        return _suppressed(_united(_joined(parts), grid), iou)


def _in_image(tiles: Batch, answer: list[Detections], grid: Grid) -> Iterator[_Found]:
    if len(answer) != len(tiles.columns):
        raise ConfigurationError(
            f"wanted the detections of {len(tiles.columns)} tiles from the detector, found those of {len(answer)}"
        )
    for column, detections in zip(tiles.columns, answer, strict=True):
        yield _shifted(detections, grid, grid.rows[tiles.row].position, grid.columns[column].position)


def _shifted(detections: Detections, grid: Grid, top: int, left: int) -> _Found:
    """Move boxes to their place; those in what was filled up beyond the image are its mirror image, and go."""
    size_4 = np.array([grid.width, grid.height] * 2, dtype=np.float32)
    boxes_M4 = detections.boxes_xyxy_M4 + np.array([left, top] * 2, dtype=np.float32)
    middles_M2 = (boxes_M4[:, :2] + boxes_M4[:, 2:]) / 2
    kept_M = (middles_M2 < size_4[:2]).all(axis=1)
    boxes_M4 = boxes_M4[kept_M].clip(0, size_4)
    tile_4 = np.array([left, top, left + grid.tile, top + grid.tile], dtype=np.float32)
    # A side at the image's border cuts nothing off.
    first_2 = np.where(tile_4[:2] > 0, tile_4[:2] + _EDGE_PX, -np.inf)
    last_2 = np.where(tile_4[2:] < size_4[2:], tile_4[2:] - _EDGE_PX, np.inf)
    is_cut_M4 = np.hstack([boxes_M4[:, :2] <= first_2, boxes_M4[:, 2:] >= last_2])
    tiles_M4 = np.broadcast_to(tile_4, boxes_M4.shape)
    return _Found(
        boxes_M4, detections.scores_M[kept_M], detections.labels_M[kept_M], tiles_M4, np.asarray(is_cut_M4.any(axis=1))
    )


def _joined(parts: list[_Found]) -> _Found:
    columns: list[Any] = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return _Found(*columns)


def _chosen(found: _Found, is_kept_M: npt.NDArray[np.bool_]) -> _Found:
    columns: list[Any] = [values[is_kept_M] for values in found]
    return _Found(*columns)


def _united(found: _Found, grid: Grid) -> _Found:
    """Drop cut boxes that another tile has whole, and unite those that are parts of one object."""
    is_kept_M = np.ones(len(found.scores_M), dtype=bool)
    parts: list[tuple[int, int]] = []
    for cut, others in _near(found, grid):
        whole, also_cut = others[~found.is_cut_M[others]], others[found.is_cut_M[others]]
        is_kept_M[cut] = not _is_inside(found, cut, whole)
        parts += [(cut, other) for other in _parts_of_same(found, cut, also_cut)]
    pairs_P2 = np.array(parts, dtype=np.int64).reshape(-1, 2)
    groups_M = _groups(len(is_kept_M), pairs_P2[is_kept_M[pairs_P2].all(axis=1)])
    return _one_a_group(_chosen(found, is_kept_M), groups_M[is_kept_M])


def _is_inside(found: _Found, cut: int, whole: npt.NDArray[np.int64]) -> bool:
    """Tell whether most of a cut box lies in one that is whole; a thin rest of an object is seldom found exactly."""
    box_4 = found.boxes_xyxy_M4[cut]
    covered_M = _area(_overlap(found.boxes_xyxy_M4[whole], box_4)) / _area(box_4[None]).clip(1e-9)
    return bool((covered_M >= _MOSTLY).any())


def _parts_of_same(found: _Found, cut: int, others: npt.NDArray[np.int64]) -> list[int]:
    """Choose the cut boxes that show what box `cut` shows, in the pixels that both tiles see."""
    shared_M4 = _overlap(found.tiles_xyxy_M4[others], found.tiles_xyxy_M4[cut])
    ours_M4 = _overlap(shared_M4, found.boxes_xyxy_M4[cut])
    theirs_M4 = _overlap(shared_M4, found.boxes_xyxy_M4[others])
    same: list[int] = others[_iou(ours_M4, theirs_M4) >= _SAME_PLACE].tolist()
    return same


def _near(found: _Found, grid: Grid) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Yield the place of each cut box, and those of boxes of its class in tiles that may overlap with its own."""
    cells_M2 = (found.tiles_xyxy_M4[:, :2] // grid.tile).astype(int)
    places: dict[tuple[int, int], list[int]] = {}
    for place, (column, row) in enumerate(cells_M2.tolist()):
        places.setdefault((column, row), []).append(place)
    for cut in np.flatnonzero(found.is_cut_M).tolist():
        column, row = cells_M2[cut].tolist()
        around = product((column - 1, column, column + 1), (row - 1, row, row + 1))
        others = np.array([place for cell in around for place in places.get(cell, ())], dtype=np.int64)
        is_other_tile = (found.tiles_xyxy_M4[others] != found.tiles_xyxy_M4[cut]).any(axis=1)
        yield cut, others[is_other_tile & (found.labels_M[others] == found.labels_M[cut])]


def _overlap(boxes_M4: Floats, box_4: Floats) -> Floats:
    """Return what boxes share, M x 4; where that is nothing, a side is 0 or less."""
    return np.concatenate(
        [np.maximum(boxes_M4[:, :2], box_4[..., :2]), np.minimum(boxes_M4[:, 2:], box_4[..., 2:])], axis=1
    )


def _area(boxes_M4: Floats) -> Floats:
    sides_M2 = (boxes_M4[:, 2:] - boxes_M4[:, :2]).clip(0)
    return sides_M2[:, 0] * sides_M2[:, 1]


def _iou(boxes_M4: Floats, others_M4: Floats) -> Floats:
    both_M = _area(_overlap(boxes_M4, others_M4))
    joined_M = _area(boxes_M4) + _area(others_M4) - both_M
    return np.asarray(both_M / np.maximum(joined_M, 1e-9), dtype=np.float32)


def _groups(count: int, pairs_P2: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return, for each place, the smallest place that pairs lead to from it."""
    groups_M = np.arange(count)
    while len(pairs_P2):
        smallest_P = groups_M[pairs_P2].min(axis=1)
        before_M = groups_M.copy()
        np.minimum.at(groups_M, pairs_P2[:, 0], smallest_P)
        np.minimum.at(groups_M, pairs_P2[:, 1], smallest_P)
        if np.array_equal(groups_M, before_M):
            break
    return groups_M


def _one_a_group(found: _Found, groups_M: npt.NDArray[np.int64]) -> _Found:
    _, firsts, places = np.unique(groups_M, return_index=True, return_inverse=True)
    boxes_M4, scores_M = found.boxes_xyxy_M4[firsts], found.scores_M[firsts]
    np.minimum.at(boxes_M4[:, :2], places, found.boxes_xyxy_M4[:, :2])
    np.maximum.at(boxes_M4[:, 2:], places, found.boxes_xyxy_M4[:, 2:])
    np.maximum.at(scores_M, places, found.scores_M)
    return found._replace(boxes_xyxy_M4=boxes_M4, scores_M=scores_M, labels_M=found.labels_M[firsts])


def _suppressed(found: _Found, iou: float) -> Detections:
    values = [torch.from_numpy(array) for array in found[:3]]
    kept = batched_nms(values[0], values[1], values[2], iou)
    return Detections(*(value[kept].numpy() for value in values))
