"""Street scenes drawn by code, with the exact class of each pixel: Cityscapes' 19 classes, seen from across the road.

Shapes and textures tell the classes apart; colours vary and overlap.
"""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray

from eightgig.core.errors import ConfigurationError
from eightgig.core.seeding import seed_from
from eightgig.data.samples import street_backdrop as backdrop
from eightgig.data.samples import street_things as things
from eightgig.data.samples.street_canvas import CLASSES, VOID, Canvas

__all__ = ["CLASSES", "VOID", "render_street", "render_streets"]

_UNITS = 192.0  # a scene is that many units high
_JPEG_QUALITY = 90
_VEHICLES: tuple[tuple[things.Draw, float, float], ...] = (  # with its length in units, and how often it comes
    (things.car, 38, 0.24),
    (things.truck, 64, 0.15),
    (things.bus, 70, 0.15),
    (things.train, 104, 0.12),
    (things.motorcycle, 35, 0.17),
    (things.bicycle, 33, 0.17),
)


def render_streets(
    num_images: int, *, seed: int, width: int = 256, height: int = 192
) -> Iterator[tuple[str, bytes, NDArray[np.uint8]]]:
    """Yield scenes one by one as (name, JPEG bytes, mask_HW).

    The same seed gives the same bytes, and any scene can be drawn alone:
    `render_street(seed=seed_from(seed, "street", 3))` is `street_0003.jpg`.

    Args:
        num_images: how many in all.
        seed: of the whole set.
        width: of each image, pixels.
        height: of each image, pixels.

    Yields:
        `street_<number>.jpg`, the file's content (RGB JPEG), and the mask: uint8, positions in `CLASSES`, 255 where
        the bonnet of one's own car is.

    Raises:
        ConfigurationError: no images are asked for.
    """
    if num_images < 1:
        raise ConfigurationError(f"num_images: wanted at least one street scene, found {num_images}.")
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        waiting: deque[Future[tuple[str, bytes, NDArray[np.uint8]]]] = deque()
        for number in range(num_images):
            waiting.append(pool.submit(_numbered, number, seed, width, height))
            if len(waiting) >= 4 * (os.cpu_count() or 1):  # drawn ahead, so that memory stays what it is
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _numbered(number: int, seed: int, width: int, height: int) -> tuple[str, bytes, NDArray[np.uint8]]:
    image_HW3, mask_HW = render_street(seed=seed_from(seed, "street", number), width=width, height=height)
    _, jpeg = cv2.imencode(".jpg", image_HW3[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return f"street_{number:04d}.jpg", bytes(jpeg), mask_HW


def render_street(
    *, seed: int, width: int = 256, height: int = 192, unit_px: float | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return one scene as (image_HW3 RGB, mask_HW), both uint8.

    Args:
        seed: of the scene.
        width: pixels.
        height: pixels.
        unit_px: how large things are: a car is 38 units long. None fits 192 units into the height; less makes a wide
            and deep street with many things.
    """
    canvas = Canvas(
        np.zeros((height, width, 3), np.uint8),
        np.zeros((height, width), np.uint8),
        unit_px or height / _UNITS,
        np.random.default_rng(seed),
    )
    ground = canvas.height * canvas.between(0.44, 0.54)
    kerb = ground + canvas.between(20, 27)
    backdrop.sky(canvas)
    backdrop.houses(canvas, ground)
    backdrop.greenery(canvas, ground)
    backdrop.barriers(canvas, ground + 3)
    middle = ground + canvas.between(8, 12)
    backdrop.pavement(canvas, ground + 2, kerb)
    backdrop.verge(canvas, ground + 2, middle)
    backdrop.road(canvas, kerb)
    _people_and_poles(canvas, middle, kerb)
    _traffic(canvas, kerb)
    if canvas.chance(0.35):
        canvas.oval(
            "own car", canvas.width / 2, canvas.height + 6, 0.42 * canvas.width, 14, canvas.tinted((40, 42, 48))
        )
    return _photographed(canvas), canvas.mask_HW


def _people_and_poles(canvas: Canvas, middle: float, kerb: float) -> None:
    for x in np.arange(canvas.between(5, 40), canvas.width, canvas.between(52, 80)):
        things.pole(canvas, float(x), kerb - 1, canvas.between(0.9, 1.2))
    for x in np.arange(canvas.between(0, 40), canvas.width, 34):
        if canvas.chance(0.6):
            things.person(
                canvas, float(x) + canvas.between(-9, 9), canvas.between(middle, kerb), canvas.between(0.95, 1.25)
            )


def _traffic(canvas: Canvas, kerb: float) -> None:
    """Draw lanes of vehicles from far to near; what is nearer is larger."""
    lane, chances = kerb + canvas.between(8, 15), np.array([share for *_, share in _VEHICLES])
    while lane < canvas.height + 8:
        size = canvas.between(0.9, 1.1) * (0.95 + 0.12 * (lane - kerb) / 60)
        left = canvas.between(-50, 30)
        while left < canvas.width:
            draw, length, _ = _VEHICLES[int(canvas.rng.choice(len(_VEHICLES), p=chances / chances.sum()))]
            draw(canvas, left, lane, size)
            left += length * size + canvas.between(6, 50)
        lane += canvas.between(30, 42)


def _photographed(canvas: Canvas) -> NDArray[np.uint8]:
    """Return the image as a camera sees it: uneven light, a little blur, noise."""
    height, width = canvas.mask_HW.shape
    blurred_HW3 = cv2.GaussianBlur(canvas.image_HW3, (3, 3), canvas.between(0.3, 0.6)).astype(np.float32)
    across_W = np.linspace(canvas.between(0.85, 1.1), canvas.between(0.85, 1.1), width, dtype=np.float32)
    warmth_3 = np.array([canvas.between(0.94, 1.08), 1.0, canvas.between(0.92, 1.08)], np.float32)
    gain = canvas.between(0.75, 1.12)
    noise_HW1 = canvas.rng.normal(0, canvas.between(3, 8), (height, width, 1)).astype(np.float32)
    lit_HW3 = blurred_HW3 * (gain * across_W[None, :, None] * warmth_3) + noise_HW1
    return lit_HW3.clip(0, 255).astype(np.uint8)
