"""The water of a pond seen from above, with its bank, and what drifts on it that is no class."""

from collections.abc import Callable

import cv2
import numpy as np

from eightgig.data.samples.painting import Colour, Pixels, Point, cloud, deepen, shade
from eightgig.data.samples.parts import Sheet, blank_sheet, finish, mark, oval, part, ribbon

_WATERS: tuple[Colour, ...] = (
    (0.15, 0.30, 0.27),
    (0.22, 0.40, 0.50),
    (0.30, 0.50, 0.50),
    (0.40, 0.36, 0.24),
    (0.52, 0.59, 0.62),
    (0.30, 0.39, 0.18),
    (0.12, 0.19, 0.24),
)
_BANKS: tuple[Colour, ...] = ((0.34, 0.46, 0.18), (0.62, 0.55, 0.40), (0.36, 0.28, 0.20), (0.55, 0.55, 0.53))
_PADS: tuple[Colour, ...] = ((0.24, 0.46, 0.18), (0.36, 0.52, 0.22), (0.42, 0.42, 0.16), (0.45, 0.26, 0.18))
_LEAVES: tuple[Colour, ...] = ((0.80, 0.45, 0.12), (0.70, 0.20, 0.10), (0.85, 0.72, 0.20), (0.42, 0.30, 0.16))
_STONES: tuple[Colour, ...] = ((0.50, 0.50, 0.48), (0.38, 0.34, 0.28), (0.62, 0.57, 0.48), (0.30, 0.36, 0.28))


