"""Masks of every kind of file: which number means which class, and what could mean two things."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.encoded_images import behind_header, chunk, encoded, png_of, tiff_of

from eightgig.core.errors import ImageRejectedError
from eightgig.data.ingest.class_table import KNOWN_TABLES, read_table
from eightgig.data.store.masks import VOID
from eightgig.tasks.segmentation.mask_files import inspect_mask, read_mask

BOTH = "name,label,r,g,b\nroad,0,128,64,128\nsky,1,70,130,180\nvoid,2,0,0,0\n"
LABELS = "name,label\nroad,0\nsky,1\nvoid,2\n"
COLOURS = "name,r,g,b\nroad,128,64,128\nsky,70,130,180\nvoid,0,0,0\n"
VALUES = np.array([[0, 1, 2], [1, 1, 0]], np.uint8)
WANTED = [[0, 1, VOID], [1, 1, 0]]
SHADES = [127, 63, 127, 70, 130, 180, 0, 0, 0]
EXACT = [128, 64, 128, 70, 130, 180, 0, 0, 0]
SWAPPED = [70, 130, 180, 128, 64, 128, 0, 0, 0]
RAMP = [value for value in range(256) for _ in range(3)]


@pytest.fixture
def read(tmp_path):
    """Write a mask and a table, and read the one by the other."""

    def _read(content, table=LABELS, name="m.png"):
        (tmp_path / name).write_bytes(content)
        (tmp_path / "classes.csv").write_text(table)
        return read_mask(tmp_path / name, read_table(tmp_path / "classes.csv"), max_pixels=10_000).tolist()

    return _read


def palette_png(values, palette, kind="PNG", **options):
    image = Image.fromarray(np.asarray(values, np.uint8), "P")
    image.putpalette(palette)
    return encoded(image, kind, **options)


def looked_up(palette, values=VALUES):
    return np.array(palette, np.uint8).reshape(-1, 3)[values]


GREY_RGB = np.dstack([VALUES] * 3)
OPAQUE = np.full_like(VALUES, 255)
TWO = "name,label\nback,0\nthing,255\n"
TWO_IN_ORDER = "name,label\nback,0\nthing,1\n"
BITS = np.array([[0, 1, 1, 0, 1, 1, 1, 0]], np.uint8)
RIGHT = {  # name: (file, table, labels, ending)
    "palette of another shade": (palette_png(VALUES, SHADES), BOTH, WANTED, "png"),
    "palette of the same colours": (palette_png(VALUES, EXACT), BOTH, WANTED, "png"),
    "palette, table of labels": (palette_png(VALUES, SWAPPED), LABELS, WANTED, "png"),
    "palette, table of colours": (palette_png([[1, 0, 2], [0, 0, 1]], SWAPPED), COLOURS, WANTED, "png"),
    "palette of grey steps, as Pillow's default": (palette_png(VALUES, RAMP), BOTH, WANTED, "png"),
    "palette of grey steps, table of colours": (palette_png(VALUES, RAMP), COLOURS, WANTED, "png"),
    "palette with a transparent label": (palette_png(VALUES, EXACT, transparency=0), BOTH, WANTED, "png"),
    "palette with degrees of transparency": (
        palette_png(VALUES, EXACT, transparency=b"\0\x80\xff"), BOTH, WANTED, "png"),
    "palette as GIF": (palette_png(VALUES, SHADES, "GIF"), BOTH, WANTED, "gif"),
    "palette that is black throughout": (palette_png(VALUES, [0] * 768), LABELS, WANTED, "png"),
    "grey as GIF, which has palettes alone": (
        encoded(VALUES * 9 // 2, "GIF"), "name,label,r,g,b\nroad,0,1,2,3\nsky,4,5,6,7\nvoid,9,0,0,0\n", WANTED, "gif"),
    "palette as BMP": (palette_png(VALUES, SHADES, "BMP"), BOTH, WANTED, "bmp"),
    "palette as TIFF": (palette_png(VALUES, SHADES, "TIFF"), BOTH, WANTED, "tif"),
    "palette of 2 bits": (palette_png(VALUES, SHADES, bits=2), BOTH, WANTED, "png"),
    "palette with one row of black behind": (palette_png(VALUES, [*SHADES, *[0] * 700]), BOTH, WANTED, "png"),
    "1 bit, 0 and 255": (encoded(Image.fromarray(BITS * 255).convert("1"), "PNG"), TWO, BITS.tolist(), "png"),
    "1 bit, 0 and 1": (encoded(Image.fromarray(BITS * 255).convert("1"), "PNG"), TWO_IN_ORDER, BITS.tolist(), "png"),
    "1 bit, 255 stated as void": (
        encoded(Image.fromarray(BITS * 255).convert("1"), "PNG"), TWO_IN_ORDER + "void,255\n", BITS.tolist(), "png"),
    "1 bit, black and white": (
        encoded(Image.fromarray(BITS * 255).convert("1"), "PNG"), "name,r,g,b\nthing,255,255,255\nback,0,0,0\n",
        (1 - BITS).tolist(), "png"),
    "PBM, 0 and 255": (encoded(Image.fromarray(BITS * 255).convert("1"), "PPM"), TWO, BITS.tolist(), "pbm"),
    "PBM, 0 and 1": (encoded(Image.fromarray(BITS * 255).convert("1"), "PPM"), TWO_IN_ORDER, BITS.tolist(), "pbm"),
    "BMP of 1 bit": (encoded(Image.fromarray(BITS * 255).convert("1"), "BMP"), TWO, BITS.tolist(), "bmp"),
    "TIFF of 1 bit": (tiff_of(np.packbits(BITS)[None, :, None], 1, bits=1), TWO, BITS.tolist(), "tif"),
    "TIFF of 1 bit, white is 0": (tiff_of(np.packbits(1 - BITS)[None, :, None], 0, bits=1), TWO, BITS.tolist(), "tif"),
    "fax of 1 bit": (
        encoded(Image.fromarray(BITS * 255).convert("1"), "TIFF", compression="group4"), TWO, BITS.tolist(), "tif"),
    "GIF of black and white": (encoded(Image.fromarray(BITS * 255), "GIF"), TWO, BITS.tolist(), "gif"),
    "8 bits, 0 and 255": (encoded(BITS * 255, "PNG"), TWO, BITS.tolist(), "png"),
    "2 bits": (png_of(VALUES, 2, 0), LABELS, WANTED, "png"),
    "2 bits, as viewers show them": (
        png_of(VALUES, 2, 0), "name,label\nroad,0\nsky,85\nvoid,170\n", WANTED, "png"),
    "4 bits": (png_of(VALUES, 4, 0), LABELS, WANTED, "png"),
    "TIFF of 4 bits": (
        tiff_of(np.array([[0x01, 0x20]], np.uint8)[:, :, None], 1, bits=4), LABELS, [[0, 1, VOID, 0]], "tif"),
    "16 bits": (png_of(VALUES.astype(int) * 300, 16, 0), "name,label\nroad,0\nsky,300\nvoid,600\n", WANTED, "png"),
    "TIFF of 16 bits, big-endian": (
        tiff_of((VALUES.astype(np.uint16) * 300)[..., None], 1, order=">"), "name,label\nroad,0\nsky,300\nvoid,600\n",
        WANTED, "tif"),
    "TIFF of signed numbers": (
        tiff_of(np.where(VALUES == 2, -1, VALUES).astype(np.int16)[..., None], 1), LABELS, WANTED, "tif"),
    "TIFF of 32 bits": (tiff_of(VALUES.astype(np.int32)[..., None], 1), LABELS, WANTED, "tif"),
    "TIFF of whole floats": (tiff_of(VALUES.astype(np.float32)[..., None], 1), LABELS, WANTED, "tif"),
    "PGM that ends at 7": (b"P5\n3 2\n7\n" + VALUES.tobytes(), LABELS, WANTED, "pgm"),
    "PGM that ends at 1000": (
        b"P5\n3 2\n1000\n" + (VALUES.astype(int) * 300).astype(">u2").tobytes(),
        "name,label\nroad,0\nsky,300\nvoid,600\n", WANTED, "pgm"),
    "PGM in digits": (b"P2\n3 2\n7\n0 1 2 1 1 0\n", LABELS, WANTED, "pgm"),
    "RGB with equal channels": (encoded(GREY_RGB, "PNG"), LABELS, WANTED, "png"),
    "RGB with equal channels, both in the table": (encoded(GREY_RGB, "PNG"), BOTH, WANTED, "png"),
    "RGBA with equal channels": (encoded(np.dstack([GREY_RGB, OPAQUE]), "PNG"), LABELS, WANTED, "png"),
    "grey with full alpha": (encoded(Image.fromarray(np.dstack([VALUES, OPAQUE]), "LA"), "PNG"), LABELS, WANTED, "png"),
    "grey with a transparent value": (encoded(VALUES, "PNG", transparency=0), LABELS, WANTED, "png"),
    "RGB": (encoded(looked_up(EXACT), "PNG"), BOTH, WANTED, "png"),
    "RGBA, opaque": (encoded(np.dstack([looked_up(EXACT), OPAQUE]), "PNG"), BOTH, WANTED, "png"),
    "RGB as TIFF in planes": (tiff_of(looked_up(EXACT), 2, planar=True), BOTH, WANTED, "tif"),
    "grey as the colours of a table without labels": (
        encoded(BITS * 255, "PNG"), "name,r,g,b\nback,0,0,0\nthing,255,255,255\n", BITS.tolist(), "png"),
    "grey as positions in a table without labels": (encoded(VALUES, "PNG"), COLOURS, WANTED, "png"),
    "1.5 MB of text beside it": (behind_header(encoded(VALUES, "PNG"), chunk(b"tEXt", b"a\0" + bytes(1_500_000))),
                                 LABELS, WANTED, "png"),
    "turned": (behind_header(encoded(VALUES, "PNG"),
                             chunk(b"eXIf", b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\3\0\0\0\0\0\0\0")),
               LABELS, np.array(WANTED)[::-1, ::-1].tolist(), "png"),
    "TIFF with a smaller copy": (
        tiff_of(VALUES[:1, :2, None], 1, kind=1, pages_before=[tiff_of(VALUES[..., None], 1)]), LABELS, WANTED, "tif"),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_what_a_mask_means(read, tmp_path, name):
    content, table, wanted, ending = RIGHT[name]
    (tmp_path / "classes.csv").write_text(table)
    if len(content) > 80_000:
        (tmp_path / "m.png").write_bytes(content)
        found = read_mask(tmp_path / "m.png", read_table(tmp_path / "classes.csv"), max_pixels=10**6).tolist()
    else:
        found = read(content, table, f"m.{ending}")
    assert found == wanted


def transparent(values, alpha):
    return encoded(np.dstack([values, np.where(values[..., :1] == 0, alpha, 255).astype(np.uint8)]), "PNG")


REFUSED = {  # name: (file, table, reason, what the message must hold)
    "palette of swapped colours": (
        palette_png(VALUES, SWAPPED), BOTH, "ambiguous_mask",
        [r"0 is 'road' by the labels, but 'sky' by the colours of its palette as \(70, 130, 180\) \(2 pixels\)",
         "Take the columns of the reading that is wrong"]),
    "palette whose colour is void": (
        palette_png(VALUES, [0, 0, 0, 70, 130, 180, 9, 9, 9]), BOTH, "ambiguous_mask",
        [r"0 is 'road' by the labels, but void by the colours of its palette as \(0, 0, 0\)"]),
    "palette without a label": (palette_png(VALUES + 1, SHADES), LABELS, "unknown_label", [r"labels .* lacks: 3 \(1"]),
    "palette without a colour": (
        palette_png(VALUES, SHADES), COLOURS, "unknown_label",
        [r"colours .* lacks: \(127, 63, 127\) \(2 pixels\)", "where the table has a column label"]),
    "a transparent colour": (
        palette_png(VALUES, EXACT, transparency=2), COLOURS, "transparent_mask", [r"\(0, 0, 0\) in its palette are"]),
    "1 bit, both values are classes": (
        encoded(Image.fromarray(BITS * 255).convert("1"), "PNG"), "name,label\na,0\nb,1\nc,255\n", "ambiguous_mask",
        [r"1 is 'b' by the labels, but 'c' by the values that viewers show of 1 bits as 255 \(5 pixels\)"]),
    "palette of grey that was numbered anew": (
        palette_png(VALUES, [0, 0, 0, 5, 5, 5, 9, 9, 9]), "name,label\n" + "".join(f"{n},{n}\n" for n in range(10)),
        "ambiguous_mask", ["1 is '1' by the labels, but '5' by the grey values of its palette as 5"]),
    "GIF that numbered its values anew": (
        encoded(VALUES * 2 % 4, "GIF"), LABELS, "ambiguous_mask", ["1 is 'sky' by the labels, but void by the grey"]),
    "255 that is void by custom and white by name": (
        encoded(BITS * 255, "PNG"), "name,label,r,g,b\nback,0,0,0,0\nthing,1,255,255,255\n", "ambiguous_mask",
        [r"255 is void by the labels, but 'thing' by the colours as \(255, 255, 255\)"]),
    "black and white, the other way by label": (
        encoded(np.dstack([BITS * 255] * 3), "PNG"), "name,label,r,g,b\na,0,255,255,255\nb,255,0,0,0\n",
        "ambiguous_mask", ["0 is 'a' by the labels, but 'b' by the colours"]),
    "grey of a table without labels that contradicts its order": (
        encoded(np.minimum(VALUES, 1), "PNG"), "name,r,g,b\na,1,1,1\nb,0,0,0\n", "ambiguous_mask",
        ["0 is 'a' by the labels, but 'b' by the colours"]),
    "RGBA with transparent pixels": (transparent(GREY_RGB, 0), LABELS, "transparent_mask", ["2 pixels are"]),
    "RGBA with veiled pixels": (transparent(looked_up(EXACT), 200), BOTH, "transparent_mask", ["without transparency"]),
    "LA with transparent pixels": (
        encoded(Image.fromarray(np.dstack([VALUES, VALUES]), "LA"), "PNG"), LABELS, "transparent_mask", ["6 pixels"]),
    "RGB without colours in the table": (
        encoded(looked_up(EXACT), "PNG"), LABELS, "unknown_label", ["add its columns r, g and b"]),
    "RGB of 16 bits": (png_of(np.dstack([VALUES] * 3).astype(int), 16, 2), BOTH, "unreadable_mask", ["save 8 bits"]),
    "grey with alpha of 16 bits": (
        png_of(np.dstack([VALUES] * 2).astype(int), 16, 4), BOTH, "unreadable_mask", ["8 bits"]),
    "TIFF of RGB in 16 bits": (tiff_of(GREY_RGB.astype(np.uint16), 2), BOTH, "unreadable_mask", ["save 8 bits"]),
    "PPM that ends at 7": (b"P6\n3 2\n7\n" + GREY_RGB.tobytes(), BOTH, "unreadable_mask", ["save 8 bits"]),
    "TIFF of broken floats": (
        tiff_of(VALUES.astype(np.float32)[..., None] + 0.5, 1), LABELS, "unreadable_mask", ["no whole numbers"]),
    "TIFF whose 0 is white": (
        tiff_of(VALUES[..., None], 0), LABELS, "unknown_label", [r"253 \(1 pixels\), 254", "says that 0 is white"]),
    "TIFF of two pages": (
        tiff_of(VALUES[..., None], 1, pages_before=[tiff_of(VALUES[..., None], 1)]), LABELS, "unreadable_mask",
        ["more than one page or frame"]),
    "GIF of two frames": (
        encoded(Image.fromarray(VALUES * 90), "GIF", save_all=True, append_images=[Image.fromarray(VALUES)]), LABELS,
        "unreadable_mask", ["more than one page or frame"]),
    "CMYK": (tiff_of(np.dstack([VALUES] * 4), 5), LABELS, "unreadable_mask", ["found mode CMYK", "palette PNG"]),
    "a changed byte": (encoded(VALUES, "PNG").replace(b"IDAT", b"IDAT", 1)[:50] + b"\x77"
                       + encoded(VALUES, "PNG")[51:], LABELS, "unreadable_mask", ["the checksum of its IDAT is wrong"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_mean_two_things_or_nothing(read, name):
    content, table, reason, said = REFUSED[name]
    with pytest.raises(ImageRejectedError) as caught:
        read(content, table, "m.png")
    assert caught.value.reason == reason
    for text in said:
        assert re.search(text, caught.value.detail), caught.value.detail


@pytest.fixture
def read_known(tmp_path):
    """Read an image by a table that has a name."""

    def _read(image, name):
        image.save(tmp_path / "known.png")
        return read_mask(tmp_path / "known.png", KNOWN_TABLES[name], max_pixels=10_000).tolist()

    return _read


def test_vocs_own_masks_are_positions(read_known):
    """PASCAL VOC's palette has the colours of its table: both readings agree."""
    table = KNOWN_TABLES["voc"]
    colours = {place: colour for colour, place in table.colours.items() if place != VOID}
    palette = [channel for place in range(21) for channel in colours[place]] + [0] * (234 * 3) + [224, 224, 192]
    image = Image.fromarray(np.array([[0, 1, 20], [15, 255, 7]], np.uint8), "P")
    image.putpalette(palette)
    assert read_known(image, "voc") == [[0, 1, 20], [15, VOID, 7]]


