"""Label files made to take time or memory, and how soon they are refused; bytes changed anywhere."""

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eightgig.core.errors import DataError, EightgigError, ImageRejectedError
from eightgig.tasks.detection.layouts import scan_detection_folder
from eightgig.tasks.detection.reading import number
from eightgig.tasks.detection.voc_xml import parse_voc
from eightgig.tasks.detection.yolo_yaml import load_mapping


@pytest.fixture(autouse=True)
def soon():
    start = time.process_time()
    yield
    assert time.process_time() - start < 3


def test_yaml_that_grows_a_thousandfold_is_not_written_out(tmp_path):
    """Nine lines that stand for a list of 10 to the 10 texts."""
    lines = ["- &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"- &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    (tmp_path / "data.yaml").write_text("\n".join(lines))
    with pytest.raises(DataError, match="wanted keys such as 'train' and 'names', found a list"):
        load_mapping(tmp_path / "data.yaml")


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_yaml_nested_deeply(tmp_path, opening):
    (tmp_path / "data.yaml").write_text(opening * 5_000)
    with pytest.raises(DataError, match="cannot be read as such"):
        load_mapping(tmp_path / "data.yaml")


def test_json_nested_deeply(coco):
    root = coco(1, [], categories={1: "cup"})
    (root / "instances_all.json").write_text("[" * 1_000_000)
    with pytest.raises(DataError, match="cannot be read as such"):
        scan_detection_folder(root)


@pytest.mark.parametrize("data", [b"<annotation>" + b"<a>" * 200_000, b"<annotation>" + b"x" * 2_000_000])
def test_xml_nested_deeply_or_long(data):
    with pytest.raises(ImageRejectedError, match="wanted XML, but it cannot be read as such"):
        parse_voc(data)


def test_names_that_are_no_text_for_a_table(coco):
    root = coco(1, [{"image_id": 100, "category_id": 1, "bbox": [1, 2, 30, 40]}], categories={1: "cup"})
    file = root / "instances_all.json"
    whole = file.read_text()
    file.write_text(whole.replace('"cup"', '"c\\ud800p"'))
    with pytest.raises(DataError, match="wanted class names that are text"):
        scan_detection_folder(root)
    file.write_text(whole.replace('"0.jpg"', '"\\ud800\\u0000.jpg"'))
    assert [each.reason for each in scan_detection_folder(root).findings] == ["missing_image"]


@pytest.mark.parametrize("value", ["1_0", "\u0661", "", "x", None, True, [1], 10**400])
def test_what_is_no_number(value):
    with pytest.raises(ValueError, match=r"."):
        number(value)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(["txt", "yaml", "voc", "coco"]), st.integers(0, 2**32), st.binary(max_size=12))
def test_changed_bytes_raise_only_the_projects_errors(make_fuzzed, name, seed, inserted):
    root, file, whole = make_fuzzed(name)
    at, end = sorted(random.Random(seed).choices(range(len(whole) + 1), k=2))
    file.write_bytes(whole[:at] + inserted + whole[min(end, at + 8) :])
    try:
        scan_detection_folder(root)
    except EightgigError as error:
        assert str(root) in str(error)


@pytest.fixture(scope="module")
def make_fuzzed(tmp_path_factory):
    """Return (folder, label file, its bytes) of a small set, made once for each format."""
    root = tmp_path_factory.mktemp("fuzzed")
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
    files = {
        "txt": ("labels/a.txt", "0 0.5 0.5 0.25 0.5\n1 0.1 0.1 0.2 0.2 0.3 0.3\n"),
        "yaml": ("data.yaml", "path: .\ntrain: images\nval:\n  - images\nnc: 2\nnames:\n  0: cup\n  1: pen\n"),
        "voc": ("a.xml", f"<annotation><filename>a.jpg</filename><object><name>cup</name>{box}</object></annotation>"),
        "coco": (
            "a.json",
            '{"images": [{"id": 1, "file_name": "a.jpg", "width": 8, "height": 6}], "categories": [{"id": 1, '
            '"name": "cup"}], "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}]}',
        ),
    }
    for name in files:
        parts = ("txt", "yaml") if name in ("txt", "yaml") else (name,)
        for path, text in (
            (f"{name}/images/a.jpg", ""),
            *((f"{name}/{files[part][0]}", files[part][1]) for part in parts),
        ):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
    return lambda name: (root / name, root / name / files[name][0], files[name][1].encode())
