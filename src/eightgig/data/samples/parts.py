"""Rounded parts of a thing seen from above, on a sheet of its own: drawn once, then turned and laid into an image.

A sheet has its own axes: x to the right and y ahead, both -1 to 1; a thing fills the circle of radius 1.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from eightgig.data.samples.painting import Colour, Pixels, Point, cloud, lay

Outline = NDArray[np.float64]  # P x 2, in the sheet's axes

_SPAN = 1.2  # side of a sheet, in lengths of the thing: room for its shadow
_FINENESS = 1.5  # drawn this much larger than shown, then averaged down: smooth edges
_SUBPIXEL_BITS = 4
_FLAT_BELOW_PX = 8  # a part this thin is one tone: its relief would not be seen
_U = (1 - np.cos(np.linspace(0, np.pi, 18))) / 2  # closer at the ends, which are round
_CURVE = np.column_stack([(1 - _U) ** 2, 2 * _U * (1 - _U), _U**2])  # of start, bend and end
_AHEAD = np.column_stack([_U - 1, 1 - 2 * _U, _U])  # half its derivative
_ANGLE = np.linspace(0, 2 * np.pi, 32, endpoint=False)
_CIRCLE = np.column_stack([np.sin(_ANGLE), np.cos(_ANGLE)])


@dataclass(frozen=True)
class Sheet:
    """What all parts of one thing share."""

    layer: Pixels  # premultiplied RGBA, side x side x 4
    rng: np.random.Generator
    light: Point  # unit vector towards the light, in the sheet's axes
    stride: float = 0.0  # where it is in its step or stroke, -1 to 1

    def between(self, low: float, high: float) -> float:
        """Draw a number, evenly from low to high."""
        return float(self.rng.uniform(low, high))


class Placed(NamedTuple):
    """A thing as it lies in an image, without what the image's edges cut off."""

    rgba: Pixels  # premultiplied, square
    left: int
    top: int


def blank_sheet(length_px: float, rng: np.random.Generator, light: Point, stride: float = 0.0) -> Sheet:
    """Return an empty sheet for a thing that will be `length_px` long in the image."""
    side = max(round(length_px * _SPAN * _FINENESS), 8)
    return Sheet(np.zeros((side, side, 4), np.float32), rng, light, stride)


def place(layer: Pixels, at: Point, heading: float, length_px: float) -> Placed:
    """Turn a sheet's layer by `heading` (radians, clockwise; 0 looks up) and centre it at a point of the image."""
    side = int(np.ceil(length_px * _SPAN)) + 2
    left, top = int(np.floor(at[0] - side / 2)), int(np.floor(at[1] - side / 2))
    scale = length_px * _SPAN / layer.shape[0]
    turn = scale * np.array([[np.cos(heading), -np.sin(heading)], [np.sin(heading), np.cos(heading)]])
    middle = np.full(2, (layer.shape[0] - 1) / 2)
    shift = np.array(at) - 0.5 - (left, top) - turn @ middle  # OpenCV counts from the middle of the first pixel
    rgba = cv2.warpAffine(layer, np.column_stack([turn, shift]), (side, side), flags=cv2.INTER_LINEAR)
    return Placed(rgba, left, top)


def oval(x: float, y: float, across: float, along: float, turn: float = 0.0) -> Outline:
    """Return the outline of an oval around a point; `across` and `along` are its radii, `turn` is clockwise."""
    sin, cos = np.sin(turn), np.cos(turn)
    return _CIRCLE @ np.array([[across * cos, -across * sin], [along * sin, along * cos]]) + (x, y)


def ribbon(
    start: Point, bend: Point, end: Point, half_width: float, *, rise: float = 0.5, fall: float = 0.5
) -> Outline:
    """Return the outline of a limb along the curve from start to end that leans towards `bend`.

    Its half-width is `u**rise * (1-u)**fall`, scaled to `half_width`: an exponent near 0 gives a broad end, near 1 a
    pointed one.
    """
    controls = np.array([start, bend, end])
    middle, ahead = _CURVE @ controls, _AHEAD @ controls
    width = half_width * _width_profile(rise, fall) / np.maximum(np.hypot(ahead[:, 0], ahead[:, 1]), 1e-9)
    side = ahead[:, ::-1] * (-1, 1) * width[:, None]
    return np.concatenate([middle + side, (middle - side)[::-1]])


