"""JPEGs on which libjpeg remarks: whole ones are kept with a note, those with missing or wrong pixels are refused."""

import io
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.encoded_images import END, after_start, before_marker, encoded, jpeg_segment, smooth, with_scan_end

from eightgig.core.errors import ImageRejectedError
from eightgig.data.images.decoding import decode_plain_jpeg, decode_rgb, inspect_image, is_plain_jpeg

PIXELS = smooth(1)
GOOD = encoded(PIXELS, "JPEG", quality=92)
RESTARTS = encoded(PIXELS, "JPEG", quality=92, restart_marker_blocks=2)
PROGRESSIVE = encoded(PIXELS, "JPEG", quality=92, progressive=True)
GREY = encoded(PIXELS[..., 0], "JPEG", quality=92)
STRAYS = bytes(range(1, 30))
ADOBE = jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0")


def adobe(transform):
    """An Adobe marker instead of JFIF's, with a colour transform."""
    return after_start(GOOD[:2] + GOOD[20:], jpeg_segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform])))


def stray(data):
    return data[:-2] + STRAYS + END


WHOLE = {  # name: (file, the same without the fault, what is remarked)
    "a scan's range of 0, as Samsung writes it": (with_scan_end(GOOD, 0), GOOD, "Invalid SOS parameters"),
    "stray bytes before the end, as webcams write": (stray(GOOD), GOOD, "26 extraneous bytes before marker 0xd9"),
    "stray bytes, grey": (stray(GREY), GREY, "extraneous bytes before marker 0xd9"),
    "stray bytes, progressive": (stray(PROGRESSIVE), PROGRESSIVE, "extraneous bytes before marker 0xd9"),
    "stray bytes with a stuffed byte": (GOOD[:-2] + b"ab\xff\0cd" * 9 + END, GOOD, "extraneous bytes"),
    "stray bytes and a scan's range of 0": (with_scan_end(stray(GOOD), 0), GOOD, "Invalid SOS parameters"),
    "stray bytes before a restart marker": (before_marker(RESTARTS, 0xD2, STRAYS), RESTARTS, "before marker 0xd2"),
    "stray bytes before two restart markers": (
        before_marker(before_marker(RESTARTS, 0xD1, STRAYS), 0xD4, STRAYS), RESTARTS, "before marker 0xd1"),
    "stray bytes before a table": (before_marker(GOOD, 0xC4, b"abc"), GOOD, "3 extraneous bytes before marker 0xc4"),
    "no end marker": (GOOD[:-2], GOOD, "Premature end of JPEG file"),
    "half an end marker": (GOOD[:-1], GOOD, "Premature end of JPEG file"),
    "stray bytes and no end marker": (GOOD[:-2] + STRAYS, GOOD, "Premature end of JPEG file"),
    "no end marker, progressive": (PROGRESSIVE[:-2], PROGRESSIVE, "Premature end of JPEG file"),
    "another revision of JFIF": (GOOD.replace(b"JFIF\0\1\1", b"JFIF\0\2\1"), GOOD, "unknown JFIF revision number 2.01"),
    "an unknown colour transform": (adobe(7), adobe(1), "Unknown Adobe color transform code 7"),
    "a broken colour profile": (
        after_start(GOOD, jpeg_segment(0xE2, b"ICC_PROFILE\0\5\2ab")), GOOD, "bad ICC marker"),
    "cut Photoshop data": (
        after_start(GOOD, jpeg_segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4")), GOOD, "read without its metadata"),
    "EXIF data that are cut": (
        after_start(GOOD, jpeg_segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\5\0\x12\1")), GOOD, "EXIF data are broken"),
    "EXIF data that are none": (
        after_start(GOOD, jpeg_segment(0xE1, b"Exif\0\0nothing of the kind")), GOOD, "EXIF data are broken"),
}  # fmt: skip
SILENT = {
    "bytes behind the end": (GOOD + b"garbage" * 99, GOOD),
    "bytes to fill up before a marker": (GOOD[:-2] + b"\xff" * 9 + END, GOOD),
    "4 MB of comments": (after_start(GOOD, jpeg_segment(0xFE, b"c" * 65_000) * 64), GOOD),
    "4 MB of application data": (after_start(GOOD, jpeg_segment(0xEB, b"JP" + b"x" * 65_000) * 64), GOOD),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_image_is_kept_and_the_remark_told(tmp_path, name):
    data, plain, remark = WHOLE[name]
    (tmp_path / "a.jpg").write_bytes(data)
    found = inspect_image(tmp_path / "a.jpg", max_pixels=10**6, min_side=1)
    assert remark in found.remark
    wanted = np.asarray(Image.open(io.BytesIO(plain)).convert("RGB"))
    assert np.array_equal(decode_rgb(data), wanted)
    if is_plain_jpeg(data):
        assert np.array_equal(decode_plain_jpeg(data), wanted)


@pytest.mark.parametrize("name", SILENT)
def test_what_no_decoder_remarks_on_is_not_told(tmp_path, name):
    data, plain = SILENT[name]
    (tmp_path / "a.jpg").write_bytes(data)
    assert inspect_image(tmp_path / "a.jpg", max_pixels=10**6, min_side=1).remark == ""
    assert np.array_equal(decode_rgb(data), decode_rgb(plain))


def scans(data):
    """Where the scans of a progressive image begin, with their tables."""
    return [at for at in range(len(data) - 1) if data[at : at + 2] == b"\xff\xda"]


REFUSED = {  # name: (file, reason)
    "cut in the middle": (GOOD[: len(GOOD) * 6 // 10], "truncated"),
    "cut near the end": (GOOD[:-30], "truncated"),
    "cut and ended": (GOOD[: len(GOOD) * 8 // 10] + END, "damaged"),
    "cut, stray bytes, ended": (GOOD[: len(GOOD) * 7 // 10] + bytes(9) + END, "damaged"),
    "cut between scans": (PROGRESSIVE[: PROGRESSIVE.rindex(b"\xff\xc4")], "truncated"),
    "cut in the first scan": (PROGRESSIVE[: scans(PROGRESSIVE)[0] + 30], "truncated"),
    "cut in its tables": (GOOD[:200], "truncated"),
    "a restart marker is missing": (RESTARTS.replace(b"\xff\xd2", b""), "damaged"),
    "a restart marker is another": (RESTARTS.replace(b"\xff\xd2", b"\xff\xd5"), "damaged"),
    "2 channels": (
        GREY.replace(b"\xff\xc0\0\x0b\x08", b"\xff\xc0\0\x0e\x08").replace(
            b"\1\1\x11\0\xff\xc4", b"\2\1\x11\0\2\x11\0\xff\xc4"
        ),
        "unsupported",
    ),
    "a thumbnail in EXIF data whose length is wrong": (
        after_start(GOOD, b"\xff\xe1\0\x08Exif\0\0" + encoded(PIXELS[:16, :16], "JPEG")),
        "truncated",
    ),
    "12 bits": (GOOD.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"), "unsupported"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_missing_or_wrong_pixels_are_refused(name):
    data, reason = REFUSED[name]
    with pytest.raises(ImageRejectedError) as caught:
        decode_rgb(data)
    assert caught.value.reason == reason


def photo(seed):
    noise = np.random.default_rng(seed).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    return encoded(cv2.GaussianBlur(noise, (0, 0), 1.5), "JPEG", quality=90)


def test_data_that_lost_their_place_are_no_stray_bytes():
    """Where 40 bytes were zeroed libjpeg often speaks as if they had stray bytes; none of these is kept."""
    refused = told = 0
    for seed in range(4):
        good = photo(seed)
        for at in range(800, len(good) - 100, len(good) // 20):
            torn = good[:at] + bytes(40) + good[at + 40 :]
            try:
                simplejpeg.decode_jpeg(torn, "RGB", strict=True)
            except ValueError as error:
                told += "extraneous" in str(error)
                with pytest.raises(ImageRejectedError, match="damaged"):
                    decode_rgb(torn)
                refused += 1
    assert told >= 12
    assert refused >= told


def decoders(data):
    """The pixels by Pillow, libjpeg-turbo and OpenCV; None where one gives none."""

    def pillow():
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def turbo():
        return simplejpeg.decode_jpeg(data, "RGB", strict=False)

    def opencv():
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        return None if bgr is None else bgr[..., ::-1]

    for decode in (pillow, turbo, opencv):
        try:
            yield decode()
        except (OSError, ValueError):
            yield None


HARMLESS = st.sampled_from([
    lambda data: data,
    lambda data: with_scan_end(data, 7) if b"\xff\xc2" not in data else data,
    lambda data: data[:-2] + b"\x55\xaa\x01" * 11 + data[-2:],
    lambda data: data[:-2],
    lambda data: data + b"more" * 50,
    lambda data: data.replace(b"JFIF\0\1\1", b"JFIF\0\3\7"),
    lambda data: after_start(data, jpeg_segment(0xE2, b"ICC_PROFILE\0\7\1x")),
    lambda data: after_start(data, jpeg_segment(0xE1, b"Exif\0\0MM\0*")),
    lambda data: after_start(data, jpeg_segment(0xFE, b"comment" * 5_000) * 9),
    lambda data: before_marker(data, 0xDB, b"xyz"),
])  # fmt: skip
KINDS = st.fixed_dictionaries({
    "quality": st.integers(40, 99),
    "progressive": st.booleans(),
    "restart_marker_blocks": st.sampled_from([0, 1, 4]),
    "subsampling": st.integers(0, 2),
    "optimize": st.booleans(),
})  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 99), height=st.integers(17, 70), width=st.integers(17, 70), kind=KINDS, harmless=HARMLESS,
    cut=st.none() | st.floats(0.2, 0.9),
)  # fmt: skip
def test_what_is_refused_has_missing_pixels_and_what_is_kept_is_what_all_decoders_give(
    seed, height, width, kind, harmless, cut
):
    plain = encoded(smooth(seed, height, width), "JPEG", **kind)
    wanted = simplejpeg.decode_jpeg(plain, "RGB")
    data = harmless(plain if cut is None else plain[: int(cut * len(plain))])
    if cut is not None:
        with pytest.raises(ImageRejectedError):
            decode_rgb(data)
        return
    assert np.array_equal(decode_rgb(data), wanted)
    for found in decoders(data):  # where another decoder gives pixels, they are the same
        assert found is None or np.array_equal(found, wanted)


@pytest.mark.parametrize("data", [GOOD[:-2] + END, *(GOOD[: int(share * len(GOOD))] for share in (0.3, 0.6, 0.9))])
def test_pillow_libjpeg_turbo_and_opencv_agree(data):
    is_whole = data == GOOD
    by_turbo: Any = None
    with_turbo = True
    try:
        by_turbo = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except ValueError:
        with_turbo = False
    pillow, _, opencv = decoders(data)
    assert (with_turbo, pillow is not None, opencv is not None) == (is_whole,) * 3
    if is_whole:
        assert np.array_equal(decode_rgb(data), by_turbo)
    else:
        with pytest.raises(ImageRejectedError, match="truncated"):
            decode_rgb(data)


def test_inks_are_judged_as_colours_are():
    inks = encoded(Image.fromarray(PIXELS).convert("CMYK"), "JPEG", quality=92)
    assert np.array_equal(decode_rgb(stray(inks)), decode_rgb(inks))
    with pytest.raises(ImageRejectedError, match="truncated"):
        decode_rgb(inks[:-40])
