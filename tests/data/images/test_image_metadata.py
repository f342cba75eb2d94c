"""Metadata of any size and in any state: no reason for a refusal, and of no effect on the pixels."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.encoded_images import behind_header, chunk, encoded, png_of, smooth
from tests.present import present

from eightgig.core.errors import ImageRejectedError
from eightgig.data.images.decoding import decode_rgb, inspect_image

PIXELS = smooth(2)
PNG = encoded(PIXELS, "PNG")
LONG = b"node graph of a renderer; " * 60_000
UPSIDE_DOWN = b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\3\0\0\0" + bytes(4)
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'


def inspected(tmp_path, data, name="a.png"):
    (tmp_path / name).write_bytes(data)
    return inspect_image(tmp_path / name, max_pixels=10**6, min_side=1)


QUIET = {  # what a decoder need not even remark on
    "1.5 MB of packed text": chunk(b"zTXt", b"workflow\0\0" + zlib.compress(LONG)),
    "1.5 MB of text": chunk(b"tEXt", b"prompt\0" + LONG),
    "70 MB of packed text": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(70_000_000))),
    "packed text in Unicode": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(LONG)),
    "5,000 texts": chunk(b"tEXt", b"a\0b") * 5_000,
    "a long colour profile": chunk(b"iCCP", b"big\0\0" + zlib.compress(LONG)),
    "a colour profile that is none": chunk(b"iCCP", b"abc"),
    "an unknown packing": chunk(b"iCCP", b"abc\0\7x"),
    "packed text that is none": chunk(b"zTXt", b"a\0\0abc"),
    "no gamma": chunk(b"gAMA", b""),
    "cut colours": chunk(b"cHRM", b"abc"),
    "cut resolution": chunk(b"pHYs", b"a"),
    "cut animation": chunk(b"acTL", b""),
    "private chunk": chunk(b"prVt", LONG),
}  # fmt: skip


@pytest.mark.parametrize("name", QUIET)
def test_what_lies_in_a_png_beside_its_pixels(tmp_path, name):
    data = behind_header(PNG, QUIET[name])
    assert inspected(tmp_path, data).remark == ""
    assert np.array_equal(decode_rgb(data), PIXELS)


REMARKED = {
    "a text with a wrong checksum": (
        behind_header(PNG, chunk(b"tEXt", b"a\0b", is_damaged=True)), "chunk tEXt is left out: its checksum is wrong"),
    "a profile with a wrong checksum": (
        behind_header(PNG, chunk(b"iCCP", b"a\0\0b", is_damaged=True)), "chunk iCCP is left out"),
    "a time behind the pixels with a wrong checksum": (
        PNG[:-12] + chunk(b"tIME", bytes(7), is_damaged=True) + PNG[-12:], "chunk tIME is left out"),
    "broken EXIF data": (behind_header(PNG, chunk(b"eXIf", b"II*\0\x08\0\0\0\x09\0")), "its EXIF data are broken"),
    "no end": (PNG[:-12], "ends without its end chunk"),
    "half an end": (PNG[:-5], "ends without its end chunk"),
    "cut within a text behind the pixels": (
        PNG[:-12] + chunk(b"tEXt", b"a\0" + LONG)[:500], "chunk tEXt is left out: the file ends within it"),
}  # fmt: skip


@pytest.mark.parametrize("name", REMARKED)
def test_what_is_wrong_with_a_png_whose_pixels_are_whole(tmp_path, name):
    data, remark = REMARKED[name]
    assert remark in inspected(tmp_path, data).remark
    assert np.array_equal(decode_rgb(data), PIXELS)


def damaged_chunk(data, name):
    at = data.index(name) + 4 + int.from_bytes(data[data.index(name) - 4 : data.index(name)])
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


PALETTE = encoded(Image.fromarray(PIXELS).quantize(8), "PNG", transparency=3)
PARTS = png_of(PIXELS, 8, 2)
REFUSED = {
    "IHDR": (damaged_chunk(PNG, b"IHDR"), "damaged"),
    "IDAT": (damaged_chunk(PNG, b"IDAT"), "damaged"),
    "PLTE": (damaged_chunk(PALETTE, b"PLTE"), "damaged"),
    "tRNS": (damaged_chunk(PALETTE, b"tRNS"), "damaged"),
    "cut in its pixels": (PNG[: len(PNG) // 2], "truncated"),
    "cut between its pixels' chunks": (PARTS[:33] + chunk(b"IDAT", PARTS[41:200]), "truncated"),
    "two headers": (PNG[:33] + PNG[8:], "damaged"),
    "a chunk that must be understood": (behind_header(PNG, chunk(b"NEWx", b"")), "unsupported"),
    "as Xcode packs it": (PNG[:8] + chunk(b"CgBI", bytes(4)) + PNG[8:], "unsupported"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_png_whose_pixels_are_missing_or_wrong(name):
    data, reason = REFUSED[name]
    with pytest.raises(ImageRejectedError) as caught:
        decode_rgb(data)
    assert caught.value.reason == reason


@pytest.mark.parametrize("more", [
    chunk(b"eXIf", UPSIDE_DOWN),
    chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n  26\n" + UPSIDE_DOWN.hex().encode())),
    chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
])  # fmt: skip
def test_a_png_is_turned_upright_as_pillow_does(more):
    data = behind_header(PNG, more)
    assert Image.open(io.BytesIO(data)).getexif()[0x0112] == 3
    assert np.array_equal(decode_rgb(data), PIXELS[::-1, ::-1])


def riff(*chunks):
    body = b"WEBP" + b"".join(
        name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


WEBP = encoded(PIXELS, "WEBP", lossless=True)
IMAGE = (b"VP8L", WEBP[20 : 20 + int.from_bytes(WEBP[16:20], "little")])
HEAD = (b"VP8X", bytes([0x2C, 0, 0, 0, 63, 0, 0, 47, 0, 0]))


def test_a_webp_with_large_metadata():
    data = riff(HEAD, (b"ICCP", LONG), IMAGE, (b"EXIF", UPSIDE_DOWN), (b"XMP ", LONG))
    assert np.array_equal(decode_rgb(data), PIXELS[::-1, ::-1])


@pytest.mark.parametrize("cut", [10, 100_000, len(LONG) - 50])
def test_a_webp_that_ends_within_its_metadata_is_whole(tmp_path, cut):
    data = riff(HEAD, IMAGE, (b"XMP ", LONG))[:-cut]
    assert "read without its metadata" in inspected(tmp_path, data, "a.webp").remark
    assert np.array_equal(decode_rgb(data), PIXELS)


def test_a_webp_film_that_ends_within_its_second_image_gives_its_first():
    frames = [Image.fromarray(smooth(seed)) for seed in (2, 3)]
    whole = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert np.array_equal(decode_rgb(whole[:-40]), PIXELS)
    with pytest.raises(ImageRejectedError, match="truncated"):
        decode_rgb(whole[: len(whole) // 4])


@pytest.mark.parametrize(("kind", "more"), [("GIF", b"junk" * 9), ("BMP", LONG), ("GIF", LONG)])
def test_bytes_behind_other_images(kind, more):
    plain = encoded(Image.fromarray(PIXELS).quantize(16), kind)
    assert np.array_equal(decode_rgb(plain + more), decode_rgb(plain))


def test_a_gif_with_a_long_comment():
    image = Image.fromarray(PIXELS).quantize(16)
    assert np.array_equal(decode_rgb(encoded(image, "GIF", comment=LONG)), decode_rgb(encoded(image, "GIF")))


def test_a_grey_bmp_of_4_bits_is_not_read_as_one_of_8():
    """Pillow would: half of its pixels are others then."""
    palette = b"".join(bytes([value] * 3 + [0]) for value in range(16))
    header = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 4, 0, 32, 0, 0, 16, 0)
    at = 14 + len(header) + len(palette)
    data = b"BM" + struct.pack("<IHHI", at + 32, 0, 0, at) + header + palette + bytes(range(32))
    with pytest.raises(ImageRejectedError, match="unsupported: a grey BMP of 4 bits; save it as PNG"):
        decode_rgb(data)


NAMES = st.sampled_from([b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"gAMA", b"cHRM", b"pHYs", b"eXIf", b"tIME", b"sRGB",
                         b"sBIT", b"hIST", b"sPLT", b"acTL", b"prVt"])  # fmt: skip
CHUNKS = st.lists(st.tuples(NAMES, st.binary(max_size=40) | st.just(LONG), st.booleans()), max_size=4)


@settings(max_examples=60, deadline=None)
@given(before=CHUNKS, behind=CHUNKS, ending=st.sampled_from([0, 12, 5]))
def test_no_ancillary_chunk_changes_a_pixel_and_opencv_agrees(before, behind, ending):
    def made(chunks):
        return b"".join(chunk(name, body, is_damaged=is_damaged) for name, body, is_damaged in chunks)

    data = PNG[:33] + made(before) + PNG[33:-12] + made(behind) + PNG[-12:]
    data = data[: len(data) - ending] if ending else data
    orientation = Image.open(io.BytesIO(PNG)).getexif().get(0x0112, 1)
    assert orientation == 1
    assert np.array_equal(decode_rgb(data), PIXELS)
    if not ending and b"acTL" not in data:
        assert np.array_equal(present(cv2.imdecode(np.frombuffer(data, np.uint8), 1))[..., ::-1], PIXELS)


VALUES = np.array([[0, 128, 129, 257, 20_000, 32_768, 65_534, 65_535]] * 2, np.int64)
SCALED = np.rint(VALUES / 257).astype(int)
CLEAR = np.array([[65_535] * 4 + [0] * 4] * 2, np.int64)
OVER_WHITE = np.where(CLEAR == 0, 255, SCALED)


@pytest.mark.parametrize(("values", "colour", "chunks", "wanted"), [
    (VALUES, 0, [], SCALED),
    (np.dstack([VALUES, CLEAR]), 4, [], OVER_WHITE),
    (np.dstack([VALUES] * 3), 2, [], SCALED),
    (np.dstack([VALUES] * 3 + [CLEAR]), 6, [], OVER_WHITE),
    (VALUES, 0, [chunk(b"tRNS", struct.pack(">H", 257))], np.where(VALUES == 257, 255, SCALED)),
    (np.dstack([VALUES] * 3), 2, [chunk(b"tRNS", struct.pack(">HHH", 257, 257, 257))],
     np.where(VALUES == 257, 255, SCALED)),
])  # fmt: skip
def test_16_bits_become_8_and_it_is_told(tmp_path, values, colour, chunks, wanted):
    data = png_of(values, 16, colour, *chunks)
    assert np.array_equal(decode_rgb(data), np.dstack([wanted] * 3))
    note = inspected(tmp_path, data).note
    assert "16 bits a channel, scaled from 0..65535 to 0..255; its largest value is 65535" in note
    assert ("transparent parts over white" in note) == bool(colour & 4 or chunks)


@pytest.mark.parametrize(("bits", "factor"), [(1, 255), (2, 85), (4, 17), (8, 1)])
def test_grey_of_few_bits_fills_the_range(bits, factor):
    values = np.arange(16, dtype=np.int64).reshape(2, 8) % 2**bits
    assert np.array_equal(decode_rgb(png_of(values, bits, 0)), np.dstack([values * factor] * 3))


def test_grey_with_transparency_and_what_is_wholly_transparent_is_told(tmp_path):
    grey = np.full((20, 20), 100, np.uint8)
    half = np.where(np.arange(20) < 10, 255, 0) + 0 * grey
    data = encoded(Image.fromarray(np.dstack([grey, half.astype(np.uint8)]), "LA"), "PNG")
    assert decode_rgb(data)[0, [0, 19]].tolist() == [[100] * 3, [255] * 3]
    assert inspected(tmp_path, data).note == "transparent parts over white"
    clear = encoded(Image.fromarray(np.dstack([grey, 0 * grey]), "LA"), "PNG")
    assert inspected(tmp_path, clear).note == "wholly transparent: all of it is white"
