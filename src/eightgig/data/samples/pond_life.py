"""The five kinds that live on the pond, seen from above, each drawn by one function."""

from collections.abc import Callable
from functools import cache

import numpy as np

from eightgig.data.samples.painting import Colour, Pixels, Point, blend, deepen, shade
from eightgig.data.samples.parts import Outline, Sheet, blank_sheet, both_sides, finish, mark, oval, part, ribbon

WHITE, CREAM, YELLOW, ORANGE = (0.95, 0.94, 0.90), (0.93, 0.84, 0.62), (0.96, 0.80, 0.20), (0.94, 0.50, 0.14)
RED, BROWN, OLIVE, GREEN = (0.82, 0.18, 0.12), (0.50, 0.35, 0.21), (0.47, 0.47, 0.19), (0.30, 0.55, 0.20)
GREY, CHARCOAL, PINK, MAGENTA = (0.60, 0.60, 0.57), (0.22, 0.22, 0.24), (0.95, 0.62, 0.73), (0.82, 0.25, 0.55)
_DARK = (0.06, 0.06, 0.07)


def duck(sheet: Sheet, colour: Colour) -> None:
    """A plump body with folded wings and a pointed tail; a round head and a flat bill ahead."""
    wing = blend(colour, _DARK, sheet.between(0.05, 0.3))
    head = (0.10, 0.36, 0.24) if sheet.rng.random() < 0.3 else shade(colour, sheet.between(0.8, 1.1))
    bill = (0.93, 0.62, 0.14) if sheet.rng.random() < 0.7 else (0.75, 0.68, 0.3)
    turn = 0.12 * sheet.stride
    part(sheet, wing, ribbon((0, -0.4), (turn, -0.7), (turn, -1.0), 0.22, rise=0.1, fall=0.6))
    part(sheet, colour, ribbon((0, 0.62), (0, 0), (0, -0.82), 0.5, rise=0.35, fall=0.5), relief=0.7)
    part(sheet, wing, *both_sides(ribbon((0.24, 0.36), (0.56, -0.2), (0.10, -0.86), 0.2, rise=0.3)))
    feathers = (ribbon((0.4, -0.05 - y), (0.4, -0.05 - y), (0.14, -0.6 - y * 0.6), 0.025) for y in (0.0, 0.25))
    mark(sheet, _DARK, *(outline for feather in feathers for outline in both_sides(feather)), strength=0.5)
    part(sheet, bill, ribbon((turn, 0.72), (turn, 0.85), (turn * 1.4, 1.02), 0.13, rise=0.1, fall=0.25))
    part(sheet, head, oval(turn * 0.8, 0.62, 0.24, 0.27), relief=0.7)
    part(sheet, _DARK, *(oval(turn * 0.8 + x, 0.72, 0.035, 0.045) for x in (-0.16, 0.16)))


def koi(sheet: Sheet, colour: Colour) -> None:
    """A slender body that bends as it swims, a forked tail and two fins; patches of a second colour."""
    second = _pick(sheet, (WHITE, ORANGE, CHARCOAL, RED, colour))
    thin, swing = blend(colour, WHITE, 0.35), sheet.stride * 0.28
    base = (-swing * 0.6, -0.55)
    for side in (-1, 1):
        tip = (-swing * 2.2 + side * 0.22, -1.0)
        part(sheet, thin, ribbon(base, (base[0] + side * 0.05, -0.75), tip, 0.1, rise=0.6, fall=0.4), relief=0.2)
    fins = both_sides(ribbon((0.16, 0.45), (0.42, 0.38), (0.5, 0.04 + 0.1 * sheet.stride), 0.1))
    part(sheet, thin, *fins, relief=0.2)
    part(sheet, colour, ribbon((0, 1.0), (swing, 0.2), base, 0.25, rise=0.36, fall=0.75), relief=0.7)
    mark(sheet, second, *(_patch(sheet) for _ in range(int(sheet.rng.integers(2, 5)))))
    mark(sheet, deepen(colour, 0.5), ribbon((swing * 0.3, 0.4), (swing * 0.6, 0.1), (0, -0.4), 0.045), strength=0.7)
    part(sheet, _DARK, *both_sides(oval(0.13, 0.8, 0.035, 0.045)))


