"""What lies behind and in front of a flower, and the light on all of it."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import cv2
import numpy as np

from eightgig.data.samples.painting import Colour, Pixels, Shape, Sprite, cloud, frame, lay, petal, shade, stamp

T = TypeVar("T")

GREENS: tuple[Colour, ...] = (
    (0.22, 0.42, 0.13),
    (0.30, 0.50, 0.18),
    (0.38, 0.52, 0.24),
    (0.20, 0.38, 0.22),
    (0.46, 0.56, 0.22),
)
SPECKS: tuple[Colour, ...] = (
    (0.96, 0.95, 0.9),
    (0.95, 0.78, 0.2),
    (0.85, 0.2, 0.2),
    (0.9, 0.5, 0.65),
    (0.5, 0.35, 0.75),
    (0.35, 0.5, 0.85),
    (0.95, 0.55, 0.2),
)


def _pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]


def _ground(rng: np.random.Generator, shape: tuple[int, int], colours: tuple[Colour, Colour], rough: float) -> Pixels:
    """Return an image (height, width, 3) that goes from one colour to another, with soft patches."""
    (height, width), (top, bottom) = shape, colours
    part = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    plain = np.asarray(top, np.float32) * (1 - part) + np.asarray(bottom, np.float32) * part
    return plain * (1 + np.float32(rough) * cloud(rng, height, width))[..., None]


def _soften(image: Pixels, sigma: float) -> Pixels:
    return cv2.GaussianBlur(image, (0, 0), sigma)


def foliage(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Leaves at several depths, out of focus."""
    image = _ground(rng, (height, width), ((0.10, 0.18, 0.08), (0.06, 0.12, 0.05)), 0.3)
    shape = Shape(rise=0.5, fall=0.7, vein_style="pinnate", veins=0.08)
    length = height * rng.uniform(0.28, 0.36)
    for depth in (0.5, 0.75, 1.0):
        leaves = [_green(rng, shape, length, 0.28, depth) for _ in range(4)]
        for _ in range(12):
            size = length * rng.uniform(0.7, 1.3)
            at = (rng.uniform(0, width), rng.uniform(0, height))
            stamp(
                image,
                _pick(rng, leaves),
                frame(at, rng.uniform(0, 6.283), (size, size * 0.28)),
                gain=rng.uniform(0.75, 1.2),
            )
        image = _soften(image, rng.uniform(1.0, 3.0) / depth)
    return image


def _green(rng: np.random.Generator, shape: Shape, length: float, slender: float, gain: float) -> Sprite:
    green = shade(_pick(rng, GREENS), gain * rng.uniform(0.8, 1.15))
    return petal(rng, shape, (length, length * slender), (shade(green, 0.65), green))


