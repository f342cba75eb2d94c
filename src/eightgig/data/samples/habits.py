"""Flowers seen from the side: tulip, iris and lavender."""

import numpy as np
from numpy.typing import NDArray

from eightgig.data.samples.blossoms import Pose, leaf, stem
from eightgig.data.samples.painting import (
    Colour,
    Pen,
    Point,
    Shape,
    Sprite,
    blend,
    curve,
    deepen,
    frame,
    petal,
    shade,
    stamp,
    stroke,
)


def tulip(pen: Pen, pose: Pose, petal_colour: Colour) -> None:
    """A cup of six ovate petals on one straight stem, with broad blades that rise from the ground."""
    size = pose.radius_px * 1.75
    base = np.array(pose.at) - pose.axis * size * 0.45
    points = stem(pen, Pose(tuple(base), pose.radius_px, pose.lean, 0, 0), max(3.0, pose.radius_px * 0.14), curl=0.12)
    for side in (-1, 1):
        blade = Shape(
            rise=0.35, fall=0.8, vein_style="parallel", vein_count=3, veins=0.05, bend=side * pen.between(0.2, 1.5)
        )
        length_px = size * pen.between(1.2, 1.9)
        leaf(
            pen,
            blade,
            tuple(points[int(pen.rng.integers(12, 17))]),
            side * pen.between(0.1, 0.5),
            (length_px, size * 0.17),
        )
    _cup(pen, tuple(base), pose.lean, size, petal_colour)


def _cup(pen: Pen, base: Point, lean: float, size: float, petal_colour: Colour) -> None:
    """Lay back, side and front petals; the more open the cup, the further the sides lean out."""
    opening, deep = pen.between(0.06, 0.42), deepen(petal_colour, 0.7)
    tip = blend(petal_colour, (1.0, 0.95, 0.75), pen.between(0, 0.35))
    flare = pen.between(0.45, 0.75)
    for turn, length, width, gain, bend in (
        (-0.45 * opening, 0.98, 0.27, 0.72, 0.0),
        (0.5 * opening, 0.96, 0.27, 0.76, 0.0),
        (-opening - 0.12, 0.94, 0.3, 0.92, 0.22),
        (opening + 0.12, 0.94, 0.3, 0.97, -0.22),
        (pen.between(-0.12, 0.12), pen.between(0.8, 0.92), 0.36, 1.05, 0.0),
    ):
        shape = Shape(
            rise=0.42, fall=flare, veins=0.05, vein_count=6, rim=0.16, fold=0.3, bend=bend * pen.between(0.6, 1.3)
        )
        sprite = petal(pen.rng, shape, (size * length, size * width), (deep, tip))
        lit = gain * (1 + 0.12 * pen.light[0] * np.sign(turn))
        stamp(pen.layer, sprite, frame(base, lean + turn, (size * length, size * width)), gain=float(lit), shadow=0.45)


def iris(pen: Pen, pose: Pose, petal_colour: Colour) -> None:
    """Three petals that stand and three that fall, each fall with a yellow beard; sword leaves."""
    size = pose.radius_px * 1.25
    points = stem(pen, pose, max(3.0, size * 0.1), curl=0.1)
    for side in (-1, 1, -1):
        sword = Shape(
            rise=0.25, fall=0.7, vein_style="parallel", vein_count=2.5, veins=0.06, bend=side * pen.between(0, 1.0)
        )
        leaf(
            pen,
            sword,
            tuple(points[int(pen.rng.integers(13, 19))]),
            side * pen.between(0.05, 0.35),
            (size * pen.between(1.6, 2.2), size * 0.1),
        )
    paler = blend(petal_colour, (1.0, 0.97, 0.95), pen.between(0.0, 0.55))
    ruffle = pen.between(0.015, 0.04)
    sheath = Shape(rise=0.3, fall=0.8, vein_style="parallel", vein_count=2)
    leaf(pen, sheath, tuple(points[6]), pose.lean + pen.between(-0.1, 0.1), (size * 0.75, size * 0.09))
    for behind in (-1.35, 1.35):
        _fall(pen, pose, size, petal_colour, (ruffle, behind * pen.between(0.9, 1.1), 0.0, 0.55))
    standing = Shape(rise=0.85, fall=0.34, ruffle=ruffle, veins=0.07, vein_count=5, rim=0.2, fold=0.3)
    spread = pen.between(0.2, 0.4)
    for turn, gain in ((0.0, 0.72), (-spread, 0.95), (spread, 1.0)):
        sprite = petal(pen.rng, standing, (size, size * 0.36), (deepen(paler, 0.6), paler))
        stamp(pen.layer, sprite, frame(pose.at, pose.lean + turn, (size, size * 0.36)), gain=gain)
    droop, arch = pen.between(1.75, 2.1), pen.between(0.9, 1.4)
    for turn, bend, length in ((-droop, -arch, 0.95), (droop, arch, 0.95), (np.pi + pen.between(-0.2, 0.2), 0.0, 0.88)):
        _fall(pen, pose, size, petal_colour, (ruffle, turn, bend, length))


