"""Rows 10 to 16 of the reliability notes, one image at a time."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from eightgig.core.errors import ImageRejectedError
from eightgig.data.images.decoding import decode_rgb, inspect_image, is_plain_jpeg

Encode = Callable[..., bytes]
Draw = Callable[[int, int, int], np.ndarray]
LIMITS = {"max_pixels": 10_000_000, "min_side": 16}


def reason_of(path: Path, content: bytes) -> tuple[str, str]:
    path.write_bytes(content)
    with pytest.raises(ImageRejectedError) as caught:
        inspect_image(path, **LIMITS)
    return caught.value.reason, caught.value.detail


def test_a_good_image(tmp_path: Path, encode: Encode, smooth_pixels: Draw) -> None:
    path = tmp_path / "good.JPG"
    path.write_bytes(encode(smooth_pixels(1, 40, 50)))
    found = inspect_image(path, **LIMITS)
    assert (found.codec, found.height, found.width, found.note) == ("jpeg", 40, 50, "")
    assert found.byte_count == path.stat().st_size


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_image_is_rejected(tmp_path: Path, encode: Encode, smooth_pixels: Draw, format_: str) -> None:
    content = encode(smooth_pixels(1, 200, 300), format_)
    for share in (0.02, 0.3, 0.6, 0.95):
        reason, _ = reason_of(tmp_path / "cut.jpg", content[: int(share * len(content))])
        assert reason in {"truncated", "damaged"}, share


def test_a_jpeg_without_its_last_bytes_is_truncated(tmp_path: Path, encode: Encode, smooth_pixels: Draw) -> None:
    assert reason_of(tmp_path / "cut.jpg", encode(smooth_pixels(1, 200, 300))[:-30])[0] == "truncated"


def test_files_that_are_no_images(tmp_path: Path) -> None:
    assert reason_of(tmp_path / "a.jpg", b"")[0] == "empty"
    reason, detail = reason_of(tmp_path / "b.jpg", b"<!DOCTYPE html><html>404</html>")
    assert reason == "not_an_image"
    assert "<!DOCTYPE html>" in detail
    assert reason_of(tmp_path / "c.tif", b"II*\0" + bytes(100)) == (
        "unsupported",
        "a file of type TIFF; convert it to JPEG or PNG",
    )
    assert reason_of(tmp_path / "d.heic", b"\0\0\0\x18ftypheic" + bytes(100))[0] == "unsupported"


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ImageRejectedError, match="unreadable: No such file"):
        inspect_image(tmp_path / "gone.jpg", **LIMITS)


def test_decoder_warnings_are_rejects(tmp_path: Path, encode: Encode, smooth_pixels: Draw) -> None:
    """Row 11: zeroed bytes that libjpeg warns of are rejects here; Pillow decodes all of them without a word."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    good = encode(cv2.GaussianBlur(noise, (0, 0), 1), quality=90)
    num_rejected = 0
    for position in range(2000, len(good) - 100, len(good) // 20):
        content = good[:position] + bytes(40) + good[position + 40 :]
        (tmp_path / "torn.jpg").write_bytes(content)
        assert Image.open(tmp_path / "torn.jpg").convert("RGB").size == (300, 200)
        try:
            inspect_image(tmp_path / "torn.jpg", **LIMITS)
        except ImageRejectedError as error:
            assert error.reason == "damaged"
            num_rejected += 1
    assert num_rejected >= 3


def test_a_changed_byte_in_a_png_is_damaged(tmp_path: Path, encode: Encode, smooth_pixels: Draw) -> None:
    good = encode(smooth_pixels(1, 100, 100), "PNG")
    for position in range(60, len(good) - 20, len(good) // 20):
        content = bytearray(good)
        content[position] ^= 1
        assert reason_of(tmp_path / "flip.png", bytes(content))[0] in {"damaged", "truncated"}, position


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGB", "LA", "RGBA"])
def test_every_mode_becomes_rgb(encode: Encode, smooth_pixels: Draw, mode: str) -> None:
    """Row 12."""
    rgb = Image.fromarray(smooth_pixels(3, 32, 48))
    image = rgb.convert(mode)
    format_ = "JPEG" if mode == "CMYK" else "PNG"
    pixels = decode_rgb(encode(image, format_, **({"quality": 95} if format_ == "JPEG" else {})))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (32, 48, 3)
    expected = np.asarray(image.convert("RGB"), dtype=int)
    assert np.abs(pixels.astype(int) - expected).mean() < 3


def test_transparent_parts_lie_over_white(encode: Encode) -> None:
    layered = np.zeros((20, 20, 4), np.uint8)
    layered[:, 10:] = (200, 0, 0, 255)
    layered[:, :5, 3] = 51  # black, one fifth opaque
    pixels = decode_rgb(encode(Image.fromarray(layered, "RGBA"), "PNG"))
    assert pixels[0, 0].tolist() == [204, 204, 204]
    assert pixels[0, 7].tolist() == [255, 255, 255]
    assert pixels[0, 15].tolist() == [200, 0, 0]
    palette = Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20) % 3, "P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    pixels = decode_rgb(encode(palette, "PNG", transparency=1))
    assert pixels[0, :3].tolist() == [[10, 20, 30], [255, 255, 255], [70, 80, 90]]


def test_16_bit_values_are_scaled_not_saturated() -> None:
    """Row 13."""
    values = np.array([0, 128, 129, 257, 20_000, 32_768, 65_534, 65_535], np.uint16)
    expected = np.rint(values / 257).astype(int).tolist()
    grey = np.repeat(values[None], 4, axis=0)
    content = cv2.imencode(".png", grey)[1].tobytes()
    assert decode_rgb(content)[0, :, 0].tolist() == expected
    colour = np.stack([grey, grey // 2, grey // 4], axis=2)  # OpenCV: blue, green, red
    pixels = decode_rgb(cv2.imencode(".png", colour)[1].tobytes())
    assert pixels[0, :, 2].tolist() == expected
    assert pixels[0, :, 0].tolist() == np.rint((values // 4) / 257).astype(int).tolist()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, encode: Encode, smooth_pixels: Draw, orientation: int) -> None:
    """Row 14: as Pillow's own exif_transpose."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    path.write_bytes(encode(smooth_pixels(5, 24, 40), exif=exif, quality=95))
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    pixels = decode_rgb(path.read_bytes())
    assert np.array_equal(pixels, expected)
    found = inspect_image(path, **LIMITS)
    assert (found.height, found.width) == expected.shape[:2]
    assert ("turned upright" in found.note) == (orientation != 1)
    assert is_plain_jpeg(path.read_bytes()) == (orientation == 1)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_matter(encode: Encode, smooth_pixels: Draw) -> None:
    content = encode(smooth_pixels(5, 24, 40), exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03")
    assert decode_rgb(content).shape == (24, 40, 3)


@pytest.mark.parametrize("format_", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path, encode: Encode, format_: str) -> None:
    """Row 15."""
    frames = [Image.new("RGB", (30, 20), colour) for colour in ("red", "blue", "green")]
    path = tmp_path / f"moving.{format_.lower()}"
    path.write_bytes(encode(frames[0], format_, save_all=True, append_images=frames[1:], duration=100))
    found = inspect_image(path, **LIMITS)
    assert found.note == "animated: first frame"
    assert (found.height, found.width) == (20, 30)
    pixels = decode_rgb(path.read_bytes())
    assert pixels[10, 10, 0] > 240
    assert pixels[10, 10, 1:].max() < 15


def test_a_decompression_bomb_is_refused_by_its_header(
    tmp_path: Path, png_header_only: Callable[[int, int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 16."""
    monkeypatch.setattr("eightgig.data.images.decoding._decode", lambda *_: pytest.fail("it was decoded"))
    for side in (4_000, 12_000, 20_000):  # ours; Pillow's warning; Pillow's error
        reason, detail = reason_of(tmp_path / "bomb.png", png_header_only(side, side))
        assert reason == "too_large"
        assert f"{side} x {side} pixels" in detail or f"({side**2} pixels)" in detail


def test_too_small(tmp_path: Path, encode: Encode, smooth_pixels: Draw) -> None:
    reason, detail = reason_of(tmp_path / "dot.png", encode(smooth_pixels(1, 15, 40), "PNG"))
    assert (reason, detail) == ("too_small", "40 x 15 pixels, the shorter side must be 16 or more")


def test_content_counts_not_the_ending(tmp_path: Path, encode: Encode, smooth_pixels: Draw) -> None:
    pixels = smooth_pixels(1, 20, 20)
    (tmp_path / "a.png").write_bytes(encode(pixels, "PNG"))
    (tmp_path / "b.jpg").write_bytes(encode(pixels, "BMP"))
    first, second = (inspect_image(tmp_path / name, **LIMITS) for name in ("a.png", "b.jpg"))
    assert second.note == "ending says jpg, content is bmp"
    assert first.content_hash == second.content_hash
    (tmp_path / "c.png").write_bytes(encode(pixels.reshape(10, 40, 3), "PNG"))
    assert inspect_image(tmp_path / "c.png", max_pixels=1000, min_side=1).content_hash != first.content_hash


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_never_anything_but_a_reject(tmp_path: Path, encode: Encode, smooth_pixels: Draw, seed: int) -> None:
    """Whatever is in a file, it becomes pixels or a reject, never another error."""
    rng = np.random.default_rng(seed)
    for format_ in ("JPEG", "PNG", "WEBP", "BMP", "GIF"):
        content = bytearray(encode(smooth_pixels(seed, 30, 30), format_))
        for position in rng.integers(0, len(content), 8):
            content[position] = rng.integers(0, 256)
        try:
            assert decode_rgb(bytes(content), max_pixels=1_000_000).shape[2] == 3
        except ImageRejectedError as error:
            assert error.reason