def _patch(sheet: Sheet) -> Outline:
    x, y = sheet.between(-0.2, 0.2), sheet.between(-0.5, 0.85)
    return oval(x, y, sheet.between(0.08, 0.2), sheet.between(0.1, 0.24), sheet.between(0, 3))


def frog(sheet: Sheet, colour: Colour) -> None:
    """A short body with bulging eyes, long folded hind legs and small hands; spots or stripes on the back."""
    limb, kick = shade(colour, 0.88), 0.1 * sheet.stride
    knee, heel, hand = (0.74, -0.22 + kick), (0.34, -0.72 - kick), (0.6, 0.5 - kick)
    toes = [ribbon(heel, heel, (0.64 + x * 0.3, heel[1] - 0.22 + x * 0.3), 0.06, rise=0.2) for x in (-0.3, 0.05, 0.4)]
    toes += [ribbon(hand, hand, (0.6 + x, 0.72 - abs(x) / 2), 0.045, rise=0.2) for x in (-0.14, 0.02, 0.18)]
    part(sheet, limb, *(outline for toe in toes for outline in both_sides(toe)), relief=0.2)
    part(sheet, limb, *both_sides(ribbon(knee, knee, heel, 0.12, rise=0.3, fall=0.4)))
    part(sheet, limb, *both_sides(ribbon((0.16, -0.42), (0.4, -0.1), knee, 0.18, rise=0.3, fall=0.3)))
    part(sheet, limb, *both_sides(ribbon((0.25, 0.18), (0.62, 0.1), hand, 0.1, rise=0.2, fall=0.3)))
    part(sheet, colour, ribbon((0, 0.88), (0, 0.2), (0, -0.66), 0.4, rise=0.38, fall=0.5), relief=0.7)
    _frog_back(sheet, colour)
    part(sheet, shade(colour, 1.1), *both_sides(oval(0.25, 0.6, 0.13, 0.14)), relief=0.7)
    part(sheet, _DARK, *both_sides(oval(0.28, 0.62, 0.06, 0.075)))


def _frog_back(sheet: Sheet, colour: Colour) -> None:
    tone = deepen(colour, 0.9) if sheet.rng.random() < 0.6 else blend(colour, CREAM, 0.6)
    if sheet.rng.random() < 0.4:
        outlines = [ribbon((x * 0.8, 0.45), (x * 1.3, 0), (x * 0.5, -0.55), 0.04) for x in (-0.2, 0.0, 0.2)]
    else:
        places = zip(sheet.rng.uniform(-0.32, 0.32, 7), sheet.rng.uniform(-0.5, 0.45, 7), strict=True)
        outlines = [oval(x, y, size, size) for x, y in places if (size := sheet.between(0.04, 0.1))]
    mark(sheet, tone, *outlines, strength=0.8)


def turtle(sheet: Sheet, colour: Colour) -> None:
    """A round shell of plates with a rim; four paddles, a small head and a short tail."""
    skin = _pick(sheet, ((0.42, 0.46, 0.22), (0.35, 0.33, 0.22), (0.55, 0.52, 0.28), (0.28, 0.38, 0.24)))
    part(sheet, skin, ribbon((0, -0.6), (0, -0.8), (0.03, -0.98), 0.06, rise=0.2, fall=0.8))
    row = np.array([0, sheet.stride * 0.2])
    paddles = []
    for side in (-1, 1):
        front, back = np.array([[0.86, 0.42], [0.64, -0.82]]) * (side, 1) + side * row
        paddles.append(ribbon((side * 0.36, 0.42), (side * 0.66, 0.74), tuple(front), 0.15, rise=0.3, fall=0.3))
        paddles.append(ribbon((side * 0.36, -0.46), (side * 0.6, -0.55), tuple(back), 0.13, rise=0.3, fall=0.3))
    part(sheet, skin, *paddles)
    part(sheet, skin, ribbon((0, 0.5), (0, 0.75), (0.05 * sheet.stride, 1.0), 0.17, rise=0.3, fall=0.22), relief=0.7)
    part(sheet, _DARK, *both_sides(oval(0.1, 0.86, 0.03, 0.035)))
    part(sheet, shade(colour, 0.75), oval(0, -0.04, 0.63, 0.7))
    part(sheet, colour, oval(0, -0.04, 0.52, 0.6))
    mark(sheet, deepen(colour, 0.9) if sheet.rng.random() < 0.6 else blend(colour, YELLOW, 0.55), *_seams())


