"""Flowers seen from the front: daisy, sunflower, poppy and rose, each with its own stem and leaves."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from eightgig.data.samples.painting import (
    Colour,
    Pen,
    Pixels,
    Point,
    Shape,
    Size,
    Sprite,
    blend,
    curve,
    deepen,
    disk,
    frame,
    petal,
    shade,
    stamp,
    stroke,
)

GOLDEN_ANGLE = 2.39996


@dataclass(frozen=True)
class Pose:
    """Where a flower is, how large, and how it is held."""

    at: Point  # centre of the blossom, px
    radius_px: float
    lean: float  # turn of the plant's axis from upright, radians
    tilt: float  # 0 faces the viewer, pi/2 is seen from the side
    spin: float  # turn of the blossom about its own axis

    @property
    def axis(self) -> NDArray[np.float64]:
        """The plant's up, in pixels."""
        return np.array([np.sin(self.lean), -np.cos(self.lean)])

    @property
    def head(self) -> Pixels:
        """The matrix (2, 2) from the plane of the blossom to the image."""
        sin, cos, squash = np.sin(self.lean), np.cos(self.lean), np.cos(self.tilt)
        return np.array([[cos, -sin * squash], [sin, cos * squash]], np.float32)


def place(pose: Pose, angle: float, size: Size, *, cup: float = 0) -> Pixels:
    """Return the matrix (2, 3) of one petal of a tilted blossom, raised from its plane by `cup` radians."""
    length_px, half_width_px = size
    along = np.array([np.sin(angle), -np.cos(angle)])
    across = np.array([np.cos(angle), np.sin(angle)])
    rise = pose.axis * np.sin(pose.tilt) * np.sin(cup)
    return np.column_stack(
        [pose.head @ across * half_width_px, (pose.head @ along * np.cos(cup) + rise) * length_px, pose.at]
    ).astype(np.float32)


def gain_of(pen: Pen, matrix: Pixels) -> float:
    """Return how bright a petal is: those that point away from the light are darker."""
    along = matrix[:, 1] / (np.linalg.norm(matrix[:, 1]) + 1e-6)
    return float(1 + 0.13 * (along @ np.array(pen.light))) * pen.between(0.94, 1.05)


def stem(pen: Pen, pose: Pose, width_px: float, *, curl: float = 0.25) -> NDArray[np.float64]:
    """Draw a stem from the blossom to below the image and give its points (24, 2), the blossom first."""
    x, y = pose.at
    length_px = pen.layer.shape[0] * 1.1 - y + pose.radius_px
    foot = (x - np.tan(np.clip(pose.lean, -0.6, 0.6)) * length_px * 0.6, y + length_px)
    knee = (x - pose.axis[0] * length_px * 0.5 + pen.between(-curl, curl) * length_px * 0.5, y + length_px * 0.5)
    points = curve(pose.at, knee, foot)
    stroke(pen.layer, points, width_px, pen.green, light_x=float(np.sign(pen.light[0]) or 1))
    return points


def leaf(pen: Pen, shape: Shape, at: Point, angle: float, size: Size) -> None:
    """Lay one leaf whose foot is at a point; angle 0 points up."""
    dark = shade(pen.green, pen.between(0.6, 0.85))
    sprite = petal(pen.rng, shape, size, (dark, shade(pen.green, pen.between(0.9, 1.25))))
    stamp(pen.layer, sprite, frame(at, angle, size))


def ring(
    pen: Pen,
    pose: Pose,
    sprites: list[Sprite],
    count: int,
    size: Size,
    *,
    cup: float = 0,
    offset: float = 0,
) -> None:
    """Lay a ring of petals, those on the far side first; sizes are parts of the radius, `cup` raises them."""
    angles = pose.spin + offset + np.arange(count) * 2 * np.pi / count + pen.rng.normal(0, 0.35 / count, count)
    for angle in sorted(angles, key=np.cos, reverse=True):
        scale = pose.radius_px * pen.between(0.93, 1.05)
        matrix = place(pose, angle, (size[0] * scale, size[1] * scale), cup=cup + pen.between(-0.1, 0.1))
        sprite = sprites[int(pen.rng.integers(len(sprites)))]
        stamp(pen.layer, sprite, matrix, gain=gain_of(pen, matrix))