def test_an_adaptive_palette_names_other_classes_than_its_positions(read_known):
    """Pillow numbers the colours of an RGB mask as they come; CamVid's table has labels and colours."""
    exact = np.array([[list(KNOWN_TABLES["camvid"].colours)[label] for label in (3, 5, 8)]], np.uint8)
    image = Image.fromarray(exact).convert("P", palette=Image.Palette.ADAPTIVE)
    with pytest.raises(ImageRejectedError, match=r"ambiguous_mask: 0 is 'sky' by the labels, but '"):
        read_known(image, "camvid")


def test_a_whole_mask_with_a_fault_around_it_is_told(tmp_path):
    (tmp_path / "m.png").write_bytes(encoded(VALUES, "PNG")[:-12])
    (tmp_path / "classes.csv").write_text(LABELS)
    found = inspect_mask(tmp_path / "m.png", read_table(tmp_path / "classes.csv"), max_pixels=100)
    assert found.labels_HW.tolist() == WANTED
    assert found.remark == "the file ends without its end chunk"


NAMES = ("a", "b", "c", "d")


@st.composite
def tables_and_palettes(draw):
    """A table with labels and colours, and a palette with some of its colours anywhere."""
    labels = draw(st.permutations(range(4)))
    any_colour = st.tuples(st.integers(0, 127), st.integers(128, 255), st.integers(0, 255))  # no grey
    colours = draw(st.lists(any_colour, min_size=4, max_size=4, unique=True))
    palette = draw(st.lists(st.sampled_from(colours) | any_colour, min_size=4, max_size=4))
    return labels, colours, palette


