"""Which bands of a TIFF are colours and transparency, and how numbers become 0 to 255: a row a kind."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from tests.encoded_images import encoded, tiff_of
from tests.present import present

from eightgig.core.errors import DataError
from eightgig.data.images.tiff import read_tiff
from eightgig.tiles.bands import Wanted
from eightgig.tiles.parameters import TilesParameters
from eightgig.tiles.source import open_source

pytest.importorskip("pyvips")

BANDS = np.random.default_rng(0).integers(0, 256, (6, 8, 5), dtype=np.uint8)
BANDS[0, 0] = (40, 90, 30, 200, 0)
DEEP = np.random.default_rng(1).integers(0, 65_536, (6, 8, 4)).astype(np.uint16)
RGB = BANDS[..., :3]
SHARES = (DEEP / 65_535).astype(np.float32)
CHOSEN = "to 0..255, as chosen; what is outside is cut"
TURNED = "its smallest number is white, as the file says"
NO_PROFILE = "CMYK, converted without a colour profile"
LEFT_OUT = "left out: the file does not call it colour or transparency"
ZERO_TO_ONE = Wanted(black_white=(0, 1))
MEMORY = 2**16  # of 16 bits
PALETTE = [int(value) for value in np.r_[np.arange(256), 255 - np.arange(256), np.full(256, 128)] * 257]
GREY_PALETTE = [int(value) for value in np.r_[np.arange(256), np.arange(256), np.arange(256)] * 257]


def read(path, **options):
    with open_source(path, max_pixels=10**6, **options) as source:
        return source.read(0, source.height), source.notes


def over_white(colours, alpha):
    share = alpha[..., None].astype(float)
    return np.rint(colours * share + 255 * (1 - share))


def three(grey):
    return np.dstack([grey] * 3)


def inks(bands):
    light = 255.0 - bands.astype(float)
    return np.rint(light[..., :3] * light[..., 3:4] / 255)


SCALED = np.rint(DEEP / 257)
ALPHA = BANDS[..., 3] / 255
READ = {  # name: (file, what the user chose, pixels, what is told)
    "RGB": (tiff_of(RGB, 2), Wanted(), RGB, []),
    "RGB in planes": (tiff_of(RGB, 2, planar=True), Wanted(), RGB, []),
    "RGB, big-endian": (tiff_of(RGB, 2, order=">"), Wanted(), RGB, []),
    "a fourth band, unspecified": (
        tiff_of(BANDS[..., :4], 2, extra=[0]), Wanted(), RGB, ["band 4 of 4 is " + LEFT_OUT]),
    "a fourth band, not mentioned": (tiff_of(BANDS[..., :4], 2), Wanted(), RGB, ["band 4 of 4 is " + LEFT_OUT]),
    "a fourth band in planes": (
        tiff_of(BANDS[..., :4], 2, extra=[0], planar=True), Wanted(), RGB, ["band 4 of 4 is " + LEFT_OUT]),
    "a fourth band that is alpha": (
        tiff_of(BANDS[..., :4], 2, extra=[2]), Wanted(), over_white(RGB, ALPHA), ["transparent parts over white"]),
    "a fourth band that is alpha, multiplied in": (
        tiff_of(np.dstack([(RGB * ALPHA[..., None]).astype(np.uint8), BANDS[..., 3]]), 2, extra=[1]), Wanted(),
        np.rint((RGB * ALPHA[..., None]).astype(np.uint8) + 255 * (1 - ALPHA[..., None])),
        ["transparent parts over white"]),
    "near-infrared and alpha": (
        tiff_of(BANDS, 2, extra=[0, 2]), Wanted(), over_white(RGB, BANDS[..., 4] / 255),
        ["band 4 of 5 is " + LEFT_OUT, "transparent parts over white"]),
    "alpha and near-infrared": (
        tiff_of(BANDS, 2, extra=[2, 0]), Wanted(), over_white(RGB, ALPHA),
        ["band 5 of 5 is " + LEFT_OUT, "transparent parts over white"]),
    "two more bands": (tiff_of(BANDS, 2, extra=[0, 0]), Wanted(), RGB, ["band 4, 5 of 5 is " + LEFT_OUT]),
    "grey": (tiff_of(BANDS[..., :1], 1), Wanted(), three(BANDS[..., 0]), []),
    "grey whose 0 is white": (tiff_of(BANDS[..., :1], 0), Wanted(), three(255 - BANDS[..., 0]), []),
    "grey and another band": (
        tiff_of(BANDS[..., :2], 1, extra=[0]), Wanted(), three(BANDS[..., 0]), ["band 2 of 2 is " + LEFT_OUT]),
    "grey and alpha": (
        tiff_of(BANDS[..., [0, 3]], 1, extra=[2]), Wanted(), three(over_white(BANDS[..., :1], ALPHA)[..., 0]),
        ["transparent parts over white"]),
    "bands of which nothing is known, chosen": (
        tiff_of(BANDS[..., :4], 1, extra=[0, 0, 0]), Wanted(bands=(4, 3, 2)), BANDS[..., [3, 2, 1]],
        ["bands 4, 3, 2 of 4 are read as RGB"]),
    "one band, chosen": (
        tiff_of(BANDS[..., :4], 2, extra=[0]), Wanted(bands=(4,)), three(BANDS[..., 3]),
        ["bands 4 of 4 are read as grey"]),
    "palette": (tiff_of(BANDS[..., :1], 3, more=[(320, 3, PALETTE)]), Wanted(),
                np.dstack([BANDS[..., 0], 255 - BANDS[..., 0], np.full((6, 8), 128)]), []),
    "palette of grey": (tiff_of(BANDS[..., :1], 3, more=[(320, 3, GREY_PALETTE)]), Wanted(), three(BANDS[..., 0]), []),
    "CMYK in planes": (
        tiff_of(BANDS[..., :4], 5, planar=True), Wanted(), inks(BANDS[..., :4]), [NO_PROFILE]),
    "CMYK": (tiff_of(BANDS[..., :4], 5), Wanted(), inks(BANDS[..., :4]), [NO_PROFILE]),
    "16 bits": (tiff_of(DEEP[..., :3], 2), Wanted(), SCALED[..., :3], ["16 bits, scaled from 0..65535 to 0..255"]),
    "16 bits, big-endian, a fourth band": (
        tiff_of(DEEP, 2, extra=[0], order=">"), Wanted(), SCALED[..., :3],
        ["band 4 of 4 is " + LEFT_OUT, "16 bits, scaled from 0..65535 to 0..255"]),
    "16 bits and alpha": (
        tiff_of(DEEP, 2, extra=[2]), Wanted(), over_white(DEEP[..., :3] / 257, DEEP[..., 3] / 65_535),
        ["transparent parts over white", "16 bits, scaled from 0..65535 to 0..255"]),
    "16 bits whose 0 is white": (
        tiff_of(DEEP[..., :1], 0), Wanted(), np.rint((65_535 - three(DEEP[..., 0])) / 257),
        ["16 bits, scaled from 0..65535 to 0..255"]),
    "16 bits, range chosen": (
        tiff_of(DEEP[..., :3], 2), Wanted(black_white=(1000, 40_000)),
        np.rint((DEEP[..., :3].astype(float) - 1000) * 255 / 39_000).clip(0, 255),
        ["scaled from 1000..40000 " + CHOSEN]),
    "16 bits whose 0 is white, range chosen": (
        tiff_of(DEEP[..., :1], 0), Wanted(black_white=(0, 40_000)),
        three(255 - np.rint(DEEP[..., 0] * 255.0 / 40_000).clip(0, 255)),
        ["scaled from 0..40000 " + CHOSEN, TURNED]),
    "12 bits of a camera in 16": (
        tiff_of(DEEP[..., :3] // 16, 2), Wanted(), np.rint(DEEP[..., :3] // 16 / 257),
        ["16 bits, scaled from 0..65535 to 0..255",
         "its brightest value is 16 of 255: if that is too dark, set tiles.black and tiles.white"]),
    "signed": (
        tiff_of((DEEP[..., :1].astype(int) - MEMORY // 2).astype(np.int16), 1), Wanted(black_white=(-32_768, 32_767)),
        np.rint(three(DEEP[..., 0]) / 257), ["scaled from -32768..32767 " + CHOSEN]),
    "32 bits": (
        tiff_of(DEEP[..., :1].astype(np.uint32) * 9, 1), Wanted(black_white=(0, 9 * 65_535)),
        np.rint(three(DEEP[..., 0]) / 257), ["scaled from 0..589815 " + CHOSEN]),
    "float": (tiff_of(SHARES[..., :3], 2), ZERO_TO_ONE, SCALED[..., :3],
              ["scaled from 0..1 " + CHOSEN]),
    "half": (tiff_of((BANDS[..., :1] / 256).astype(np.float16), 1), ZERO_TO_ONE,
             np.rint(three(BANDS[..., 0]) * (255 / 256)), ["scaled from 0..1 " + CHOSEN]),
    "float and alpha": (
        tiff_of(SHARES, 2, extra=[2]), ZERO_TO_ONE, over_white(SHARES[..., :3] * 255, SHARES[..., 3]),
        ["transparent parts over white", "scaled from 0..1 " + CHOSEN]),
    "float whose 0 is white": (
        tiff_of(SHARES[..., :1], 0), ZERO_TO_ONE, 255 - SCALED[..., [0, 0, 0]],
        ["scaled from 0..1 " + CHOSEN, TURNED]),
}  # fmt: skip
NEAR = 1  # two roundings where something is laid over white


@pytest.mark.parametrize("name", READ)
def test_how_a_tiff_is_read(tmp_path, name):
    data, wanted, pixels, notes = READ[name]
    (tmp_path / "a.tif").write_bytes(data)
    found, told = read(tmp_path / "a.tif", wanted=wanted)
    apart = np.abs(found.astype(int) - pixels).max()
    assert apart <= (NEAR if "white" in "".join(told) or "CMYK" in name else 0), apart
    assert list(told) == notes


def test_numbers_that_are_none_and_what_has_no_data_are_black(tmp_path):
    values = np.full((2, 4, 3), 0.5, np.float32)
    values[0] = np.array([[np.nan] * 3, [np.inf] * 3, [-np.inf] * 3, [1e30, 1e30, 1e30]])
    values[1, 0] = (1e30, 0.5, 0.5)  # in one band alone it is a number
    (tmp_path / "a.tif").write_bytes(tiff_of(values, 2, more=[(42113, 2, b"1e30\0")]))
    found, told = read(tmp_path / "a.tif", wanted=ZERO_TO_ONE)
    assert found[0].tolist() == [[0] * 3, [255] * 3, [0] * 3, [0] * 3]
    assert found[1, :2].tolist() == [[255, 128, 128], [128] * 3]
    assert "what has no data (1e+30 in all bands) is black" in told


NOTHING_SAYS = "nothing says which is black and which is white. Set tiles.black and tiles.white"
REFUSED = {
    "float": (tiff_of(SHARES[..., :3], 2), "numbers of the kind `float` in 3: " + NOTHING_SAYS),
    "signed": (tiff_of(DEEP[..., :1].astype(np.int16), 1), "numbers of the kind `short` in 1: " + NOTHING_SAYS),
    "signed bytes": (tiff_of(BANDS[..., :1].astype(np.int8), 1), "numbers of the kind `char` in 1: " + NOTHING_SAYS),
    "32 bits": (tiff_of(DEEP.astype(np.uint32), 2, extra=[0]), "numbers of the kind `uint` in 4: " + NOTHING_SAYS),
    "doubles": (tiff_of(SHARES[..., :1].astype(np.float64), 1), "found 64 (float numbers). Convert it to RGB"),
    "complex": (tiff_of(SHARES[..., :1].astype(np.complex64), 1), "found 64 (complex or unknown numbers)"),
    "bands of which nothing is known": (
        tiff_of(BANDS[..., :4], 1, extra=[0, 0, 0]),
        "Choose: tiles.bands=1-2-3 for red, green and blue, or tiles.bands=1"),
    "two bands of transparency": (tiff_of(BANDS, 2, extra=[2, 2]), "2 of them are called transparency"),
    "grey and another band in planes": (
        tiff_of(BANDS[..., :2], 1, extra=[0], planar=True), "found bands that lie apart (planar configuration 2)"),
    "grey and alpha in planes": (
        tiff_of(BANDS[..., :2], 0, extra=[2], planar=True), "gdal_translate -co INTERLEAVE=PIXEL"),
    "CIE Lab": (tiff_of(RGB, 8), "found colours in CIE Lab. Convert it to RGB of 8 bits"),
    "ICC Lab": (tiff_of(RGB, 9), "found colours in CIE Lab"),
    "a sensor's mosaic": (tiff_of(BANDS[..., :1], 32_803), "found pixels of the kind 32803 (tag 262)"),
    "other inks": (tiff_of(BANDS[..., :4], 5, more=[(332, 3, [2])]), "found inks that are not CMYK"),
    "too few bands": (tiff_of(BANDS[..., :1], 2), "3 bands of colours, found 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_says_what_to_do(tmp_path, name):
    data, said = REFUSED[name]
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(DataError, match=rf"a\.tif: wanted.*{re.escape(said)}"):
        read(tmp_path / "a.tif")


def test_a_band_that_is_not_there(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff_of(RGB, 2))
    with pytest.raises(DataError, match=r"a\.tif: tiles\.bands=1-2-9: the image has 3 bands\. Choose among these"):
        read(tmp_path / "a.tif", wanted=Wanted(bands=(1, 2, 9)))


@pytest.mark.parametrize("order", ["<", ">"])
def test_pages_are_told_and_smaller_copies_are_passed_over(tmp_path, order):
    small = tiff_of(RGB[:2, :3], 2, kind=1, order=order)
    (tmp_path / "thumbnail_first.tif").write_bytes(tiff_of(RGB, 2, pages_before=[small], order=order))
    found, told = read(tmp_path / "thumbnail_first.tif")
    assert np.array_equal(found, RGB)
    assert told == ()
    pages = [tiff_of(RGB, 2, order=order), small, tiff_of(RGB[:4], 2, order=order)]
    (tmp_path / "pages.tif").write_bytes(tiff_of(BANDS[..., :1], 1, kind=4, pages_before=pages, order=order))
    found, told = read(tmp_path / "pages.tif")
    assert np.array_equal(found, RGB)
    assert told == ("page 1 of 4 is read", "its mask of transparency is not applied")
    tiff = present(read_tiff(tmp_path / "pages.tif"))
    assert (tiff.num_pages, tiff.num_copies, tiff.num_masks) == (2, 1, 1)


def test_other_formats_have_their_alpha(tmp_path):
    clear = np.dstack([RGB, np.zeros((6, 8), np.uint8)])
    (tmp_path / "a.png").write_bytes(encoded(clear, "PNG"))
    assert (read(tmp_path / "a.png")[0] == 255).all()
    (tmp_path / "b.jpg").write_bytes(encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG", quality=99))
    found, _ = read(tmp_path / "b.jpg")
    assert np.abs(found.astype(int) - np.asarray(Image.open(tmp_path / "b.jpg").convert("RGB"))).max() <= NEAR


@settings(max_examples=60, deadline=None)
@given(
    num_extra=st.integers(0, 3), kinds=st.lists(st.sampled_from([0, 2]), min_size=3, max_size=3), deep=st.booleans(),
    order=st.sampled_from("<>"), planar=st.booleans(), is_grey=st.booleans(), is_said=st.booleans(),
)  # fmt: skip
def test_only_a_band_that_the_file_calls_alpha_is_alpha(
    tmp_path_factory, num_extra, kinds, deep, order, planar, is_grey, is_said
):
    num_colours = 1 if is_grey else 3
    rng = np.random.default_rng(num_extra)
    pixels = rng.integers(0, 65_536 if deep else 256, (5, 7, num_colours + num_extra)).astype("u2" if deep else "u1")
    extra = kinds[:num_extra] if is_said else None
    path = tmp_path_factory.mktemp("bands") / "a.tif"
    path.write_bytes(tiff_of(pixels, 1 if is_grey else 2, extra=extra, order=order, planar=planar))
    if planar and is_grey and num_extra:
        with pytest.raises(DataError, match="bands that lie apart"):
            read(path)
        return
    alphas = [place for place, kind in enumerate(extra or []) if kind == 2]
    num_unknown = num_extra - len(alphas)
    if len(alphas) > 1 or (is_grey and num_unknown > 1):
        with pytest.raises(DataError, match=r"tiles\.bands=1-2-3"):
            read(path)
        return
    most = 65_535 if deep else 255
    wanted = pixels[..., :num_colours] * (255 / most)
    if alphas:
        wanted = over_white(wanted, pixels[..., num_colours + alphas[0]] / most)
    found, told = read(path)
    assert np.abs(found - wanted).max() <= NEAR
    assert any(LEFT_OUT in note for note in told) == (num_unknown > 0)
    assert any("16 bits" in note for note in told) == deep


def test_parameters():
    assert TilesParameters(bands="4-3-2").bands == (4, 3, 2)
    assert TilesParameters(bands=1).bands == (1,)
    assert TilesParameters(bands=[1, 2, 3], black=0, white=10_000).black_white == (0, 10_000)
    assert TilesParameters().black_white is None
    for options in ({"bands": "1-2"}, {"bands": "0-1-2"}, {"bands": "red"}, {"black": 1.0}, {"black": 2, "white": 1}):
        with pytest.raises(ValidationError):
            TilesParameters(**options)
