"""Which value or colour means which class."""

import numpy as np
import pytest
from PIL import Image

from eightgig.core.errors import DataError, ImageRejectedError
from eightgig.data.ingest.class_table import CITYSCAPES_IDS, KNOWN_TABLES, coloured, colours_of, find_table, read_table
from eightgig.data.store.masks import VOID
from eightgig.tasks.segmentation.mask_files import read_mask


def test_known_sets_have_their_classes():
    assert len(KNOWN_TABLES["cityscapes"].classes) == 19
    assert len(KNOWN_TABLES["camvid"].classes) == 11
    assert len(KNOWN_TABLES["voc"].classes) == 21
    assert KNOWN_TABLES["camvid"].labels[11] == VOID
    assert KNOWN_TABLES["voc"].colours[(192, 128, 128)] == KNOWN_TABLES["voc"].classes.index("person")
    assert (CITYSCAPES_IDS.labels[7], CITYSCAPES_IDS.labels[33], CITYSCAPES_IDS.labels[0]) == (0, 18, VOID)
    assert KNOWN_TABLES["cityscapes"].labels[18] == 18
    assert KNOWN_TABLES["cityscapes"].labels[19] == VOID


def write_table(tmp_path, text, name="classes.csv"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


def test_tables_of_labels_of_colours_and_of_both(tmp_path):
    labels = read_table(write_table(tmp_path, "name,label\nroad,3\nsky,5\nVoid,0\n"))
    assert labels.classes == ("road", "sky")
    assert labels.labels == {3: 0, 5: 1, 0: VOID, VOID: VOID}
    colours = read_table(write_table(tmp_path, "\ufeffname, r, g, b\nroad,1,2,3\nunlabelled,0,0,0\nsky,4,5,6\n"))
    assert colours.colours == {(1, 2, 3): 0, (0, 0, 0): VOID, (4, 5, 6): 1}
    assert colours.labels == {0: 0, 1: VOID, 2: 1, VOID: VOID}
    lines = read_table(
        write_table(tmp_path, "64 128 64\tAnimal\n\n192 0 128\tTraffic Cone\n0 0 0 Void\n", "label_colors.txt")
    )
    assert lines.classes == ("Animal", "Traffic Cone")
    assert lines.colours[(192, 0, 128)] == 1


@pytest.mark.parametrize(("text", "message"), [
    ("name,label\nroad,0\nroad,1\n", "the class road is there twice"),
    ("name,label\nroad,0\nsky,0\n", "the label 0 is there twice"),
    ("name,r,g,b\nroad,1,1,1\nsky,1,1,1\n", "the colour \\(1, 1, 1\\) is there twice"),
    ("name,label\nroad,0\n", "wanted 2 to 254 classes, found 1"),
    ("title,number\nroad,0\n", "wanted a table of classes with the columns"),
    ("name,label\nroad,zero\nsky,1\n", "wanted a table of classes with the columns"),
    ("name,r,g,b\nroad,0,0,300\nsky,1,1,1\n", "colours are 0 to 255"),
    ("", "wanted 2 to 254 classes, found 0"),
])  # fmt: skip
def test_tables_that_cannot_be_used(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_table(write_table(tmp_path, text))


def test_a_table_is_found_or_asked_for(tmp_path):
    with pytest.raises(DataError, match=r"Set data\.class_table to cityscapes, camvid or voc, or write a classes\.csv"):
        find_table(tmp_path, None)
    with pytest.raises(DataError, match=r"data\.class_table=nothing is neither a known set nor a file"):
        find_table(tmp_path, "nothing")
    write_table(tmp_path, "name,label\na,0\nb,1\n", "other.csv")
    assert find_table(tmp_path, "other.csv").classes == ("a", "b")
    assert find_table(tmp_path, str(tmp_path / "other.csv")).classes == ("a", "b")
    assert find_table(tmp_path, "voc") is KNOWN_TABLES["voc"]


VALUES = np.array([[0, 1, 11], [2, 255, 10]], np.uint8)
LABELS = [[0, 1, VOID], [2, VOID, 10]]


def read(path):
    return read_mask(path, KNOWN_TABLES["camvid"], max_pixels=100).tolist()


def test_grey_palette_and_colour_masks_mean_the_same(tmp_path):
    Image.fromarray(VALUES).save(tmp_path / "grey.png")
    Image.fromarray(VALUES.astype(np.uint16)).save(tmp_path / "deep.png")
    rgb = coloured(np.array(LABELS, np.uint8), colours_of(KNOWN_TABLES["camvid"].classes))
    exact = np.zeros((2, 3, 3), np.uint8)
    for colour, place in KNOWN_TABLES["camvid"].colours.items():
        exact[np.array(LABELS) == place] = colour
    Image.fromarray(exact).save(tmp_path / "rgb.png")
    spread = np.array([[0, 1, 11], [2, 11, 10]], np.uint8)  # void is the twelfth
    palette = Image.fromarray(spread, "P")
    palette.putpalette(bytes(channel for colour in KNOWN_TABLES["camvid"].colours for channel in colour))
    palette.save(tmp_path / "palette.png")
    for name in ("grey", "deep", "rgb", "palette"):
        assert read(tmp_path / f"{name}.png") == LABELS, name
    assert rgb.shape == (2, 3, 3)


@pytest.mark.parametrize(("pixels", "options", "reason", "detail"), [
    (VALUES + 20, {}, "unknown_label", "labels that the table of classes lacks: 19 \\(1 pixels\\), 20 "),
    (np.full((2, 2, 3), (7, 7, 8), np.uint8), {}, "unknown_label", "colours .* lacks: \\(7, 7, 8\\) \\(4 pixels\\)"),
    (np.zeros((11, 10), np.uint8), {}, "too_large_mask", "10 x 11; at most 100 pixels"),
    (VALUES, {"format": "JPEG"}, "lossy_mask", "save masks as PNG"),
])  # fmt: skip
def test_masks_that_cannot_be_used(tmp_path, pixels, options, reason, detail):
    Image.fromarray(pixels).save(tmp_path / "m.png", **options)
    with pytest.raises(ImageRejectedError, match=detail) as caught:
        read(tmp_path / "m.png")
    assert caught.value.reason == reason


def test_a_mask_that_is_none(tmp_path):
    (tmp_path / "m.png").write_bytes(b"nothing")
    with pytest.raises(ImageRejectedError, match="cannot be read"):
        read(tmp_path / "m.png")
    with pytest.raises(ImageRejectedError, match=r"none\.png is not there"):
        read(tmp_path / "none.png")


def test_every_class_has_a_colour_of_its_own():
    colours = colours_of([f"class {number}" for number in range(40)])
    assert len({tuple(colour) for colour in colours.tolist()}) == 41
    assert colours_of(("Sky", "tree"))[:2].tolist() == [[70, 130, 180], [128, 128, 0]]
