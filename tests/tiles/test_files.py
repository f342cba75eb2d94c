"""Large images in, masks and overlays out, row by row."""

import h5py
import numpy as np
import pytest
from PIL import Image

from eightgig.core.errors import DataError, StoreError
from eightgig.tasks.segmentation.tiled.probabilities import open_probabilities
from eightgig.tiles.overlay import Overlay
from eightgig.tiles.png import open_mask_png
from eightgig.tiles.source import open_source

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 255, (45, 61, 3), dtype=np.uint8)
COLOURS = np.array([[10, 20, 30], [200, 100, 50], [0, 0, 0]], np.uint8)


def read_all(path, rows=7, **options):
    with open_source(path, **{"max_pixels": 10**6, **options}) as source:
        tops = range(0, source.height, rows)
        return np.concatenate([source.read(top, min(top + rows, source.height)) for top in tops])


@pytest.mark.parametrize(("name", "options"), [
    ("a.png", {}), ("a.tif", {}), ("a.tif", {"compression": "tiff_deflate"}), ("a.tif", {"compression": "tiff_lzw"}),
    ("a.webp", {"lossless": True}), ("a.bmp", {}),
])  # fmt: skip
def test_lossless_formats_come_row_by_row(tmp_path, name, options):
    Image.fromarray(IMAGE).save(tmp_path / name, **options)
    assert np.array_equal(read_all(tmp_path / name), IMAGE)


def test_a_turned_photo_is_read_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees to the right
    Image.fromarray(IMAGE).save(tmp_path / "a.jpg", exif=exif, quality=95)
    found = read_all(tmp_path / "a.jpg")
    upright = np.asarray(Image.open(tmp_path / "a.jpg").transpose(Image.Transpose.ROTATE_270))
    assert found.shape == (61, 45, 3)
    assert np.abs(found.astype(int) - upright).mean() < 1


def test_other_kinds_of_pixels_become_rgb(tmp_path):
    grey = IMAGE[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(np.dstack([IMAGE, np.zeros_like(grey)])).save(tmp_path / "clear.png")
    Image.fromarray(IMAGE).convert("CMYK").save(tmp_path / "cmyk.tif")
    assert np.array_equal(read_all(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, 2))
    assert np.abs(read_all(tmp_path / "deep.png").astype(int) - grey[..., None]).max() <= 1
    assert (read_all(tmp_path / "clear.png") == 255).all()
    assert read_all(tmp_path / "cmyk.tif").shape == IMAGE.shape


@pytest.mark.parametrize(("pixels", "found"), [
    (IMAGE.astype(np.float32) / 255, "`float` in 3"), (IMAGE.astype(np.uint32), "`uint` in 3"),
    (np.dstack([IMAGE, IMAGE[..., :2]]), "`uchar` in 5"),
])  # fmt: skip
def test_numbers_that_are_no_colours_are_refused(tmp_path, pixels, found):
    pyvips = pytest.importorskip("pyvips")
    pyvips.Image.new_from_array(pixels).tiffsave(str(tmp_path / "a.tif"))
    with pytest.raises(DataError, match=f"wanted 8 or 16 bits in 1 to 4 channels, found numbers of the kind {found}"):
        read_all(tmp_path / "a.tif")


def test_a_file_that_changed_is_read_again(tmp_path):
    for image_HWC in (IMAGE, 255 - IMAGE):
        Image.fromarray(image_HWC).save(tmp_path / "a.tif")
        assert np.array_equal(read_all(tmp_path / "a.tif"), image_HWC)


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.png: there is no such file"):
        read_all(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DataError, match=r"text\.png: wanted an image, but it cannot be read"):
        read_all(tmp_path / "text.png")
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"61 x 45 pixels; at most 100 are read\. Raise tiles\.max_pixels"):
        read_all(tmp_path / "a.png", max_pixels=100)
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.png: wanted an image, but it cannot be read"):
        read_all(tmp_path / "cut.png", rows=1)


def test_a_mask_is_written_in_pieces_and_read_by_others(tmp_path):
    labels = RNG.choice([0, 1, 255], (33, 50)).astype(np.uint8)
    with open_mask_png(tmp_path / "m.png", 50, 33, COLOURS) as png:
        for top in range(0, 33, 10):
            png.write(labels[top : top + 10])
    with Image.open(tmp_path / "m.png") as image:
        image.verify()
    image = Image.open(tmp_path / "m.png")
    assert image.mode == "P"
    assert np.array_equal(np.asarray(image), labels)
    shown = np.asarray(image.convert("RGB"))
    assert np.array_equal(shown[labels == 1][0], COLOURS[1])
    assert np.array_equal(shown[labels == 255][0], COLOURS[2])


def test_a_mask_that_fails_half_way_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="stop"), open_mask_png(tmp_path / "m.png", 5, 5, COLOURS) as png:
        png.write(np.zeros((2, 5), np.uint8))
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rows", [1, 4, 45])
def test_an_overlay_is_the_same_however_rows_come(rows):
    labels = (IMAGE[..., 0] > 128).astype(np.uint8)
    overlay = Overlay(61, 45, COLOURS, longest_px=25, opacity=0.5)
    for top in range(0, 45, rows):
        overlay.add(IMAGE[top : top + rows], labels[top : top + rows])
    image = overlay.image()
    assert image.shape == (15, 20, 3)
    block = IMAGE[:3, :3].reshape(-1, 3).mean(0)
    assert np.abs(image[0, 0] - (0.5 * block + 0.5 * COLOURS[labels[1, 1]])).max() <= 1


def test_void_shows_the_image_itself():
    overlay = Overlay(61, 45, COLOURS, longest_px=100, opacity=1.0)
    overlay.add(IMAGE, np.full((45, 61), 255, np.uint8))
    assert np.array_equal(overlay.image(), IMAGE)


def test_probabilities_are_written_to_their_places(tmp_path):
    piece = RNG.random((2, 4, 6)).astype(np.float16).astype(np.float32)
    with open_probabilities(tmp_path / "p.h5", ("a", "b"), 10, 20) as file:
        file.write(3, 7, piece)
    with h5py.File(tmp_path / "p.h5") as file:
        assert np.array_equal(file["probabilities"][:, 3:7, 7:13], piece)
        assert list(file["probabilities"].attrs["classes"]) == ["a", "b"]
    with (
        pytest.raises(StoreError, match=r"Set tiles\.probabilities to false"),
        open_probabilities(tmp_path / "q.h5", tuple("abcdef"), 10**7, 10**7),
    ):
        pass
