"""The size of a WebP by its first bytes, and that nothing huge is opened."""

import numpy as np
import pytest
from PIL import Image

from eightgig.core.errors import DataError, ImageRejectedError
from eightgig.data.images.decoding import decode_rgb
from eightgig.data.images.webp import NUM_HEADER_BYTES, canvas_size
from eightgig.tiles.source import open_source


@pytest.fixture
def encoded(encode, smooth_pixels):
    def make(width, height, **options):
        image = Image.fromarray(smooth_pixels(0, height, width))
        return encode(image.convert("RGBA").rotate(9) if options.pop("clear", False) else image, "WEBP", **options)

    return make


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"clear": True}, {"exif": b"Exif\0\0"}])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (61, 45), (300, 2)])
def test_the_size_is_that_of_pillow(encoded, width, height, options):
    assert canvas_size(encoded(width, height, **options)[:NUM_HEADER_BYTES]) == (width, height)


@pytest.mark.parametrize(
    "head", [b"", b"RIFF", b"RIFF\0\0\0\0WAVEfmt " + b"\0" * 20, b"RIFF\0\0\0\0WEBPVP8?" + b"\0" * 20]
)
def test_what_is_no_webp_has_none(head):
    assert canvas_size(head) is None


def huge(data):
    """The same file, which now says 16,383 pixels a side."""
    assert data[12:16] == b"VP8X"
    return data[:24] + (16_382).to_bytes(3, "little") * 2 + data[30:]


def test_a_huge_one_is_refused_before_a_decoder_makes_room(encoded, tmp_path, monkeypatch):
    data = huge(encoded(20, 20, clear=True))
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(ImageRejectedError, match=r"too_large: 16383 x 16383 pixels by its header"):
        decode_rgb(data, max_pixels=10**8)
    (tmp_path / "a.webp").write_bytes(data)
    with (
        pytest.raises(DataError, match=r"a\.webp: 16,383 x 16,383 pixels; at most 1,000,000 are read"),
        open_source(tmp_path / "a.webp", max_pixels=10**6),
    ):
        pass


def test_an_ordinary_one_is_read(encoded, tmp_path):
    (tmp_path / "a.webp").write_bytes(encoded(40, 30, lossless=True))
    with open_source(tmp_path / "a.webp", max_pixels=10**6) as source:
        assert np.array_equal(source.read(0, 30), decode_rgb((tmp_path / "a.webp").read_bytes()))
