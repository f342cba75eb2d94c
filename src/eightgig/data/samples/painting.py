"""Petals, leaves and stems as soft sprites, and the few strokes that put them on a layer.

Colours are RGB in 0..1 (float32). A layer is premultiplied RGBA, so that laying one thing over another is one formula,
and a shadow can darken the plant without darkening what lies behind it.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[Any]  # float32; OpenCV's annotations promise less
Colour = tuple[float, float, float]
Point = tuple[float, float]
Size = tuple[float, float]  # length and half-width, px

SHORTEST_SPRITE_PX, LONGEST_SPRITE_PX = 12, 170
SPRITE_FINENESS = 0.75  # sprites are painted this much smaller than they are drawn; layers are averaged down anyway


class Sprite(NamedTuple):
    """A small premultiplied RGBA image with its own unit axes: v across (-1..1), u along (0 base .. 1 tip)."""

    rgba: Pixels
    reach: float  # the image spans v in -reach..reach
    low: float  # and u in low..high, tip at the top row
    high: float


@dataclass(frozen=True)
class Shape:
    """The outline and surface of a petal or leaf.

    The half-width along the petal is `u**rise * (1-u)**fall`, scaled to 1: a small `rise` gives a broad base, a small
    `fall` a blunt tip, and a `fall` near 1 a pointed one.
    """

    rise: float = 0.6
    fall: float = 0.5
    notch: float = 0.0  # depth of the dent in the tip, as a part of the length
    ruffle: float = 0.0  # how wavy the edge is
    bend: float = 0.0  # sideways curve of the midline, in half-widths
    veins: float = 0.08  # contrast of the veins
    vein_count: float = 5.0
    vein_style: Literal["fan", "pinnate", "parallel"] = "fan"
    rim: float = 0.12  # lightening towards the edge
    fold: float = 0.25  # darkening of the midline and one side, which makes the surface look curved
    teeth: float = 0.0  # depth of the saw-teeth of a leaf


@dataclass(frozen=True)
class Pen:
    """What every stroke of one plant shares: the layer it paints on, its randomness, and where the light comes from."""

    layer: Pixels
    rng: np.random.Generator
    light: Point  # unit vector towards the light, in pixels (y down)
    green: Colour

    def between(self, low: float, high: float) -> float:
        """Draw a number, evenly from low to high."""
        return float(self.rng.uniform(low, high))


def blend(one: Colour, other: Colour, part: float) -> Colour:
    """Mix two colours; part 0 is all `one`, part 1 all `other`."""
    r, g, b = (a + (c - a) * part for a, c in zip(one, other, strict=True))
    return r, g, b


def shade(colour: Colour, gain: float) -> Colour:
    """Lighten (gain > 1) or darken a colour, within 0..1."""
    r, g, b = (min(1.0, part * gain) for part in colour)
    return r, g, b


def deepen(colour: Colour, amount: float) -> Colour:
    """Return the colour of folds and shadows: richer rather than greyer, and warm where the colour is white."""
    r, g, b = (
        max(0.0, part * warm) ** (1 + amount) * (1 - 0.3 * amount)
        for part, warm in zip(colour, (1, 0.96, 0.9), strict=True)
    )
    return r, g, b


def cloud(rng: np.random.Generator, height: int, width: int, *, coarsest: int = 3, octaves: int = 4) -> Pixels:
    """Return soft random noise (height, width), about -1..1, from wide patches down to fine grain."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        cells = coarsest * 2**octave
        grid = rng.standard_normal((cells, cells), dtype=np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * np.float32(0.5 ** (octave + 1))
    return total


def _outline(shape: Shape, u: Pixels, v: Pixels, phase: float) -> tuple[Pixels, Pixels]:
    """Return the half-width at each place and the length coordinate after notch and ruffle."""
    u = u * (1 + shape.ruffle * np.cos(v * 5.1 + phase)) + shape.notch * np.exp(-((v / 0.3) ** 2)) * u**3
    inside = np.clip(u, 0, 1)
    peak = shape.rise / (shape.rise + shape.fall)
    half_width = (inside / peak) ** shape.rise * ((1 - inside) / (1 - peak)) ** shape.fall
    half_width = half_width * (1 + 1.5 * shape.ruffle * np.sin(inside * 17 + phase + np.sign(v)))
    if shape.teeth:
        half_width = half_width * (1 - shape.teeth * ((inside * 11) % 1))
    return half_width.astype(np.float32), inside.astype(np.float32)


def _veins(shape: Shape, u: Pixels, across: Pixels) -> Pixels:
    """Return the vein pattern, -1..1."""
    if shape.vein_style == "pinnate":
        midrib = np.exp(-((across / 0.07) ** 2))
        return np.maximum(np.cos(6.283 * shape.vein_count * (u - 0.3 * np.abs(across))) ** 7, 2.2 * midrib)
    bend = 1.0 if shape.vein_style == "parallel" else 1.6 - 0.6 * u
    return np.cos(6.283 * shape.vein_count * across * bend)


def petal(
    rng: np.random.Generator,
    shape: Shape,
    size: Size,
    colours: tuple[Colour, Colour],
    *,
    blotch: tuple[Colour, float] | None = None,
) -> Sprite:
    """Paint one petal or leaf, shaded from base to tip, with veins, a folded midline and a lighter rim.

    Args:
        rng: randomness of the edge and the grain.
        shape: outline and surface.
        size: what it will be drawn at; the sprite is painted nearly that large, so it is neither blurred nor jagged.
        colours: where the petal is attached, and at its tip.
        blotch: colour and reach (0..1) of a mark that spreads from the base.
    """
    (length_px, half_width_px), (base, tip) = size, colours
    reach, low, high = 1.25 + abs(shape.bend), -0.04, 1.08
    height = round(float(np.clip(length_px * SPRITE_FINENESS, SHORTEST_SPRITE_PX, LONGEST_SPRITE_PX)) * (high - low))
    width = round(float(np.clip(half_width_px * SPRITE_FINENESS, 4, LONGEST_SPRITE_PX / 2)) * 2 * reach)
    u, v = np.meshgrid(
        np.linspace(high, low, height, dtype=np.float32),
        np.linspace(-reach, reach, width, dtype=np.float32),
        indexing="ij",
    )
    v -= np.float32(shape.bend) * np.abs(u) * u
    half_width, along = _outline(shape, u, v, float(rng.uniform(0, 6.283)))
    edge_px = np.minimum((half_width - np.abs(v)) * (width / 2 / reach), u * height + 1)
    alpha = np.clip(edge_px + 0.5, 0, 1)

    across = np.clip(v / np.maximum(half_width, 0.02), -1, 1)
    grain = cloud(rng, height, width, coarsest=5, octaves=2)
    light = 1 + shape.veins * _veins(shape, along, across + 0.06 * grain) + 0.05 * grain
    light = light * (1 - shape.fold * (0.45 * np.exp(-((across / 0.25) ** 2)) + 0.4 * np.maximum(across, 0)))
    light = light * (0.80 + 0.2 * np.minimum(1, along * 2.2)) + shape.rim * across**4 * along
    mix = np.clip(along + 0.12 * grain, 0, 1)[..., None]
    rgb = np.asarray(base, np.float32) * (1 - mix) + np.asarray(tip, np.float32) * mix
    if blotch:
        mark = np.clip((blotch[1] - along - 0.25 * blotch[1] * np.cos(across * 9)) * 9, 0, 1)[..., None]
        rgb = rgb * (1 - mark) + np.asarray(blotch[0], np.float32) * mark
    light = light * alpha
    rgba = cv2.merge([*(cv2.extractChannel(rgb, channel) * light for channel in range(3)), alpha])
    return Sprite(np.minimum(rgba, alpha[..., None]), reach, low, high)


def frame(at: Point, angle: float, size: Size) -> Pixels:
    """Return the matrix (2, 3) that lays a sprite's unit axes at a point; angle 0 points up, growing clockwise."""
    sin, cos = np.sin(angle), np.cos(angle)
    length_px, half_width_px = size
    return np.array(
        [[cos * half_width_px, sin * length_px, at[0]], [sin * half_width_px, -cos * length_px, at[1]]], np.float32
    )


def stamp(layer: Pixels, sprite: Sprite, matrix: Pixels, *, gain: float = 1.0, shadow: float = 0.35) -> None:
    """Lay a sprite on a layer; `matrix` takes its (v, u) to pixels, `shadow` darkens what lies close under it."""
    height, width = sprite.rgba.shape[:2]
    step_v, step_u = 2 * sprite.reach / width, (sprite.high - sprite.low) / height
    to_unit = np.array([[step_v, 0, -sprite.reach], [0, -step_u, sprite.high], [0, 0, 1]], np.float32)
    full = matrix @ to_unit
    corners = full @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]], np.float32)
    x0, y0 = np.maximum(np.floor(corners.min(axis=1)).astype(int) - 1, 0)
    x1, y1 = np.minimum(np.ceil(corners.max(axis=1)).astype(int) + 2, (layer.shape[1], layer.shape[0]))
    if x1 <= x0 or y1 <= y0:
        return
    full[:, 2] -= (x0, y0)
    over = cv2.warpAffine(sprite.rgba, full, (int(x1 - x0), int(y1 - y0)), flags=cv2.INTER_LINEAR)
    if gain != 1.0:
        cv2.multiply(over, np.array([gain, gain, gain, 1.0]), dst=over)
    lay(layer[y0:y1, x0:x1], over, shadow=shadow, reach_px=max(2, round(0.09 * max(x1 - x0, y1 - y0))))