def water(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Return an empty pond (height, width, 3), RGB 0 to 1: depth, ripples, what floats or lies there, some with a bank.

    It is painted at half size, since it is soft.
    """
    rows, columns = (height + 1) // 2, (width + 1) // 2
    depth = 1 + rng.uniform(0.1, 0.35) * cloud(rng, rows, columns)
    image = cv2.merge([depth * channel for channel in shade(_pick(rng, _WATERS), rng.uniform(0.8, 1.2))])
    if rng.random() < 0.4:
        _scatter(image, rng, _STONES, (0.01, 0.035))
    _SURFACES[int(rng.integers(len(_SURFACES)))](image, rng)
    if rng.random() < 0.3:
        _scatter(image, rng, _PADS[:2], (0.004, 0.012))
    if rng.random() < 0.35:
        _bank(image, rng)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def _waves(image: Pixels, rng: np.random.Generator) -> None:
    """Lay the stripes that a breeze makes."""
    height, width = image.shape[:2]
    angle = rng.uniform(0, np.pi)
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None] * np.float32(np.sin(angle))
    x = np.linspace(0, 1, width, dtype=np.float32)[None] * np.float32(np.cos(angle))
    crest = np.sin((x + y + 0.06 * cloud(rng, height, width)) * np.float32(rng.uniform(30, 90)))
    image *= (1 + rng.uniform(0.03, 0.10) * crest)[..., None]


def _glints(image: Pixels, rng: np.random.Generator) -> None:
    """Lay the web of light that small waves throw."""
    web = 1 - np.abs(cloud(rng, *image.shape[:2], coarsest=9, octaves=2))
    image += (rng.uniform(0.08, 0.25) * np.clip(web, 0, 1) ** 8)[..., None]


def _still(image: Pixels, rng: np.random.Generator) -> None:
    """Lay the reflection of a cloudy sky."""
    sky = np.clip(cloud(rng, *image.shape[:2], coarsest=2, octaves=3), 0, 1)[..., None]
    image += rng.uniform(0.1, 0.4) * sky * (np.array([0.75, 0.82, 0.88], np.float32) - image)


_SURFACES: tuple[Callable[[Pixels, np.random.Generator], None], ...] = (_waves, _glints, _still)


def _scatter(image: Pixels, rng: np.random.Generator, colours: tuple[Colour, ...], radius: tuple[float, float]) -> None:
    """Dot the image with stones or duckweed; the radius is a share of its height."""
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(15, 60))):
        at = (int(rng.integers(width)), int(rng.integers(height)))
        size = max(1, round(height * rng.uniform(*radius)))
        colour = shade(_pick(rng, colours), rng.uniform(0.6, 1.0))
        cv2.ellipse(image, at, (size, max(1, round(size * 0.7))), rng.uniform(0, 180), 0, 360, colour, -1)


def _bank(image: Pixels, rng: np.random.Generator) -> None:
    """Lay grass, sand, earth or gravel along one side."""
    height, width = image.shape[:2]
    angle = rng.uniform(0, 2 * np.pi)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.float32(np.sin(angle))
    x = np.linspace(-1, 1, width, dtype=np.float32)[None] * np.float32(np.cos(angle))
    inland = (x + y + 0.15 * cloud(rng, height, width) - rng.uniform(0.55, 0.9)) * 25
    grain = 1 + 0.3 * cloud(rng, height, width, coarsest=30, octaves=2)
    share = np.clip(inland, 0, 1)[..., None]
    image *= (1 - 0.35 * np.clip(inland + 1.5, 0, 1))[..., None]
    image += share * (np.asarray(_pick(rng, _BANKS), np.float32) * grain[..., None] - image)


def _lily_pad(sheet: Sheet) -> None:
    """A round leaf with a notch and ribs."""
    colour = _pick(sheet.rng, _PADS)
    leaf = oval(0, 0, sheet.between(0.85, 1), 1)
    leaf[0] = (0.0, 0.1)
    part(sheet, colour, leaf, relief=0.15)
    tips = ((0.85 * float(np.sin(angle)), 0.85 * float(np.cos(angle))) for angle in np.linspace(0.5, 5.8, 8))
    ribs = (ribbon((0, 0), (x / 2, y / 2), (x, y), 0.03, rise=0.1) for x, y in tips)
    mark(sheet, shade(colour, 1.35), *ribs, strength=0.6)


def _fallen_leaf(sheet: Sheet) -> None:
    """A curved pointed leaf with its stalk."""
    colour, bend = _pick(sheet.rng, _LEAVES), sheet.between(-0.4, 0.4)
    part(sheet, shade(colour, 0.6), ribbon((0, -0.6), (0, -0.8), (bend / 2, -1), 0.04, rise=0.1, fall=0.1))
    blade = ribbon((0, -0.7), (bend, 0), (0, 1), sheet.between(0.25, 0.5), rise=0.5, fall=0.8)
    part(sheet, colour, blade, relief=0.3)
    mark(sheet, deepen(colour, 0.6), ribbon((0, -0.7), (bend, 0), (0, 0.9), 0.03, rise=0.1), strength=0.8)


def _stick(sheet: Sheet) -> None:
    """A bent twig."""
    stem = ribbon((0, -1), (sheet.between(-0.3, 0.3), 0), (0, 1), 0.06, rise=0.1, fall=0.2)
    twig = ribbon((0, 0), (0.1, 0.3), (sheet.between(-0.5, 0.5), 0.6), 0.04, rise=0.1)
    part(sheet, _pick(sheet.rng, _LEAVES[3:] + _STONES[1:3]), stem, twig)


def _stone(sheet: Sheet) -> None:
    """A smooth boulder with a few flecks."""
    colour = _pick(sheet.rng, _STONES)
    part(sheet, colour, oval(0, 0, sheet.between(0.6, 0.95), 0.95), relief=0.6)
    places = sheet.rng.uniform(-0.6, 0.6, (4, 2)).tolist()
    flecks = (oval(x, y, size, size) for x, y in places if (size := sheet.between(0.03, 0.12)))
    mark(sheet, deepen(colour, 0.8), *flecks, strength=0.5)


_DRIFT: tuple[Callable[[Sheet], None], ...] = (_lily_pad, _lily_pad, _fallen_leaf, _stick, _stone)


def draw_drift(seed: int, length_px: float, light: Point) -> Pixels:
    """Draw something that is no class, for `parts.place`: premultiplied RGBA float32, side x side x 4."""
    sheet = blank_sheet(length_px, np.random.default_rng(seed), light)
    _DRIFT[int(sheet.rng.integers(len(_DRIFT)))](sheet)
    return finish(sheet, 0.15)


def _pick(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    return colours[int(rng.integers(len(colours)))]
