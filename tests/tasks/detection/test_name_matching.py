"""Names of images and labels meet in any case, form of Unicode and way of writing a path; a wrong one never does."""

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eightgig.tasks.detection.image_index import ImageIndex
from eightgig.tasks.detection.layouts import find_format, scan_detection_folder

from .conftest import jpeg

LINE = "0 0.5 0.5 0.25 0.5\n"
ACCENTED = "B\u00fccher \u00c9cole"


def in_form(form, name):
    return unicodedata.normalize(form, name)


def write(root, *paths, content=b""):
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content or jpeg(number))


def labelled(root):
    """Return the boxes of each image, and the reasons of all findings but of images without a split."""
    folder = scan_detection_folder(root)
    reasons = [each.reason for image in folder.images for each in image.findings]
    reasons += [each.reason for each in folder.findings if each.reason != "no_split"]
    return {image.path: len(image.boxes) for image in folder.images}, reasons


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["images", "Images", "IMAGES"]),
    st.sampled_from(["labels", "Labels"]),
    st.sampled_from([".jpg", ".JPG", ".Jpeg", ".PNG"]),
    st.sampled_from([".txt", ".TXT", ".jpg.txt"]),
    st.tuples(st.sampled_from(["NFC", "NFD"]), st.sampled_from(["NFC", "NFD"])),
    st.sampled_from([str, str.upper, str.lower]),
    st.sampled_from([ACCENTED, "book 1.5", "\u00c5ngstr\u00f6m"]),
)
def test_a_yolo_label_is_found_in_any_dress(tmp_path_factory, images, labels, ending, text, forms, case, name):
    root = tmp_path_factory.mktemp("set")
    image = f"{images}/{in_form(forms[0], name)}{ending}"
    label = in_form(forms[1], case(name)) + (text if text != ".jpg.txt" else f"{ending}.txt")
    write(root, image)
    write(root, f"{labels}/{label}", content=LINE.encode())
    (root / "data.yaml").write_text(f"train: {images}\nnames: [cup]\n")
    assert labelled(root) == ({image: 1}, [])


def test_the_name_that_is_written_so_comes_first(tmp_path):
    write(tmp_path, "images/a.jpg", "images/A.jpg")
    write(tmp_path, "labels/a.txt", content=LINE.encode())
    write(tmp_path, "labels/A.txt", content=(LINE + "0 0.2 0.2 0.1 0.1\n").encode())
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cup]\n")
    assert labelled(tmp_path) == ({"images/a.jpg": 1, "images/A.jpg": 2}, [])
    (tmp_path / "images" / "a.jpg").rename(tmp_path / "images" / "b.jpg")
    (tmp_path / "images" / "A.jpg").rename(tmp_path / "images" / "c.jpg")
    write(tmp_path, "images/B.PNG")
    write(tmp_path, "labels/b.TXT", content=LINE.encode())
    counts, reasons = labelled(tmp_path)
    assert counts == {"images/b.jpg": 1, "images/B.PNG": 0, "images/c.jpg": 0}
    assert sorted(reasons) == ["label_without_image"] * 2 + ["no_label"] * 2


def test_one_label_of_two_images_is_told(tmp_path):
    write(tmp_path, "images/a.jpg", "images/a.png")
    write(tmp_path, "labels/a.txt", content=LINE.encode())
    (tmp_path / "obj.names").write_text("cup\n")
    assert labelled(tmp_path) == ({"images/a.jpg": 1, "images/a.png": 1}, ["shared_label"] * 2)


def test_two_labels_that_could_be_meant_are_none(tmp_path):
    write(tmp_path, "images/a.jpg")
    write(tmp_path, "labels/A.txt", "labels/a.TXT", content=LINE.encode())
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cup]\n")
    folder = scan_detection_folder(tmp_path)
    (finding,) = folder.images[0].findings
    assert (finding.reason, finding.action) == ("ambiguous_label", "refused")
    assert finding.detail == "2 labels could be meant: 'labels/A.txt', 'labels/a.TXT'"


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_class_names_are_composed(yolo, form):
    root = yolo({"a": LINE}, names=[in_form(form, ACCENTED)])
    assert scan_detection_folder(root).classes == (ACCENTED,)


