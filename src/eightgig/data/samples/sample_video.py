"""A video of the pond, drawn by code: the animals of the scenes swim about, with the exact boxes of each frame."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from eightgig.core.errors import ConfigurationError, DataError
from eightgig.data.samples.painting import Pixels, Point
from eightgig.data.samples.parts import place
from eightgig.data.samples.pond import water
from eightgig.data.samples.pond_life import CLASSES, draw
from eightgig.data.samples.scenes import Thing, depth_of, lay_thing, turned, visible_boxes
from eightgig.data.store.boxes import Boxes

_STRIDES = np.sin(np.linspace(0, 2 * np.pi, 8, endpoint=False))
_NUM_THINGS = 6
_STILL = "water lily"
_LIGHT: Point = (0.6, -0.8)


@dataclass
class _Swimmer:
    """One thing on its way; it is drawn once for each place in its stroke."""

    label: int
    layers: tuple[Pixels, ...]
    length_px: float
    at: Point
    heading: float
    speed_px: float
    turn: float

    def step(self, width: int, height: int) -> None:
        """Swim on for a frame; who leaves the image comes back on the other side."""
        self.heading += self.turn
        x, y = self.at
        x += self.speed_px * float(np.sin(self.heading))
        y -= self.speed_px * float(np.cos(self.heading))
        margin = self.length_px / 2
        self.at = ((x + margin) % (width + 2 * margin) - margin, (y + margin) % (height + 2 * margin) - margin)

    def shown(self, frame: int) -> Thing:
        """Return the thing as it lies in a frame."""
        layer = self.layers[frame % len(self.layers)]
        return Thing(self.label, depth_of(self.label), place(layer, self.at, self.heading, self.length_px))


def video_frames(
    num_frames: int | None, *, seed: int, size: tuple[int, int] = (640, 480)
) -> Iterator[tuple[NDArray[np.uint8], Boxes]]:
    """Yield the frames of a video one by one, (height, width, 3) RGB uint8, with the boxes of what is seen in each.

    Args:
        num_frames: how many; None never ends.
        seed: of the pond and of what swims in it.
        size: width and height, pixels.

    Raises:
        ConfigurationError: before the first frame, when num_frames is below 1 or a side below 64.
    """
    if (num_frames is not None and num_frames < 1) or min(size) < 64:
        raise ConfigurationError(
            f"sample video: wanted at least 1 frame of 64 px a side, found {num_frames=}, {size=}."
        )
    rng = np.random.default_rng(seed)
    width, height = size
    pond = water(rng, height, width)
    swimmers = [_swimmer(rng, label % len(CLASSES), width, height) for label in range(_NUM_THINGS)]
    for frame in itertools.count() if num_frames is None else range(num_frames):
        image = pond.copy()
        things = sorted((swimmer.shown(frame) for swimmer in swimmers), key=lambda thing: thing.depth)
        for thing in things:
            lay_thing(image, thing.placed)
        yield np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8), visible_boxes(things, height, width)[0]
        for swimmer in swimmers:
            swimmer.step(width, height)


def write_sample_video(
    path: Path, num_frames: int, *, seed: int, fps: float, size: tuple[int, int] = (640, 480)
) -> None:
    """Write the sample as an MP4 file. DataError where OpenCV cannot write there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
    try:
        if not writer.isOpened():
            raise DataError(f"{path}: OpenCV cannot write an MP4 there. Choose another folder.")
        for frame_HWC, _ in video_frames(num_frames, seed=seed, size=size):
            writer.write(frame_HWC[..., ::-1])
    finally:
        writer.release()


def _swimmer(rng: np.random.Generator, label: int, width: int, height: int) -> _Swimmer:
    length_px = min(width, height) * rng.uniform(0.15, 0.35)
    seed, heading = int(rng.integers(2**63)), rng.uniform(0, 2 * np.pi)
    is_still = CLASSES[label] == _STILL
    strides = _STRIDES[:1] if is_still else _STRIDES
    light = turned(_LIGHT, heading)
    return _Swimmer(
        label=label,
        layers=tuple(draw(CLASSES[label], seed, length_px, light, float(stride)) for stride in strides),
        length_px=length_px,
        at=(width * rng.uniform(0.1, 0.9), height * rng.uniform(0.1, 0.9)),
        heading=heading,
        speed_px=0.2 if is_still else length_px * rng.uniform(0.01, 0.03),
        turn=rng.uniform(-0.015, 0.015),
    )