def bokeh(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Soft discs of light from far behind."""
    image = _ground(rng, (height, width), (shade(_pick(rng, GREENS), 0.9), shade(_pick(rng, GREENS), 0.5)), 0.25)
    for _ in range(int(rng.integers(14, 34))):
        glow = np.zeros_like(image)
        centre, radius = (int(rng.integers(width)), int(rng.integers(height))), int(height * rng.uniform(0.02, 0.09))
        tone = _pick(rng, SPECKS) if rng.random() < 0.35 else shade(_pick(rng, GREENS), 1.7)
        cv2.circle(glow, centre, radius, tone, -1)
        image += glow * np.float32(rng.uniform(0.12, 0.4))
    return _soften(image, rng.uniform(1.5, 4))


def sky(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Clouds over a low, blurred horizon."""
    top = ((0.25, 0.48, 0.80), (0.45, 0.62, 0.85), (0.72, 0.76, 0.80), (0.86, 0.66, 0.55))[int(rng.integers(4))]
    image = _ground(rng, (height, width), (top, (0.86, 0.88, 0.88)), 0.03)
    drift = np.clip(cloud(rng, height, width) * rng.uniform(0.4, 1.3), 0, 0.8)[..., None]
    image = image * (1 - drift) + drift
    if rng.random() < 0.6:
        line = (rng.uniform(0.65, 0.9) + 0.06 * cloud(rng, 1, width, coarsest=2)) * height
        hills = _soften((np.arange(height)[:, None] > line).astype(np.float32), 2)[..., None]
        image = image * (1 - hills) + hills * _ground(
            rng, (height, width), (shade(_pick(rng, GREENS), 1.1), _pick(rng, GREENS)), 0.2
        )
    return _soften(image, 1.5)


def grass(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Blades that stand in front of a meadow, some with specks of other flowers."""
    image = _ground(rng, (height, width), (shade(_pick(rng, GREENS), 1.2), (0.10, 0.18, 0.06)), 0.2)
    for _ in range(int(rng.integers(0, 24))):
        cv2.circle(
            image,
            (int(rng.integers(width)), int(rng.integers(height))),
            int(height * rng.uniform(0.008, 0.03)),
            _pick(rng, SPECKS),
            -1,
        )
    image = _soften(image, rng.uniform(1.5, 3))
    blades = [
        _green(
            rng,
            Shape(rise=0.2, fall=0.8, bend=rng.normal(0, 3.0), vein_style="parallel", vein_count=1),
            90,
            0.05,
            rng.uniform(0.7, 1.15),
        )
        for _ in range(10)
    ]
    for _ in range(50):
        length, at = height * rng.uniform(0.3, 0.8), (rng.uniform(0, width), height * rng.uniform(0.85, 1.15))
        stamp(image, _pick(rng, blades), frame(at, rng.normal(0, 0.2), (length, height * 0.012)), shadow=0.2)
    return _soften(image, rng.uniform(0.6, 2.2))


def soil(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """A bed of earth with stones and a few fallen leaves."""
    tone = ((0.33, 0.23, 0.16), (0.42, 0.33, 0.25), (0.22, 0.17, 0.13))[int(rng.integers(3))]
    image = _ground(rng, (height, width), (shade(tone, 1.15), shade(tone, 0.75)), 0.2)
    image *= (1 + 0.35 * cloud(rng, height, width, coarsest=24, octaves=2))[..., None]
    grey = rng.uniform(0.3, 0.6)
    stones = [
        petal(rng, Shape(rise=0.4, fall=0.4, fold=0.4, veins=0), (20, 10), (shade(colour, 0.7), colour))
        for colour in ((grey, grey * 0.93, grey * 0.85), shade(tone, 1.5), shade(_pick(rng, GREENS), 0.8))
    ]
    for _ in range(int(rng.integers(15, 40))):
        size, at = height * rng.uniform(0.01, 0.035), (rng.uniform(0, width), rng.uniform(0, height))
        stamp(image, _pick(rng, stones), frame(at, rng.uniform(0, 6.283), (size * 2, size)), shadow=0.5)
    return _soften(image, rng.uniform(0.6, 2.0))


def fence(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Weathered or painted boards with gaps between them."""
    tone = ((0.55, 0.48, 0.40), (0.80, 0.79, 0.76), (0.40, 0.27, 0.18), (0.45, 0.55, 0.62))[int(rng.integers(4))]
    boards = int(rng.integers(3, 8))
    x = np.linspace(0, boards, width, dtype=np.float32) + np.float32(rng.uniform(0, 1))
    gap = 1 - 0.75 * np.exp(-((np.minimum(x % 1, 1 - x % 1) / 0.035) ** 2))
    each = 1 + 0.12 * rng.standard_normal(boards + 2).astype(np.float32)[x.astype(int)]
    grain = cv2.resize(
        rng.standard_normal((6, width), dtype=np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    image = _ground(rng, (height, width), (shade(tone, 1.1), shade(tone, 0.85)), 0.06)
    return _soften(image * (gap * each * (1 + 0.05 * grain))[..., None], rng.uniform(0.6, 2.2))


BACKGROUNDS: tuple[Callable[[np.random.Generator, int, int], Pixels], ...] = (foliage, bokeh, sky, grass, soil, fence)


def background(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Return a background (height, width, 3) of one of six kinds, painted at half size since it is out of focus."""
    paint = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
    return cv2.resize(paint(rng, height // 2, width // 2), (width, height), interpolation=cv2.INTER_LINEAR)


def occlude(image: Pixels, rng: np.random.Generator) -> None:
    """Lay one to three blurred blades or a leaf across the image, in place."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    over = np.zeros((height, width, 4), np.float32)
    if rng.random() < 0.4:
        shape = Shape(rise=0.5, fall=0.8, bend=rng.normal(0, 0.3), vein_style="pinnate")
        side = int(rng.choice([-1, 1]))  # a leaf reaches in from the left or the right
        at, length = (width * (0.5 - 0.5 * side), height * rng.uniform(0.4, 1.0)), height * rng.uniform(0.4, 0.6)
        stamp(
            over,
            _green(rng, shape, length, 0.25, rng.uniform(0.8, 1.2)),
            frame(at, side * rng.uniform(0.7, 1.4), (length, length * 0.25)),
        )
    else:
        for _ in range(int(rng.integers(1, 4))):
            shape = Shape(rise=0.2, fall=0.9, bend=rng.normal(0, 4.0), vein_style="parallel", vein_count=1.5)
            at, length = (rng.uniform(0.1, 0.9) * width, height * 1.05), height * rng.uniform(0.6, 1.0)
            stamp(
                over,
                _green(rng, shape, length, 0.025, rng.uniform(0.8, 1.2)),
                frame(at, rng.normal(0, 0.3), (length, length * 0.025)),
            )
    over = _soften(over, rng.uniform(0.5, 2.5))
    lay(
        image,
        cv2.resize(
            over, (width * 2 + image.shape[1] % 2, height * 2 + image.shape[0] % 2), interpolation=cv2.INTER_LINEAR
        ),
    )


def illuminate(
    image: Pixels,
    rng: np.random.Generator,
    light: tuple[float, float],
    *,
    exposure: tuple[float, float] = (0.68, 1.2),
) -> Pixels:
    """Return the image under its light: direction, warmth, dappled shade, haze, vignette and exposure."""
    height, width = image.shape[:2]
    y, x = np.meshgrid(
        np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32), indexing="ij"
    )
    towards = x * light[0] + y * light[1]
    gain = 1 + rng.uniform(0, 0.28) * towards - rng.uniform(0, 0.22) * (x * x + y * y) / 2
    if rng.random() < 0.3:
        gain *= 1 - rng.uniform(0.2, 0.45) * np.clip(1.4 * cloud(rng, height, width, coarsest=4, octaves=2) - 0.2, 0, 1)
    warmth = rng.normal(0, 0.06)
    tint = np.array([1 + warmth, 1.0, 1 - warmth], np.float32) * np.float32(rng.uniform(*exposure))
    image = image * gain[..., None].astype(np.float32) * tint
    if rng.random() < 0.25:
        glow = rng.uniform(0.1, 0.4) * np.exp(-((1.3 - towards) ** 2))[..., None]
        image = image * (1 - glow) + glow * np.array([1.0, 0.95, 0.82], np.float32)
    return image.astype(np.float32)
