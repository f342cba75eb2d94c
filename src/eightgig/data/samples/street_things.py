"""What moves along a street, and what stands at its edge: vehicles, people, poles with lights and signs."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eightgig.data.samples.street_canvas import Canvas, Colour, shade

_PAINTS: tuple[Colour, ...] = (
    (176, 32, 36), (34, 62, 140), (226, 226, 228), (28, 28, 34), (142, 146, 152), (46, 104, 70), (214, 160, 40),
)  # fmt: skip
_CLOTHES: tuple[Colour, ...] = (
    (186, 48, 60), (44, 74, 148), (232, 190, 60), (56, 56, 64), (226, 226, 220), (86, 136, 92), (150, 76, 146),
)  # fmt: skip
_SKINS: tuple[Colour, ...] = ((232, 190, 160), (150, 104, 76), (98, 66, 48))
_GLASS, _TYRE, _HUB = (58, 76, 94), (22, 22, 24), (150, 150, 152)


@dataclass(frozen=True)
class Stand:
    """A place to draw one thing: x goes right from its left end, y goes up from where it stands, both in its own size.

    Attributes:
        canvas: that is drawn on.
        name: the class of what is drawn.
        left: of the thing, in units of the canvas.
        bottom: where it stands.
        size: 1 is as large as things are.
    """

    canvas: Canvas
    name: str
    left: float
    bottom: float
    size: float

    def polygon(self, colour: Colour, *points: tuple[float, float]) -> None:
        """Fill a polygon."""
        self.canvas.polygon(self.name, self._moved(points), colour)

    def box(self, colour: Colour, x: float, top: float, width: float, height: float) -> None:
        """Fill a rectangle; `top` is its upper edge."""
        left, upper = self.left + x * self.size, self.bottom - top * self.size
        self.canvas.box(self.name, left, upper, width * self.size, height * self.size, colour)

    def oval(self, colour: Colour, x: float, y: float, across: float, down: float) -> None:
        """Fill an ellipse about (x, y)."""
        ((middle_x, middle_y),) = self._moved(((x, y),))
        self.canvas.oval(self.name, middle_x, middle_y, across * self.size, down * self.size, colour)

    def line(self, colour: Colour, thickness: float, *points: tuple[float, float]) -> None:
        """Draw a line."""
        self.canvas.line(self.name, self._moved(points), colour, thickness * self.size)

    def wheels(self, radius: float, *places: float) -> None:
        """Draw wheels on the ground."""
        for x in places:
            self.oval(_TYRE, x, radius, radius, radius)
            self.oval(_HUB, x, radius, 0.5 * radius, 0.5 * radius)

    def _moved(self, points: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
        return [(self.left + x * self.size, self.bottom - y * self.size) for x, y in points]


Draw = Callable[[Canvas, float, float, float], None]
"""(canvas, left, bottom, size): draws something that stands on `bottom`."""


def car(canvas: Canvas, left: float, bottom: float, size: float) -> None:
    """Draw a car from its side, 38 long: a cabin on a body."""
    at, paint = Stand(canvas, "car", left, bottom, size), canvas.tinted(*_PAINTS)
    at.polygon(paint, (0, 3), (0, 9), (6, 11), (12, 17), (26, 17), (32, 11), (38, 9), (38, 3))
    at.polygon(_GLASS, (8.5, 11), (13, 16), (25, 16), (29.5, 11))
    at.line(shade(paint, 0.7), 0.8, (19, 16), (19, 3))
    at.box((250, 236, 170), 0, 8, 2, 2)
    at.box((210, 40, 40), 36, 8, 2, 2)
    at.wheels(3.6, 8, 30)


def truck(canvas: Canvas, left: float, bottom: float, size: float) -> None:
    """Draw a truck, 64 long: a large plain box behind a small cab."""
    at, paint = Stand(canvas, "truck", left, bottom, size), canvas.tinted(*_PAINTS)
    box = canvas.tinted((232, 228, 220), (196, 120, 60), (120, 150, 180), (230, 200, 90))
    at.box(box, 16, 33, 48, 28)
    for x in range(22, 62, 7):
        at.line(shade(box, 0.85), 0.7, (x, 33), (x, 6))
    at.polygon(paint, (0, 4), (0, 14), (4, 24), (15, 24), (15, 4))
    at.box(_GLASS, 4, 22, 8, 8)
    at.box((46, 46, 50), 0, 6, 64, 2.4)
    at.wheels(4.4, 8, 44, 55)


def bus(canvas: Canvas, left: float, bottom: float, size: float) -> None:
    """Draw a bus, 70 long: a box with a row of large windows."""
    at = Stand(canvas, "bus", left, bottom, size)
    paint = canvas.tinted((216, 52, 44), (240, 186, 44), (46, 120, 190), (70, 150, 90))
    at.box(paint, 0, 32, 70, 29)
    at.box(shade(paint, 1.3), 0, 33, 70, 2.4)
    for x in range(3, 58, 11):
        at.box(_GLASS, x, 28, 9, 11)
    at.box((240, 240, 236), 0, 12, 70, 2)
    at.box(shade(_GLASS, 0.8), 60, 28, 7, 24)
    at.wheels(4.2, 14, 54)


def train(canvas: Canvas, left: float, bottom: float, size: float) -> None:
    """Draw a tram, 104 long: slanted at its ends, with a pantograph, no wheels to be seen."""
    at = Stand(canvas, "train", left, bottom, size)
    paint = canvas.tinted((214, 210, 196), (150, 40, 60), (52, 92, 84), (230, 150, 50))
    at.polygon(paint, (0, 2), (0, 14), (7, 34), (97, 34), (104, 14), (104, 2))
    at.box(shade(_GLASS, 0.75), 9, 29, 86, 11)
    for x in range(20, 92, 16):
        at.box(shade(paint, 0.75), x, 30, 2.2, 26)
    at.box(shade(paint, 0.55), 0, 9, 104, 2.6)
    at.box((40, 40, 44), 2, 3, 100, 3)
    at.line((50, 50, 54), 1.4, (44, 34), (52, 41), (60, 34))


def person(canvas: Canvas, left: float, bottom: float, size: float) -> None:
    """Draw someone on foot: legs, a coat, arms, a head."""
    at, coat = Stand(canvas, "person", left, bottom, size), canvas.tinted(*_CLOTHES)
    stride = canvas.between(1, 4)
    at.line(canvas.tinted((44, 50, 82), (60, 56, 52), (112, 96, 78)), 3, (5 - stride, 0), (5, 13), (5 + stride, 0))
    at.polygon(coat, (2, 24), (8, 24), (9, 11), (1, 11))
    at.line(shade(coat, 0.8), 2, (2, 23), (0, 14))
    at.line(shade(coat, 0.8), 2, (8, 23), (10, 14))
    at.oval(canvas.tinted(*_SKINS), 5, 27.5, 2.8, 3.3)
    at.oval(canvas.tinted((40, 30, 24), (140, 96, 50)), 5, 29.2, 2.9, 2)


def bicycle(canvas: Canvas, left: float, bottom: float, size: float) -> None:
    """Draw a bicycle, 33 long: with its rider, or alone."""
    at = Stand(canvas, "bicycle", left, bottom, size)
    frame = canvas.tinted((200, 40, 40), (40, 160, 90), (40, 60, 180), (30, 30, 34))
    for x in (7, 26):
        at.oval((34, 34, 38), x, 7, 7, 7)
        at.oval(_HUB, x, 7, 5.4, 5.4)
        for dx, dy in ((5.4, 0), (3.8, 3.8), (0, 5.4), (-3.8, 3.8)):
            at.line((70, 70, 76), 0.5, (x - dx, 7 + dy), (x + dx, 7 - dy))
    at.line(frame, 2, (7, 7), (12, 15), (23, 16), (15, 6), (7, 7), (15, 6), (12, 15))
    at.line(frame, 2, (26, 7), (23, 16), (22, 19))
    _perhaps_a_rider(at)


def motorcycle(canvas: Canvas, left: float, bottom: float, size: float) -> None:
    """Draw a motorcycle, 35 long: thick wheels, a tank, an engine; with its rider, or alone."""
    at = Stand(canvas, "motorcycle", left, bottom, size)
    at.polygon((96, 98, 104), (8, 9), (12, 3), (23, 3), (27, 10))
    at.wheels(6, 6, 29)
    paint = canvas.tinted((200, 40, 36), (40, 70, 170), (30, 30, 32), (230, 140, 30))
    at.polygon(paint, (2, 13), (14, 10), (16, 15), (25, 17), (28, 9), (12, 8))
    at.line((60, 60, 64), 2, (29, 6), (25, 18), (22, 20))
    _perhaps_a_rider(at)


def _perhaps_a_rider(vehicle: Stand) -> None:
    canvas = vehicle.canvas
    if canvas.chance(0.25):
        return
    at, coat = Stand(canvas, "rider", vehicle.left, vehicle.bottom, vehicle.size), canvas.tinted(*_CLOTHES)
    at.line((50, 54, 74), 3.4, (10, 15), (17, 11), (14, 4))
    at.polygon(coat, (7, 15), (13, 14), (19, 26), (13, 28))
    at.line(shade(coat, 0.8), 2.6, (16, 25), (24, 17))
    at.oval(canvas.tinted(*_SKINS), 18, 30.5, 3.6, 3.8)
    at.oval(canvas.tinted((230, 60, 40), (240, 240, 240), (40, 40, 60)), 18, 32, 4, 2.8)


def pole(canvas: Canvas, left: float, bottom: float, size: float) -> None:
    """Draw a pole that carries a lamp and a sign, a traffic light, or a light and a sign."""
    at, grey = (
        Stand(canvas, "pole", left, bottom, size),
        canvas.tinted((120, 122, 124), (74, 76, 80), (160, 160, 158)),
    )
    tall, kind = canvas.between(48, 78), int(canvas.rng.integers(3))
    at.box(grey, 0, tall, 4, tall)
    at.box(shade(grey, 1.3), 0, tall, 1.2, tall)
    if kind == 0:
        at.line(grey, 3, (2, tall), (18, tall + 3))
    else:
        _traffic_light(at, tall)
    if kind != 1:
        _sign(at, 0.62 * tall)


def _traffic_light(pole: Stand, top: float) -> None:
    at, lit = Stand(pole.canvas, "traffic light", pole.left, pole.bottom, pole.size), int(pole.canvas.rng.integers(3))
    at.box((26, 28, 28), -3.5, top + 4, 11, 26)
    for place, colour in enumerate(((230, 40, 36), (244, 190, 40), (50, 206, 96))):
        at.oval(colour if place == lit else shade(colour, 0.35), 2, top - 1 - 8 * place, 3.4, 3.4)


def _sign(pole: Stand, y: float) -> None:
    at = Stand(pole.canvas, "traffic sign", pole.left, pole.bottom, pole.size)
    kind, r = int(pole.canvas.rng.integers(3)), pole.canvas.between(7, 9.5)
    if kind == 0:
        at.oval((204, 28, 34), 2, y, r, r)
        at.oval((246, 246, 242), 2, y, 0.7 * r, 0.7 * r)
        at.box((30, 30, 34), 2 - 0.35 * r, y + 0.3 * r, 0.7 * r, 0.6 * r)
    elif kind == 1:
        for colour, half in (((210, 30, 36), 1.15 * r), ((250, 214, 60), 0.7 * r)):
            turns = (0, 2 * np.pi / 3, 4 * np.pi / 3)
            at.polygon(colour, *((2 + half * float(np.sin(t)), y + half * float(np.cos(t))) for t in turns))
    else:
        at.box((28, 84, 180), 2 - r, y + r, 2 * r, 1.8 * r)
        at.box((246, 246, 246), 2 - 0.6 * r, y + 0.6 * r, 1.2 * r, 0.4 * r)
        at.box((246, 246, 246), 2 - 0.6 * r, y, 1.2 * r, 0.4 * r)
