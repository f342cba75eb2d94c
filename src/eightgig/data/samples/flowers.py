"""Images of flowers drawn by code: the built-in sample, for machines without a network.

The kinds differ in petals, centre and habit; their colours overlap on purpose, so that a model has to look at shapes.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from eightgig.core.errors import ConfigurationError
from eightgig.core.seeding import seed_from
from eightgig.data.samples import blossoms, habits
from eightgig.data.samples.blossoms import Pose
from eightgig.data.samples.painting import Colour, Pen, Pixels, Point, lay, shade
from eightgig.data.samples.scenery import GREENS, background, illuminate, occlude

WHITE, CREAM, YELLOW, ORANGE = (0.96, 0.95, 0.92), (0.96, 0.89, 0.68), (0.98, 0.82, 0.14), (0.96, 0.55, 0.12)
RED, RUST, PINK, MAGENTA = (0.84, 0.10, 0.11), (0.62, 0.20, 0.08), (0.95, 0.58, 0.70), (0.80, 0.16, 0.50)
VIOLET, BLUE, LILAC = (0.45, 0.22, 0.66), (0.33, 0.36, 0.80), (0.70, 0.58, 0.86)

_Painter = Callable[[Pen, Pose, Colour], None]
_KINDS: dict[str, tuple[_Painter, tuple[Colour, ...]]] = {
    "daisy": (blossoms.daisy, (WHITE, WHITE, PINK, YELLOW, LILAC, ORANGE, RED, MAGENTA)),
    "iris": (habits.iris, (VIOLET, BLUE, LILAC, YELLOW, WHITE, RUST, PINK, ORANGE)),
    "lavender": (habits.lavender, (VIOLET, BLUE, LILAC, LILAC, PINK, WHITE, MAGENTA)),
    "poppy": (blossoms.poppy, (RED, RED, ORANGE, PINK, WHITE, YELLOW, LILAC, VIOLET)),
    "rose": (blossoms.rose, (RED, PINK, YELLOW, ORANGE, WHITE, MAGENTA, CREAM, LILAC)),
    "sunflower": (blossoms.sunflower, (YELLOW, YELLOW, ORANGE, CREAM, RUST, RED)),
    "tulip": (habits.tulip, (RED, YELLOW, PINK, ORANGE, VIOLET, WHITE, MAGENTA)),
}
SPECIES: tuple[str, ...] = tuple(_KINDS)


@dataclass(frozen=True)
class View:
    """How a flower is seen: what makes its kind easy or hard to tell, and never impossible for a person.

    Ranges are the lowest and highest of an even draw.
    """

    radius: tuple[float, float]  # of the blossom, as a part of the image's shorter side
    spread: float  # farthest from the middle, as a part of the shorter side
    spread_behind: float
    companions: tuple[int, ...]  # how many stand behind, each as likely
    companion_depth: tuple[float, float]  # of 1, where the flower itself stands
    same_kind: float  # how often companions are of the flower's own kind for sure
    occluded: float  # how often something stands before it
    exposure: tuple[float, float]


VIEWS = {
    "portrait": View((0.15, 0.4), 0.16, 0.36, (0, 0, 1, 2), (0.45, 0.75), 0.7, 0.4, (0.68, 1.2)),
    "garden": View((0.07, 0.22), 0.24, 0.4, (1, 1, 2, 3), (0.5, 0.9), 0.35, 0.6, (0.5, 1.2)),
}
"""`portrait`: one flower fills much of the image. `garden`: smaller, farther from the middle, among others of other
kinds, hidden in part, and in the shade, which tells networks apart that all know every portrait."""

_FINENESS = 1.25  # painted this much larger than the image, then averaged down: smooth edges
_JPEG_QUALITY = 90


def render_flowers(
    num_images: int, *, seed: int, image_side_px: tuple[int, int] = (220, 320), view: str = "portrait"
) -> Iterator[tuple[str, bytes]]:
    """Yield images of flowers one by one as (path, JPEG bytes), the kinds in turn.

    The same seed gives the same bytes, and any image can be drawn alone:
    `render_flower("daisy", seed=seed_from(seed, "flower", "daisy", 3))` is `daisy/daisy_0003.jpg`.

    Args:
        num_images: how many in all; the kinds' counts differ by one at most.
        seed: of the whole set.
        image_side_px: shortest and longest side; height and width of each image are drawn between them.
        view: how flowers are seen, one of VIEWS.

    Yields:
        A relative path with forward slashes, `<kind>/<kind>_<number>.jpg`, and the file's content (RGB JPEG).

    Raises:
        ConfigurationError: before the first image, when num_images is below 1.
    """
    if num_images < 1:
        raise ConfigurationError(f"rendered flowers: wanted 1 image or more, found num_images={num_images}.")
    wanted = ((SPECIES[index % len(SPECIES)], index // len(SPECIES) + 1) for index in range(num_images))
    num_workers = os.cpu_count() or 1
    with ThreadPoolExecutor(num_workers) as pool:
        ahead: deque[Future[tuple[str, bytes]]] = deque()
        for species, number in wanted:
            ahead.append(pool.submit(_numbered, species, number, seed, image_side_px, view))
            if len(ahead) > 2 * num_workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _numbered(species: str, number: int, seed: int, image_side_px: tuple[int, int], view: str) -> tuple[str, bytes]:
    own_seed = seed_from(seed, "flower", species, number)
    image = render_flower(species, seed=own_seed, image_side_px=image_side_px, view=view)
    _, jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return f"{species}/{species}_{number:04d}.jpg", jpeg.tobytes()


def render_flower(
    species: str, *, seed: int, image_side_px: tuple[int, int] = (220, 320), view: str = "portrait"
) -> NDArray[np.uint8]:
    """Draw one image of a flower, (height, width, 3) RGB uint8.

    Raises:
        ConfigurationError: the kind is not one of SPECIES, the view none of VIEWS, or the sides are not a range of
            at least 16 px.
    """
    if species not in _KINDS:
        raise ConfigurationError(f"rendered flowers: no kind {species!r}; there are {', '.join(SPECIES)}.")
    if view not in VIEWS:
        raise ConfigurationError(f"rendered flowers: no view {view!r}; there are {', '.join(VIEWS)}.")
    shortest, longest = image_side_px
    if not 16 <= shortest <= longest:
        raise ConfigurationError(f"rendered flowers: wanted 16 <= shortest <= longest, found {image_side_px=}.")
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(shortest, longest + 1, 2))
    angle = rng.uniform(-2.6, -0.5)
    light = (float(np.cos(angle)), float(np.sin(angle)))
    seen = VIEWS[view]
    image = _compose(species, rng, (round(height * _FINENESS), round(width * _FINENESS)), light, seen)
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    small = illuminate(resized, rng, light, exposure=seen.exposure)
    if rng.random() < 0.4:
        small = cv2.GaussianBlur(small, (0, 0), rng.uniform(0.4, 1.8))
    small += rng.standard_normal((height, width, 1), dtype=np.float32) * np.float32(rng.uniform(0.002, 0.022))
    return np.clip(small * 255 + 0.5, 0, 255).astype(np.uint8)


def _compose(species: str, rng: np.random.Generator, shape: tuple[int, int], light: Point, view: View) -> Pixels:
    """Paint background, companions out of focus, the flower itself, and what stands before it."""
    height, width = shape
    image = background(rng, height, width)
    green = shade(GREENS[int(rng.integers(len(GREENS)))], rng.uniform(0.85, 1.15))
    # Behind some flowers stand others, of the same kind or not: the sharp one in front gives the image its name.
    behind = species if rng.random() < view.same_kind else SPECIES[int(rng.integers(len(SPECIES)))]
    colours = {kind: _tinted(rng, _KINDS[kind][1]) for kind in {behind: 0, species: 0}}
    for kind, depth in [*((behind, depth) for depth in _depths(rng, view)), (species, 1.0)]:
        layer = np.zeros((height, width, 4), np.float32)
        _KINDS[kind][0](Pen(layer, rng, light, green), _pose(rng, height, width, depth, view), colours[kind])
        lay(image, layer if depth == 1 else _out_of_focus(layer, rng), shadow=0.3, reach_px=height // 40)
    if rng.random() < view.occluded:
        occlude(image, rng)
    return image


def _out_of_focus(layer: Pixels, rng: np.random.Generator) -> Pixels:
    """Return a layer blurred, and a little darker than what stands before it."""
    dim = rng.uniform(0.7, 0.95)
    return cv2.multiply(cv2.GaussianBlur(layer, (0, 0), rng.uniform(1.5, 4.5)), np.array([dim, dim, dim, 1]))


def _depths(rng: np.random.Generator, view: View) -> list[float]:
    """Return how near each companion is (the main flower is at 1), the farthest first."""
    return sorted(rng.uniform(*view.companion_depth, int(rng.choice(view.companions))))


def _pose(rng: np.random.Generator, height: int, width: int, depth: float, view: View) -> Pose:
    side, spread = min(height, width), view.spread if depth == 1 else view.spread_behind
    at: Point = (width * (0.5 + rng.uniform(-spread, spread)), height * (0.44 + rng.uniform(-spread, spread)))
    radius_px, tilt = side * rng.uniform(*view.radius) * depth, min(abs(rng.normal(0, 0.5)), 1.1)
    return Pose(at, radius_px, float(rng.normal(0, 0.25)), tilt, rng.uniform(0, 6.283))


def _tinted(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    """Return one of the colours, a little varied."""
    colour = np.array(colours[int(rng.integers(len(colours)))])
    r, g, b = np.clip(colour * rng.uniform(0.85, 1.05) + rng.normal(0, 0.035, 3), 0.02, 1)
    return float(r), float(g), float(b)
