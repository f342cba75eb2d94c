"""Scenes on a pond, drawn by code, with the exact box of what is seen of each animal and flower.

The colours of the kinds overlap, sizes and directions vary freely, and leaves, stones and sticks lie between them, so
that a model has to look at shapes.
"""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from eightgig.core.errors import ConfigurationError
from eightgig.core.seeding import seed_from
from eightgig.data.samples.painting import Pixels, Point, lay
from eightgig.data.samples.parts import Placed, place
from eightgig.data.samples.pond import draw_drift, water
from eightgig.data.samples.pond_life import CLASSES, UNDER_WATER, draw
from eightgig.data.samples.scenery import illuminate
from eightgig.data.store.boxes import Boxes

__all__ = ["CLASSES", "render_scene", "render_scenes"]

LabelledBox = tuple[int, float, float, float, float]
"""Position in `CLASSES`, then x1, y1, x2, y2 in pixels."""

LEAST_VISIBLE = 0.5  # a thing of which less than this share is seen has no box
NO_CLASS = -1
_LENGTHS = (0.18, 0.5)  # of the image's shorter side
_TRIES = 8
_JPEG_QUALITY = 90


class Thing(NamedTuple):
    """Something on the pond and where it lies."""

    label: int  # NO_CLASS for what drifts
    depth: int  # 0 swims under water, 1 floats flat, 2 is on top
    placed: Placed


def render_scenes(
    num_images: int, *, seed: int, image_side_px: tuple[int, int] = (220, 320)
) -> Iterator[tuple[str, bytes, list[LabelledBox]]]:
    """Yield scenes one by one as (name, JPEG bytes, boxes).

    The same seed gives the same bytes, and any image can be drawn alone:
    `render_scene(seed=seed_from(seed, "scene", 3))` is `scene_0003.jpg`.

    Args:
        num_images: how many in all.
        seed: of the whole set.
        image_side_px: shortest and longest side; height and width of each image are drawn between them.

    Yields:
        `scene_<number>.jpg`, the file's content (RGB JPEG) and a (label, x1, y1, x2, y2) for each animal and flower.

    Raises:
        ConfigurationError: before the first image, when num_images is below 1.
    """
    if num_images < 1:
        raise ConfigurationError(f"rendered scenes: wanted 1 image or more, found num_images={num_images}.")
    num_workers = os.cpu_count() or 1
    with ThreadPoolExecutor(num_workers) as pool:
        ahead: deque[Future[tuple[str, bytes, list[LabelledBox]]]] = deque()
        for number in range(1, num_images + 1):
            ahead.append(pool.submit(_numbered, number, seed, image_side_px))
            if len(ahead) > 2 * num_workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _numbered(number: int, seed: int, image_side_px: tuple[int, int]) -> tuple[str, bytes, list[LabelledBox]]:
    image, boxes = render_scene(seed=seed_from(seed, "scene", number), image_side_px=image_side_px)
    _, jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    labelled = [
        (label, x1, y1, x2, y2)
        for label, (x1, y1, x2, y2) in zip(boxes.labels_M.tolist(), boxes.xyxy_M4.tolist(), strict=True)
    ]
    return f"scene_{number:04d}.jpg", jpeg.tobytes(), labelled


def render_scene(*, seed: int, image_side_px: tuple[int, int] = (220, 320)) -> tuple[NDArray[np.uint8], Boxes]:
    """Draw one scene, (height, width, 3) RGB uint8, and the boxes of what is visible in it.

    A box encloses the pixels in which its thing lies on top. Up to seven animals and flowers are there, each at least
    half visible.

    Raises:
        ConfigurationError: the sides are not a range of at least 64 px.
    """
    shortest, longest = image_side_px
    if not 64 <= shortest <= longest:
        raise ConfigurationError(f"rendered scenes: wanted 64 <= shortest <= longest, found {image_side_px=}.")
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(shortest, longest + 1, 2))
    angle = rng.uniform(-2.6, -0.5)
    light = (float(np.cos(angle)), float(np.sin(angle)))
    image, things = water(rng, height, width), _arrange(rng, height, width, light)
    for thing in things:
        lay_thing(image, thing.placed)
    return _photograph(image, rng, light), visible_boxes(things, height, width)[0]