def write_coco(
    root, names, *, categories=({"id": 1, "name": "cup"},), ids=None, file="annotations/instances_default.json"
):
    """Write one image an entry and one box each, whose width is the entry's place and one."""
    ids = ids or list(range(1, len(names) + 1))
    content = {
        "images": [{"id": key, "file_name": name} for key, name in zip(ids, names, strict=True)],
        "annotations": [
            {"id": n, "image_id": key, "category_id": 1, "bbox": [0, 0, n + 1, 5]} for n, key in enumerate(ids)
        ],
        "categories": list(categories),
    }
    write(root, file, content=json.dumps(content).encode())


def widths(root):
    """Return the width of each image's only box, and (name, reason) of each refusal."""
    folder = scan_detection_folder(root)
    refused = [(each.path, each.reason) for each in folder.findings if each.action == "refused"]
    return {image.path: [box.x2 for box in image.boxes] for image in folder.images}, refused


SEQUENCES = [f"images/seq{q}/{f:06}.jpg" for q in (1, 2) for f in (1, 2)]


@pytest.mark.parametrize(
    "way",
    ["{}", "./{}", "images/{}", "/content/set/images/{}", "https://host.org/v1/images/{}?width=3",
     "C:\\set\\images\\{}", "file:///home/me/images/{}", "/data/local-files/?d=images/{}", "../images/{}",
     "images//{}", "IMAGES/{}"],
)  # fmt: skip
def test_a_coco_path_is_relative_to_whatever_its_tool_thinks(tmp_path, way):
    write(tmp_path, *SEQUENCES)
    inner = [path.partition("/")[2] for path in SEQUENCES]
    names = [way.format(name.replace("/", "\\") if "\\" in way else name) for name in inner]
    write_coco(tmp_path, names)
    assert widths(tmp_path) == ({path: [n + 1.0] for n, path in enumerate(SEQUENCES)}, [])


def test_an_escaped_address_means_the_name(tmp_path):
    write(tmp_path, "images/book 1.jpg")
    write_coco(tmp_path, ["http://host/images/book%201.jpg"])
    assert widths(tmp_path) == ({"images/book 1.jpg": [1.0]}, [])


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.sampled_from(["NFC", "NFD"]), st.sampled_from(["NFC", "NFD"])),
    st.sampled_from([str, str.upper, str.lower]),
    st.sampled_from(["{}.jpg", "x/{}.JPG", "{}.png"]),
)
def test_a_coco_name_is_found_in_any_dress(tmp_path_factory, forms, case, way):
    root = tmp_path_factory.mktemp("set")
    image = in_form(forms[0], f"images/x/{ACCENTED}.jpg")
    write(root, image)
    write_coco(root, [in_form(forms[1], case(way.format(ACCENTED)))])
    assert widths(root) == ({image: [1.0]}, [])


def test_the_file_that_the_user_names_is_found_in_any_dress(tmp_path):
    write(tmp_path, "images/a.jpg")
    write_coco(tmp_path, ["a.jpg"], file=in_form("NFD", f"{ACCENTED}.json"))
    folder = scan_detection_folder(tmp_path, annotations=in_form("NFC", f"{ACCENTED.lower()}.json"))
    assert [len(image.boxes) for image in folder.images] == [1]


def test_two_entries_that_become_one_are_told(tmp_path):
    write(tmp_path, f"images/{ACCENTED}.jpg")
    write_coco(tmp_path, [in_form(form, f"{ACCENTED}.jpg") for form in ("NFC", "NFD")])
    (image,) = scan_detection_folder(tmp_path).images
    assert [box.x2 for box in image.boxes] == [1, 2]
    assert [each.reason for each in image.findings] == ["duplicate_entry"]