@cache
def _seams() -> tuple[Outline, ...]:
    """Return the outlines of the seams between a shell's plates."""
    rows = (0.42, 0.12, -0.2, -0.5)
    across = [ribbon((-0.2, y), (0, y), (0.2, y), 0.025, rise=0.05, fall=0.05) for y in rows]
    sideways = [ribbon((0.2, y), (0.4, y), (0.6, y * 1.25), 0.025, rise=0.1) for y in rows]
    along = ribbon((0.2, 0.5), (0.26, 0), (0.2, -0.58), 0.03, rise=0.1)
    return (*across, *(outline for seam in (along, *sideways) for outline in both_sides(seam)))


def water_lily(sheet: Sheet, colour: Colour) -> None:
    """Rings of pointed petals, paler inwards, around a golden centre."""
    half_count, breadth = int(sheet.rng.integers(4, 7)), sheet.between(0.17, 0.23)
    for ring, reach in enumerate((1.0, 0.8, 0.58)):
        count = 2 * (half_count - ring)
        angles = sheet.between(0, 6.283) + np.arange(count) * 2 * np.pi / count
        tone = blend(shade(colour, 0.82 + 0.1 * ring), WHITE, 0.12 * ring)
        lengths = reach * sheet.rng.uniform(0.9, 1.0, count)
        tips = np.column_stack([np.sin(angles), np.cos(angles)]) * lengths[:, None]
        petals = [ribbon(tuple(tip * 0.1), tuple(tip / 2), tuple(tip), breadth * (1 - 0.15 * ring)) for tip in tips]
        part(sheet, shade(tone, sheet.between(0.88, 0.98)), *petals[0::2], relief=0.4)  # each second one lies below
        part(sheet, tone, *petals[1::2], relief=0.4)
    part(sheet, (0.93, 0.72, 0.15), oval(0, 0, 0.2, 0.2), relief=0.7)
    anthers = (
        oval(0.14 * float(np.sin(angle)), 0.14 * float(np.cos(angle)), 0.05, 0.05) for angle in np.arange(9) * 0.7
    )
    part(sheet, (0.97, 0.82, 0.3), *anthers)


_Painter = Callable[[Sheet, Colour], None]
_KINDS: dict[str, tuple[_Painter, tuple[Colour, ...]]] = {
    "duck": (duck, (WHITE, BROWN, YELLOW, GREY, CHARCOAL, CREAM)),
    "frog": (frog, (GREEN, GREEN, OLIVE, BROWN, YELLOW, ORANGE)),
    "koi": (koi, (ORANGE, WHITE, RED, YELLOW, CHARCOAL, OLIVE)),
    "turtle": (turtle, (OLIVE, BROWN, GREEN, CHARCOAL, CREAM, RED)),
    "water lily": (water_lily, (WHITE, PINK, YELLOW, MAGENTA, CREAM, ORANGE)),
}
CLASSES: tuple[str, ...] = tuple(_KINDS)
UNDER_WATER = ("koi",)


def draw(kind: str, seed: int, length_px: float, light: Point, stride: float = 0.0) -> Pixels:
    """Draw one of `CLASSES` for `parts.place`: premultiplied RGBA float32, side x side x 4, looking up.

    Args:
        kind: one of CLASSES.
        seed: of its colour and pattern; the same at each stride.
        length_px: how long it will be shown.
        light: unit vector towards the light, x right and y ahead.
        stride: where it is in its step or stroke, -1 to 1.
    """
    painter, colours = _KINDS[kind]
    sheet = blank_sheet(length_px, np.random.default_rng(seed), light, stride)
    colour = np.array(_pick(sheet, colours)) * sheet.between(0.85, 1.05) + sheet.rng.normal(0, 0.03, 3)
    r, g, b = np.clip(colour, 0.03, 1).tolist()
    painter(sheet, (r, g, b))
    return finish(sheet, 0.12)


def _pick(sheet: Sheet, colours: tuple[Colour, ...]) -> Colour:
    return colours[int(sheet.rng.integers(len(colours)))]