def seed_head(pen: Pen, radius_px: float, count: int, inner: Colour, outer: Colour) -> Pixels:
    """Paint a domed disk of florets in the spiral of real flower heads: a square RGBA sprite."""
    side = int(np.clip(radius_px * 2, 16, 400))
    half = side / 2
    sprite = np.zeros((side, side, 4), np.float32)
    cv2.circle(sprite, (side // 2, side // 2), int(half * 0.93), (*shade(blend(inner, outer, 0.6), 0.45), 1.0), -1)
    for index in range(count, 0, -1):
        part = (index / count) ** 0.5
        x, y = half * (1 + 0.92 * part * np.array([np.cos(index * GOLDEN_ANGLE), np.sin(index * GOLDEN_ANGLE)]))
        dome = 0.72 + 0.4 * (1 - part) + 0.25 * part * ((x - half) * pen.light[0] + (y - half) * pen.light[1]) / half
        tone = shade(blend(inner, outer, part**2), dome * pen.between(0.8, 1.15))
        size = max(1, int(half * 0.95 / count**0.5))
        cv2.circle(sprite, (int(x), int(y)), size, (*shade(tone, 0.7), 1.0), -1)
        cv2.circle(sprite, (int(x + pen.light[0]), int(y + pen.light[1])), max(1, int(size * 0.6)), (*tone, 1.0), -1)
    return cv2.blur(sprite, (3, 3))


def daisy(pen: Pen, pose: Pose, petal_colour: Colour) -> None:
    """One ring or two of narrow, blunt rays around a small yellow button; bare stem, small spoon leaves low down."""
    points = stem(pen, pose, max(2.0, pose.radius_px * 0.07))
    for place_on_stem in (14, 17):
        at = points[place_on_stem]
        leaf(
            pen,
            Shape(rise=1.3, fall=0.4, vein_style="pinnate"),
            tuple(at),
            pen.between(-1.2, 1.2),
            (pose.radius_px * 0.8, pose.radius_px * 0.17),
        )
    count, width = int(pen.rng.integers(13, 24)), pen.between(0.085, 0.115)
    shape = Shape(
        rise=0.45, fall=0.28, notch=pen.between(0, 0.06), vein_style="parallel", vein_count=1.5, veins=0.06, rim=0.05
    )
    base = shade(petal_colour, 0.85)
    sprites = [petal(pen.rng, shape, (pose.radius_px, pose.radius_px * width), (base, petal_colour)) for _ in range(3)]
    cup = pen.between(-0.35, 0.25)
    ring(pen, pose, sprites, count, (1.0, width), cup=cup)
    if pen.rng.random() < 0.5:
        ring(pen, pose, sprites, count, (0.92, width), cup=cup + 0.1, offset=np.pi / count)
    button = pen.between(0.2, 0.3) * pose.radius_px
    lift = np.array(pose.at) + pose.axis * np.sin(pose.tilt) * button * 0.35
    florets = seed_head(pen, button, 90, (0.98, 0.78, 0.12), (0.88, 0.58, 0.06))
    disk(pen.layer, florets, tuple(lift), pose.head, button)


def sunflower(pen: Pen, pose: Pose, petal_colour: Colour) -> None:
    """Two rings of pointed flames around a wide dark seed head; thick hairy stem, large heart-shaped leaves."""
    points = stem(pen, pose, pose.radius_px * 0.17, curl=0.12)
    heart = Shape(rise=0.35, fall=0.9, vein_style="pinnate", veins=0.12, vein_count=4, ruffle=0.03)
    for index, side in ((8, 1), (11, -1), (15, 1)):
        angle = side * pen.between(1.0, 1.9)
        leaf(pen, heart, tuple(points[index]), angle, (pose.radius_px * pen.between(0.9, 1.2), pose.radius_px * 0.42))
    count, width = int(pen.rng.integers(17, 25)), pen.between(0.12, 0.16)
    shape = Shape(rise=0.5, fall=0.85, veins=0.09, vein_count=3, rim=0.05, bend=pen.between(-0.3, 0.3))
    base = shade(blend(petal_colour, (0.85, 0.35, 0.02), 0.35), 0.85)
    sprites = [petal(pen.rng, shape, (pose.radius_px, pose.radius_px * width), (base, petal_colour)) for _ in range(3)]
    cup = pen.between(-0.1, 0.3)
    ring(pen, pose, sprites, count, (1.0, width), cup=cup)
    ring(pen, pose, sprites, count, (0.9, width), cup=cup + 0.15, offset=np.pi / count)
    heart_radius = pen.between(0.46, 0.56) * pose.radius_px
    inner = ((0.42, 0.40, 0.12), (0.20, 0.12, 0.06), (0.30, 0.2, 0.06))[int(pen.rng.integers(3))]
    disk(pen.layer, seed_head(pen, heart_radius, 280, inner, (0.36, 0.19, 0.05)), pose.at, pose.head, heart_radius)


def poppy(pen: Pen, pose: Pose, petal_colour: Colour) -> None:
    """Four to six broad crumpled petals, dark at the base, around a capsule and a wreath of stamens; a nodding bud."""
    points = stem(pen, pose, max(2.0, pose.radius_px * 0.055), curl=0.5)
    _poppy_bud(pen, pose, points[16])
    for side in (-1, 1):
        feather = Shape(rise=0.8, fall=0.8, teeth=0.6, vein_style="pinnate", bend=side * 0.6)
        leaf(
            pen, feather, tuple(points[18]), side * pen.between(0.4, 1.2), (pose.radius_px * 1.1, pose.radius_px * 0.3)
        )
    shape = Shape(rise=0.62, fall=0.26, ruffle=pen.between(0.025, 0.05), veins=0.1, vein_count=7, rim=0.22, fold=0.3)
    blotch = ((0.09, 0.05, 0.09), pen.between(0.2, 0.32))
    size, width = pose.radius_px, 0.66 if (few := pen.rng.random() < 0.6) else 0.52
    base = deepen(petal_colour, 0.5)
    sprites = [petal(pen.rng, shape, (size, size * width), (base, petal_colour), blotch=blotch) for _ in range(4)]
    count, cup = (2, pen.between(0.1, 0.45)) if few else (3, pen.between(0.1, 0.45))
    ring(pen, pose, sprites, count, (1.0, width), cup=cup)
    ring(pen, pose, sprites, count, (0.9, width), cup=cup + 0.15, offset=np.pi / count)
    disk(pen.layer, _stamens(pen, size * 0.38), pose.at, pose.head, size * 0.38)
    capsule = size * 0.14
    disk(
        pen.layer,
        _capsule(capsule),
        tuple(np.array(pose.at) + pose.axis * np.sin(pose.tilt) * capsule),
        pose.head,
        capsule,
    )


def _poppy_bud(pen: Pen, pose: Pose, at: NDArray[np.float64]) -> None:
    side, reach = pen.rng.choice([-1, 1]), pose.radius_px
    top = (at[0] + side * reach * 1.1, at[1] - reach * 1.2)
    end = (top[0] + side * reach * 0.3, top[1] + reach * 0.35)
    stroke(
        pen.layer, curve(tuple(at), (top[0] - side * reach * 0.2, top[1] - reach * 0.5), end), reach * 0.05, pen.green
    )
    leaf(pen, Shape(rise=0.4, fall=0.4, veins=0.1, vein_count=2), end, np.pi - side * 0.2, (reach * 0.42, reach * 0.13))


def _stamens(pen: Pen, radius_px: float) -> Pixels:
    """Paint a wreath of dark threads with a dot at each end: a square RGBA sprite."""
    side = max(24, int(radius_px * 2))
    wreath, half = np.zeros((side, side, 4), np.uint8), side / 2
    for angle, part in zip(pen.rng.uniform(0, 6.283, 60), pen.rng.uniform(0.45, 0.93, 60), strict=True):
        tip = (round(half * (1 + part * np.cos(angle))), round(half * (1 + part * np.sin(angle))))
        cv2.line(wreath, (side // 2, side // 2), tip, (41, 28, 41, 255), 1, cv2.LINE_AA)
        cv2.circle(wreath, tip, max(1, round(half * 0.07)), (52, 38, 36, 255), -1, cv2.LINE_AA)
    return np.minimum(wreath, wreath[..., 3:]).astype(np.float32) / 255


def _capsule(radius_px: float) -> Pixels:
    side = max(14, int(radius_px * 2))
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    distance, ribs = np.hypot(x, y), np.cos(np.arctan2(y, x) * 9) ** 4
    alpha = np.clip((0.95 - distance) * side / 2, 0, 1)[..., None]
    light = (0.95 - 0.45 * distance**2 - 0.35 * ribs * (distance > 0.12))[..., None]
    return np.dstack([np.array([0.62, 0.72, 0.36]) * light * alpha, alpha]).astype(np.float32)


def rose(pen: Pen, pose: Pose, petal_colour: Colour) -> None:
    """Many broad petals wound around a closed heart; a thorny stem with toothed leaves in threes."""
    points = stem(pen, pose, max(3.0, pose.radius_px * 0.1))
    toothed = Shape(rise=0.5, fall=0.6, teeth=0.12, vein_style="pinnate", vein_count=6, veins=0.1)
    for index, side in ((8, 1), (12, -1)):
        heading = side * pen.between(0.9, 1.6)
        for turn in (-0.8, 0.8, 0.0):
            leaf(
                pen,
                toothed,
                tuple(points[index]),
                heading + turn,
                (pose.radius_px * pen.between(0.7, 0.9), pose.radius_px * 0.24),
            )
        thorn = (points[index + 2][0], points[index + 2][1])
        leaf(pen, Shape(rise=0.3, fall=1.0), thorn, -side * 1.2, (pose.radius_px * 0.12, pose.radius_px * 0.03))
    for angle in np.arange(5) * 1.257 + pose.spin:
        matrix = place(pose, angle, (pose.radius_px * 1.12, pose.radius_px * 0.1))
        stamp(pen.layer, petal(pen.rng, Shape(fall=1.0), (40, 6), (shade(pen.green, 0.7), pen.green)), matrix)
    _wound_petals(pen, pose, petal_colour)


def _wound_petals(pen: Pen, pose: Pose, petal_colour: Colour) -> None:
    """Lay petals from the outermost to the heart, each turned by the golden angle and a little smaller."""
    count, cup = int(pen.rng.integers(22, 32)), pen.between(0.2, 0.5)
    shape = Shape(
        rise=0.45, fall=pen.between(0.2, 0.3), ruffle=0.018, veins=0.03, vein_count=6, rim=0.3, fold=0.18, notch=0.03
    )
    deep = deepen(petal_colour, pen.between(0.9, 1.3))
    sprites = [
        petal(pen.rng, shape, (size, size * 0.72), (deep, shade(petal_colour, tone)))
        for size, tone in zip(
            pose.radius_px * np.array([1, 1, 0.7, 0.7, 0.4, 0.25]), (1.04, 1.0, 0.97, 0.93, 0.88, 0.84), strict=True
        )
    ]
    for index in range(count):
        part = index / (count - 1)
        reach = pose.radius_px * (1.0 - 0.86 * part**0.8)
        sprite = sprites[min(5, int(part * 5) + index % 2)]
        angle = pose.spin + index * GOLDEN_ANGLE
        matrix = place(pose, angle, (reach, reach * 0.72), cup=cup * (0.4 + part))
        stamp(pen.layer, sprite, matrix, gain=gain_of(pen, matrix), shadow=0.55)