@lru_cache(maxsize=128)
def _width_profile(rise: float, fall: float) -> NDArray[np.float64]:
    peak = rise / (rise + fall)
    return (_U / peak) ** rise * ((1 - _U) / (1 - peak)) ** fall


def both_sides(outline: Outline) -> tuple[Outline, Outline]:
    """Return an outline and its mirror image, left and right."""
    return outline, outline * (-1, 1)


def part(sheet: Sheet, colour: Colour, *outlines: Outline, relief: float = 0.5) -> None:
    """Lay rounded parts over the others: lit on the side of the light by `relief`, darker along their edges.

    Parts that do not touch are cheaper together.
    """
    alpha, rows, columns = _mask(sheet, outlines)
    if not alpha.size:
        return
    thickness_px = float(np.ptp(outlines[0], axis=0).min()) * sheet.layer.shape[0] / 2 / _SPAN
    gain: NDArray[Any] = alpha * np.float32(0.95)
    reach = int(thickness_px / 3) + 2
    if round_enough := thickness_px >= _FLAT_BELOW_PX:
        height = cv2.blur(cv2.blur(alpha, (reach, reach)), (reach, reach))  # twice: once leaves square traces
        slope = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=sheet.light[0] * reach / 6)
        slope = slope - cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=sheet.light[1] * reach / 6)
        gain = cv2.min((0.72 + 0.36 * height - relief * slope) * alpha, alpha * 1.25)
    rgba = cv2.merge([*(cv2.min(gain * channel, alpha) for channel in colour), alpha])
    lay(sheet.layer[rows, columns], rgba, shadow=0.3 if round_enough else 0.0, reach_px=max(2, reach // 4))


def mark(sheet: Sheet, colour: Colour, *outlines: Outline, strength: float = 1.0) -> None:
    """Colour what lies inside the outlines, only where there already is something; the light on it stays."""
    alpha, rows, columns = _mask(sheet, outlines)
    if not alpha.size:
        return
    under = sheet.layer[rows, columns]
    red, green, blue, covered = cv2.split(under)
    light = 0.35 * covered + 0.75 * cv2.max(cv2.max(red, green), blue)
    fitting = cv2.merge([*(cv2.min(light * channel, covered) for channel in colour), covered])
    under += (alpha * strength)[..., None] * (fitting - under)


def finish(sheet: Sheet, roughness: float) -> Pixels:
    """Return the sheet's layer with a grain of its own on the surface."""
    side = sheet.layer.shape[0]
    gain = 1 + np.float32(roughness) * cloud(sheet.rng, side, side, coarsest=7, octaves=2)
    colours = cv2.multiply(sheet.layer, cv2.merge([gain, gain, gain, np.ones_like(gain)]))
    alpha = cv2.extractChannel(sheet.layer, 3)
    return np.minimum(colours, alpha[..., None])


def _mask(sheet: Sheet, outlines: tuple[Outline, ...]) -> tuple[Pixels, slice, slice]:
    """Return the covered share of each pixel around the outlines, and where on the layer that is."""
    side = sheet.layer.shape[0]
    points = [outline * (side / 2 / _SPAN, -side / 2 / _SPAN) + (side - 1) / 2 for outline in outlines]
    everything = np.concatenate(points)
    left, top = (max(int(low) - 2, 0) for low in everything.min(axis=0))
    right, bottom = (min(int(high) + 3, side) for high in everything.max(axis=0))
    mask = np.zeros((max(bottom - top, 0), max(right - left, 0)), np.uint8)
    if mask.size:
        for corners in points:
            fine = np.rint((corners - (left, top)) * 2**_SUBPIXEL_BITS).astype(np.int32)
            cv2.fillPoly(mask, [fine], 255, cv2.LINE_AA, shift=_SUBPIXEL_BITS)
    return mask * np.float32(1 / 255), slice(top, bottom), slice(left, right)