def _fall(pen: Pen, pose: Pose, size: float, petal_colour: Colour, hang: tuple[float, float, float, float]) -> None:
    """Lay one falling petal with its pale signal and its beard."""
    ruffle, turn, bend, length = hang
    shape = Shape(rise=0.8, fall=0.3, ruffle=ruffle, veins=0.13, vein_count=4, rim=0.22, fold=0.2, bend=bend)
    blotch = ((0.95, 0.93, 0.86), pen.between(0.3, 0.42))
    wide = size * (0.29 if bend else 0.36)
    sprite = petal(pen.rng, shape, (size * length, wide), (petal_colour, shade(petal_colour, 0.8)), blotch=blotch)
    angle = pose.lean + turn
    stamp(pen.layer, sprite, frame(pose.at, angle, (size * length, wide)), shadow=0.45)
    beard = Shape(rise=0.4, fall=0.5, teeth=0.5, veins=0.3, bend=bend * 0.4)
    hairs = petal(pen.rng, beard, (size * 0.45, size * 0.065), ((0.85, 0.5, 0.05), (0.99, 0.84, 0.2)))
    stamp(pen.layer, hairs, frame(pose.at, angle, (size * 0.45, size * 0.065)))


def lavender(pen: Pen, pose: Pose, petal_colour: Colour) -> None:
    """A spray of slender spikes, each of many tiny blossoms in whorls, over narrow grey-green leaves."""
    count, size = int(pen.rng.integers(4, 9)), pose.radius_px * 2.3
    foot = np.array(pose.at) - pose.axis * size * 0.9
    narrow = Shape(rise=0.4, fall=0.6, vein_style="parallel", vein_count=0.5)
    blade = petal(pen.rng, narrow, (size * 0.45, size * 0.022), (shade(pen.green, 0.75), shade(pen.green, 1.1)))
    for _ in range(10):
        at, length_px = foot + pen.rng.normal(0, 0.08, 2) * size, size * pen.between(0.3, 0.55)
        matrix = frame(tuple(at), pose.lean + pen.between(-1.0, 1.0), (length_px, size * 0.022))
        stamp(pen.layer, blade, matrix, gain=pen.between(0.8, 1.2))
    whorls = [_whorl(pen, petal_colour, size * 0.075) for _ in range(3)]
    for turn in np.linspace(-0.42, 0.42, count) + pen.rng.normal(0, 0.07, count):
        angle = pose.lean + float(turn)
        reach = size * pen.between(1.0, 1.35)
        top = foot + np.array([np.sin(angle), -np.cos(angle)]) * reach
        knee = (foot + top) / 2 + pen.rng.normal(0, 0.04, 2) * size
        points = curve(tuple(top), tuple(knee), tuple(foot), 60)
        stroke(pen.layer, points, max(2.0, size * 0.014), shade(pen.green, 0.95))
        _spike(pen, points, whorls, size * 0.075)


def _whorl(pen: Pen, petal_colour: Colour, length_px: float) -> Sprite:
    """Paint one ring of tiny blossoms around a stem, seen from the side: its unit is the length of a blossom."""
    unit = max(6.0, length_px)
    layer = np.zeros((round(unit * 1.8), round(unit * 2.8), 4), np.float32)
    shape = Shape(rise=0.5, fall=0.4, notch=0.12, veins=0.15, vein_count=1.5, rim=0.3, fold=0.3)
    at = (layer.shape[1] / 2, layer.shape[0] - 0.6 * unit)
    for turn in (-1.15, 1.15, -0.6, 0.6, 0.0):
        tone = shade(petal_colour, pen.between(0.75, 1.15))
        floret = petal(pen.rng, shape, (unit, unit * 0.4), (deepen(blend(tone, pen.green, 0.2), 0.5), tone))
        stamp(layer, floret, frame(at, turn * pen.between(0.8, 1.15), (unit, unit * 0.4)), shadow=0.3)
    return Sprite(layer, layer.shape[1] / 2 / unit, -0.6, layer.shape[0] / unit - 0.6)


def _spike(pen: Pen, points: NDArray[np.float64], whorls: list[Sprite], length_px: float) -> None:
    """Lay whorls along the upper part of a stem, lowest first, smaller towards the top."""
    heading = float(np.arctan2(*(points[0] - points[8]) * [1, -1]))
    count = int(pen.rng.integers(8, 12))
    for step in range(count):
        part = 1 - step / (count - 1)
        at = points[int(part * 26) + (4 if step == 0 else 0)]
        unit = length_px * (0.6 + 0.4 * min(1.0, part * 2.5))
        matrix = frame(tuple(at), heading + pen.between(-0.15, 0.15), (unit, unit * float(pen.rng.choice([-1, 1]))))
        stamp(pen.layer, whorls[int(pen.rng.integers(len(whorls)))], matrix, gain=pen.between(0.85, 1.12), shadow=0.25)