def _photograph(image: Pixels, rng: np.random.Generator, light: Point) -> NDArray[np.uint8]:
    """Return the image as a camera would: light, a little blur and noise."""
    height, width = image.shape[:2]
    image = illuminate(image, rng, light)
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.0))
    image += rng.standard_normal((height, width, 1), dtype=np.float32) * np.float32(rng.uniform(0.002, 0.02))
    return np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)


def _arrange(rng: np.random.Generator, height: int, width: int, light: Point) -> list[Thing]:
    """Return what lies on the pond, the deepest first; nothing of a class is hidden too far."""
    labels = [int(label) for label in rng.integers(len(CLASSES), size=int(rng.integers(2, 8)))]
    labels += [NO_CLASS] * int(rng.integers(0, 4))
    things: list[Thing] = []
    for label in labels:
        length_px = min(height, width) * float(np.exp(rng.uniform(*np.log(_LENGTHS))))
        heading = rng.uniform(0, 2 * np.pi)
        layer = _drawn(label, int(rng.integers(2**63)), length_px, turned(light, heading), rng.uniform(-1, 1))
        for _ in range(_TRIES):
            at = (width * rng.uniform(0.04, 0.96), height * rng.uniform(0.04, 0.96))
            thing = Thing(label, depth_of(label), place(layer, at, heading, length_px))
            tried = sorted([*things, thing], key=lambda thing: thing.depth)
            if min(visible_boxes(tried, height, width)[1], default=1) >= LEAST_VISIBLE:
                things = tried
                break
    return things


def _drawn(label: int, seed: int, length_px: float, light: Point, stride: float) -> Pixels:
    return (
        draw_drift(seed, length_px, light)
        if label == NO_CLASS
        else draw(CLASSES[label], seed, length_px, light, stride)
    )


def depth_of(label: int) -> int:
    """Return how deep a kind lies: fish below leaves, leaves below all others."""
    if label == NO_CLASS:
        return 1
    return 0 if CLASSES[label] in UNDER_WATER else 2


def turned(light: Point, heading: float) -> Point:
    """Return the image's light (y down) in the axes of a sheet that will be turned by `heading`."""
    (x, y), sin, cos = light, float(np.sin(heading)), float(np.cos(heading))
    return x * cos + y * sin, x * sin - y * cos


def lay_thing(image: Pixels, placed: Placed) -> None:
    """Lay a thing into an image, in place, with a shadow around it."""
    window, part = _within(placed, *image.shape[:2])
    if part.size:
        lay(image[window], part, shadow=0.35, reach_px=max(2, placed.rgba.shape[0] // 24))


def visible_boxes(things: list[Thing], height: int, width: int) -> tuple[Boxes, list[float]]:
    """Return the boxes of what is seen of each thing of a class, and which share of it that is, in the things' order.

    A thing owns the pixels in which it covers more than half and nothing above it does; its box encloses them. It
    has no box when less than `LEAST_VISIBLE` of it is seen.
    """
    owners = np.full((height, width), len(things), np.uint8)
    for number, thing in enumerate(things):
        window, part = _within(thing.placed, height, width)
        owners[window][part[..., 3] > 0.5] = number
    boxes, labels, shares = [], [], []
    for number, thing in enumerate(things):
        if thing.label == NO_CLASS:
            continue
        window, _ = _within(thing.placed, height, width)
        seen = owners[window] == number
        whole = int(np.count_nonzero(thing.placed.rgba[..., 3] > 0.5))
        shares.append(int(np.count_nonzero(seen)) / max(whole, 1))
        if shares[-1] >= LEAST_VISIBLE:
            boxes.append(_extent(seen, window))
            labels.append(thing.label)
    return Boxes(np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64)), shares


def _within(placed: Placed, height: int, width: int) -> tuple[tuple[slice, slice], Pixels]:
    """Return which rows and columns of the image a thing touches, and its pixels there."""
    side = placed.rgba.shape[0]
    top, bottom = (min(max(edge, 0), height) for edge in (placed.top, placed.top + side))
    left, right = (min(max(edge, 0), width) for edge in (placed.left, placed.left + side))
    part = placed.rgba[top - placed.top : bottom - placed.top, left - placed.left : right - placed.left]
    return (slice(top, bottom), slice(left, right)), part


def _extent(seen: NDArray[np.bool_], window: tuple[slice, slice]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    top, left = window[0].start, window[1].start
    return left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1