@settings(max_examples=60, deadline=None)
@given(
    drawn=tables_and_palettes(),
    values=st.lists(st.integers(0, 3), min_size=6, max_size=6),
    kind=st.sampled_from(["PNG", "BMP", "TIFF"]),
)
def test_a_palette_mask_is_its_positions_or_refused(tmp_path_factory, drawn, values, kind):
    labels, colours, palette = drawn
    folder = tmp_path_factory.mktemp("palette")
    rows = [f"{name},{label},{r},{g},{b}" for name, label, (r, g, b) in zip(NAMES, labels, colours, strict=True)]
    (folder / "classes.csv").write_text("\n".join(["name,label,r,g,b", *rows, ""]))
    used = np.array(values, np.uint8).reshape(2, 3)
    (folder / "m").write_bytes(palette_png(used, [channel for colour in palette for channel in colour], kind))
    by_label = {label: place for place, label in enumerate(labels)}
    by_colour = {colour: place for place, colour in enumerate(colours)}
    contradicts = any(by_colour.get(palette[value], by_label[value]) != by_label[value] for value in values)
    table = read_table(folder / "classes.csv")
    if contradicts:
        with pytest.raises(ImageRejectedError, match="ambiguous_mask"):
            read_mask(folder / "m", table, max_pixels=10_000)
        return
    assert read_mask(folder / "m", table, max_pixels=10_000).ravel().tolist() == [by_label[value] for value in values]


@settings(max_examples=60, deadline=None)
@given(bits=st.sampled_from([1, 2, 4, 8, 16]), data=st.data())
def test_grey_of_any_depth_is_what_was_written(tmp_path_factory, bits, data):
    """Whatever a decoder makes of few bits, labels stay as they are, stated as written or as they are shown."""
    most = min(2**bits - 1, 1000)
    values = np.array(data.draw(st.lists(st.integers(0, most), min_size=6, max_size=6)), np.int64).reshape(2, 3)
    is_shown = bits < 8 and data.draw(st.booleans())
    factor = 255 // (2**bits - 1) if is_shown else 1
    used = sorted({*values.ravel().tolist(), 0, 1})
    folder = tmp_path_factory.mktemp("grey")
    rows = [f"class {value},{value * factor}" for value in used]
    (folder / "classes.csv").write_text("\n".join(["name,label", *rows, ""]))
    (folder / "m.png").write_bytes(png_of(values, bits, 0))
    found = read_mask(folder / "m.png", read_table(folder / "classes.csv"), max_pixels=100)
    assert [used[place] for place in found.ravel().tolist()] == values.ravel().tolist()
