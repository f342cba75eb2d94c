"""What stands still along a street: sky, houses, walls, fences, trees, grass, pavement, the road."""

import cv2
import numpy as np

from eightgig.data.samples.painting import cloud
from eightgig.data.samples.street_canvas import LABELS, Canvas, Colour, shade

_SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((92, 150, 215), (190, 214, 235)),
    ((150, 165, 182), (205, 210, 214)),
    ((84, 104, 160), (236, 178, 130)),
    ((112, 172, 226), (222, 232, 238)),
)
_FACADES: tuple[Colour, ...] = (
    (168, 92, 76), (198, 168, 132), (142, 136, 130), (186, 148, 96), (120, 96, 88), (206, 196, 178), (158, 116, 120),
)  # fmt: skip
_BRICKS: tuple[Colour, ...] = ((128, 112, 104), (152, 146, 140), (134, 96, 80))
_LEAVES: tuple[Colour, ...] = ((46, 92, 40), (66, 112, 48), (38, 78, 52), (92, 120, 44))
_GRASS: tuple[Colour, ...] = ((128, 162, 74), (150, 164, 92), (112, 148, 80))


def sky(canvas: Canvas) -> None:
    """Fill the whole image with a gradient and clouds."""
    height, width = canvas.mask_HW.shape
    high, low = _SKIES[int(canvas.rng.integers(len(_SKIES)))]
    down_H = np.linspace(0, 1.4, height)[:, None, None].clip(0, 1)
    gradient_HW3 = np.array(high) * (1 - down_H) + np.array(low) * down_H
    clouds_HW = cv2.resize(cloud(canvas.rng, 48, 64), (width, height), interpolation=cv2.INTER_CUBIC)
    whiteness_HW1 = (clouds_HW - clouds_HW.mean()).clip(0, None)[..., None] * canvas.between(0, 1.6)
    canvas.image_HW3[:] = (gradient_HW3 + (245 - gradient_HW3) * whiteness_HW1.clip(0, 0.8)).clip(0, 255)
    canvas.mask_HW[:] = LABELS["sky"]


def houses(canvas: Canvas, ground: float) -> None:
    """Draw a row of houses that stand on `ground`, with gaps."""
    left = canvas.between(-30, 0)
    while left < canvas.width:
        width = canvas.between(30, 72)
        if canvas.chance(0.85):
            _house(canvas, left, ground, width, canvas.between(0.42, 0.92) * ground)
        left += width + (canvas.between(6, 30) if canvas.chance(0.35) else 0)


def _house(canvas: Canvas, left: float, ground: float, width: float, height: float) -> None:
    facade, top = canvas.tinted(*_FACADES), ground - height
    canvas.box("building", left, top, width, height, facade)
    if canvas.chance(0.5):
        ridge = canvas.between(4, 14)
        roof = canvas.tinted((126, 66, 54), (88, 84, 88))
        canvas.polygon("building", [(left - 1, top), (left + width / 2, top - ridge), (left + width + 1, top)], roof)
    glass, frame = canvas.tinted((66, 78, 96), (150, 170, 186), (44, 46, 58)), shade(facade, 1.2)
    step_x, step_y = canvas.between(8, 13), canvas.between(10, 15)
    for y in np.arange(top + 4, ground - step_y, step_y):
        for x in np.arange(left + 3, left + width - 0.7 * step_x, step_x):
            lit = shade(glass, canvas.between(0.7, 1.3))
            canvas.box("building", x - 0.6, y - 0.6, 0.55 * step_x + 1.2, 0.55 * step_y + 1.2, frame)
            canvas.box("building", x, y, 0.55 * step_x, 0.55 * step_y, lit)
    canvas.box("building", left + width * canvas.between(0.2, 0.6), ground - 11, 6, 11, shade(facade, 0.45))


def greenery(canvas: Canvas, ground: float) -> None:
    """Draw trees and bushes in front of the houses."""
    for x in np.arange(canvas.between(0, 60), canvas.width, canvas.between(55, 110)):
        leaf, size = canvas.tinted(*_LEAVES), canvas.between(11, 21)
        top = ground - size - canvas.between(6, 26)
        canvas.box("vegetation", x - 1.6, top, 3.2, ground - top, canvas.tinted((84, 62, 44)))
        _crown(canvas, float(x), top, size, leaf)
    for x in np.arange(canvas.between(0, 90), canvas.width, canvas.between(70, 160)):
        _crown(canvas, float(x), ground - 4, canvas.between(7, 13), canvas.tinted(*_LEAVES))