def lay(under: Pixels, over: Pixels, *, shadow: float = 0.0, reach_px: int = 3) -> None:
    """Lay premultiplied RGBA over a layer (or over a plain RGB image) of the same height and width, in place."""
    alpha = cv2.extractChannel(over, 3)
    left = 1 - alpha
    plant = left
    if shadow:
        plant = left * (1 - np.float32(shadow) * cv2.blur(alpha, (reach_px * 2 + 1, reach_px * 2 + 1)))
    # OpenCV works on whole channels here; the same broadcast in NumPy takes several times as long.
    if under.shape[2] == 4:
        cv2.multiply(under, cv2.merge([plant, plant, plant, left]), dst=under)
        cv2.add(under, over, dst=under)
    else:
        cv2.multiply(under, cv2.merge([plant, plant, plant]), dst=under)
        cv2.add(under, cv2.cvtColor(over, cv2.COLOR_RGBA2RGB), dst=under)


def disk(layer: Pixels, rgba: Pixels, at: Point, head: Pixels, radius_px: float) -> None:
    """Lay a square sprite whose inscribed circle is the centre of a flower; `head` (2, 2) tilts it."""
    matrix = np.column_stack([head * radius_px * np.array([1, -1]), at]).astype(np.float32)
    stamp(layer, Sprite(rgba, 1.0, -1.0, 1.0), matrix, shadow=0.5)