@pytest.mark.parametrize(
    ("images", "names", "expected", "refused"),
    [
        # One of two sequences is not there: its frames are not those of the other.
        (["images/seq1/1.jpg"], ["seq1/1.jpg", "seq2/1.jpg"], {"images/seq1/1.jpg": [1.0]},
         [("seq2/1.jpg", "missing_image")]),
        (["images/seq1/1.jpg"], ["seq2/1.jpg"], {}, [("seq2/1.jpg", "missing_image")]),
        # Unpacked flat, so that one has taken the place of the other.
        (["1.jpg"], ["seq1/1.jpg", "seq2/1.jpg"], {},
         [("seq1/1.jpg", "ambiguous_image"), ("seq2/1.jpg", "ambiguous_image")]),
        (["seq1/1.jpg"], ["seq1/1.jpg", "/old/seq2/1.jpg"], {"seq1/1.jpg": [1.0]},
         [("/old/seq2/1.jpg", "ambiguous_image")]),
        # A whole path of another machine says nothing of the folders here, where the name is there once.
        (["shots/1.jpg"], ["/home/me/pics/1.jpg"], {"shots/1.jpg": [1.0]}, []),
        (["a/1.jpg", "b/1.jpg"], ["/home/me/pics/1.jpg"], {}, [("/home/me/pics/1.jpg", "ambiguous_image")]),
        (["a/1.jpg", "b/1.jpg"], ["1.jpg"], {}, [("1.jpg", "ambiguous_image")]),
        (["images/book 1.jpg"], ["book 1.5"], {}, [("book 1.5", "missing_image")]),
    ],
)  # fmt: skip
def test_a_image_of_another_folder_is_never_taken(tmp_path, images, names, expected, refused):
    write(tmp_path, *images)
    write_coco(tmp_path, names)
    found, reasons = widths(tmp_path)
    assert found == expected
    assert sorted(each for each in reasons if each[1] != "no_label") == refused


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["", "a/", "b/", "images/a/", "images/b/"]), st.sampled_from("12")), min_size=1),
    st.sampled_from(["", "a/", "b/", "c/", "images/a/", "images/c/"]),
    st.sampled_from("12"),
)
def test_a_match_never_contradicts_the_folders_of_a_name(places, folder, stem):
    images = sorted({f"{place}{name}.jpg" for place, name in places})
    match = ImageIndex(images).match(f"{folder}{stem}.jpg", beside="")
    if match.is_sure and len(match.paths) == 1:
        wanted, found = (path.split("/") for path in (f"{folder}{stem}.jpg", match.paths[0]))
        assert all(one == other for one, other in zip(reversed(wanted), reversed(found), strict=False))


def test_frames_of_voc_in_a_folder_a_sequence(tmp_path):
    for q in (1, 2):
        write(tmp_path, f"JPEGImages/seq{q}/000001.JPG")
        box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>"
        xml = f"<Annotation><filename>000001.jpg</filename><object><name>c{q}</name>{box}</object></Annotation>"
        write(tmp_path, f"annotations/SEQ{q}/000001.XML", content=xml.encode())
    folder = scan_detection_folder(tmp_path)
    assert folder.classes == ("c1", "c2")
    assert {p.path: [box.label for box in p.boxes] for p in folder.images} == {
        "JPEGImages/seq1/000001.JPG": [0], "JPEGImages/seq2/000001.JPG": [1],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "content", "expected"),
    [
        ("notes.json", {"categories": [{"id": 0, "name": "cup"}], "info": {}}, "yolo"),
        ("annotations/other.json", [1, 2], "yolo"),
        ("project.xml", "<project/>", "yolo"),
        ("annotations.xml", "<annotations><version>1.1</version></annotations>", "yolo"),
    ],
)
@pytest.mark.parametrize("with_yaml", [True, False])
def test_foreign_files_beside_labels_change_nothing(yolo, more, content, expected, with_yaml):
    root = yolo({"a": LINE})
    if not with_yaml:
        (root / "data.yaml").unlink()
        (root / "Classes.TXT").write_text("cup\n")
    write(root, more, content=(content if isinstance(content, str) else json.dumps(content)).encode())
    assert find_format(root) == expected
    folder = scan_detection_folder(root)
    assert ([len(image.boxes) for image in folder.images], folder.findings) == ([1], ())


def test_json_that_is_read_by_its_name_leaves_no_other_out_in_silence(tmp_path):
    write(tmp_path, "images/a.jpg", "images/b.jpg")
    write_coco(tmp_path, ["a.jpg"], file="annotations/instances_train.json")
    write_coco(tmp_path, ["b.jpg"], file="annotations/val.json")
    write_coco(tmp_path, ["a.jpg"], file="annotations/person_keypoints_train.json")
    folder = scan_detection_folder(tmp_path)
    assert [(each.file, each.reason) for each in folder.findings if each.reason == "not_read"] == [
        ("annotations/val.json", "not_read")
    ]