def _crown(canvas: Canvas, x: float, y: float, size: float, leaf: Colour) -> None:
    for _ in range(12):
        turn, far = canvas.between(0, 2 * np.pi), size * canvas.between(0, 0.65)
        blob, colour = size * canvas.between(0.3, 0.55), shade(leaf, canvas.between(0.7, 1.3))
        canvas.oval("vegetation", x + far * np.cos(turn), y + 0.8 * far * np.sin(turn), blob, 0.85 * blob, colour)


def barriers(canvas: Canvas, ground: float) -> None:
    """Draw stretches of wall and fence on `ground`, between the houses and the pavement."""
    left = canvas.between(-20, 60)
    while left < canvas.width:
        width, height = canvas.between(45, 100), canvas.between(13, 22)
        (_wall if canvas.chance(0.5) else _fence)(canvas, left, ground, width, height)
        left += width + canvas.between(15, 90)


def _wall(canvas: Canvas, left: float, ground: float, width: float, height: float) -> None:
    brick = canvas.tinted(*_BRICKS)
    canvas.box("wall", left, ground - height, width, height, brick)
    canvas.box("wall", left - 1, ground - height - 2, width + 2, 2.5, shade(brick, 1.35))
    for row, y in enumerate(np.arange(ground - height + 3, ground, 4)):
        canvas.line("wall", [(left, y), (left + width, y)], shade(brick, 0.72), 0.6)
        for x in np.arange(left + (3 if row % 2 else 7), left + width, 8):
            canvas.line("wall", [(x, y), (x, min(y + 4, ground))], shade(brick, 0.72), 0.6)


def _fence(canvas: Canvas, left: float, ground: float, width: float, height: float) -> None:
    wood = canvas.tinted((196, 158, 112), (214, 208, 198), (150, 108, 70))
    canvas.box("fence", left, ground - height + 2, width, height - 2, shade(wood, 0.5))
    for x in np.arange(left, left + width - 2, 4.0):
        top = ground - height
        canvas.polygon(
            "fence", [(x, ground), (x, top + 2), (x + 1.3, top), (x + 2.6, top + 2), (x + 2.6, ground)], wood
        )
    canvas.box("fence", left, ground - 0.7 * height, width, 1.6, shade(wood, 1.15))


def verge(canvas: Canvas, top: float, bottom: float) -> None:
    """Draw stretches of grass in front of the pavement."""
    left = canvas.between(-40, 40)
    while left < canvas.width:
        width, grass = canvas.between(50, 140), canvas.tinted(*_GRASS)
        canvas.box("terrain", left, top, width, bottom - top, grass)
        for _ in range(int(width)):
            x, y = canvas.between(left, left + width), canvas.between(top + 1, bottom)
            canvas.line("terrain", [(x, y), (x, max(top, y - 2))], shade(grass, canvas.between(0.7, 1.35)), 0.7)
        left += width + canvas.between(20, 90)


def pavement(canvas: Canvas, top: float, bottom: float) -> None:
    """Draw slabs, and the kerb along the road."""
    slab = canvas.tinted((176, 170, 164), (196, 186, 176), (160, 158, 162))
    canvas.box("sidewalk", -1, top, canvas.width + 2, bottom - top, slab)
    for x in np.arange(canvas.between(0, 9), canvas.width, 9):
        canvas.line("sidewalk", [(x + 2, top), (x, bottom)], shade(slab, 0.86), 0.6)
    canvas.line("sidewalk", [(0, (top + bottom) / 2), (canvas.width, (top + bottom) / 2)], shade(slab, 0.88), 0.6)
    canvas.box("sidewalk", -1, bottom - 1.6, canvas.width + 2, 1.6, shade(slab, 1.2))


def road(canvas: Canvas, top: float) -> None:
    """Draw asphalt down to the image's bottom, with dashes between the lanes."""
    asphalt = canvas.tinted((84, 84, 90), (68, 66, 70), (104, 102, 104), spread=10)
    canvas.box("road", -1, top, canvas.width + 2, canvas.height - top + 1, asphalt)
    for _ in range(6):
        x, y = canvas.between(0, canvas.width), canvas.between(top + 4, canvas.height)
        canvas.oval(
            "road", x, y, canvas.between(6, 24), canvas.between(1, 3), shade(asphalt, canvas.between(0.85, 1.12))
        )
    for lane in np.arange(top + canvas.between(18, 26), canvas.height, 26):
        for x in np.arange(canvas.between(-10, 20), canvas.width, 30):
            canvas.polygon(
                "road", [(x, lane), (x + 14, lane), (x + 13, lane + 1.8), (x - 1, lane + 1.8)], (214, 212, 204)
            )