def stroke(
    layer: Pixels, points: NDArray[np.floating], width_px: float, colour: Colour, *, light_x: float = -1
) -> None:
    """Draw a round stem through points (N, 2): dark at the edges, lit on the side that faces the light."""
    pad = width_px + 3
    limit = np.array([layer.shape[1], layer.shape[0]])
    low = np.clip(np.floor(points.min(axis=0) - pad), 0, limit).astype(int)
    high = np.clip(np.ceil(points.max(axis=0) + pad), 0, limit).astype(int)
    if (high <= low).any():
        return
    paint = np.zeros((high[1] - low[1], high[0] - low[0], 3), np.uint8)
    mask = np.zeros(paint.shape[:2], np.uint8)
    for part, gain, shift in ((1.0, 0.62, 0.0), (0.72, 0.9, 0.08), (0.36, 1.2, 0.16)):
        thickness = max(1, round(width_px * part))
        path = np.round((points - low + [light_x * shift * width_px, 0]) * 8).astype(np.int32)
        tone = [round(channel * 255) for channel in shade(colour, gain)]
        cv2.polylines(paint, [path], False, tone, thickness, cv2.LINE_AA, shift=3)
        if part == 1.0:
            cv2.polylines(mask, [path], False, 255, thickness, cv2.LINE_AA, shift=3)
            paint[:] = tone
    alpha = mask.astype(np.float32)[..., None] / 255
    lay(
        layer[low[1] : high[1], low[0] : high[0]],
        np.dstack([paint.astype(np.float32) / 255 * alpha, alpha]),
        shadow=0.25,
    )


def curve(start: Point, bend: Point, end: Point, steps: int = 24) -> NDArray[np.float64]:
    """Return points (steps, 2) of the quadratic curve from start to end that leans towards `bend`."""
    t = np.linspace(0, 1, steps)[:, None]
    return (1 - t) ** 2 * np.array(start) + 2 * t * (1 - t) * np.array(bend) + t**2 * np.array(end)
