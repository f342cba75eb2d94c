"""An image that a decoder remarks on is kept by every ingest, listed, and read alike wherever it is read later."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.encoded_images import after_start, behind_header, chunk, encoded, jpeg_segment, smooth, with_scan_end

from eightgig.core.errors import DataError, ImageRejectedError
from eightgig.data.images.decoding import decode_rgb
from eightgig.data.images.parameters import DataParameters
from eightgig.data.ingest.folders import scan_class_folders
from eightgig.data.ingest.manifest import build_manifest, require_usable
from eightgig.data.store.reader import ImageStore, write_store
from eightgig.stages.samples import PredictParameters, samples_of
from eightgig.tasks.detection.layouts import scan_detection_folder
from eightgig.tasks.detection.manifest import build_detection_manifest, require_usable_detection
from eightgig.tasks.detection.parameters import DetectionDataParameters
from eightgig.tasks.segmentation.layouts import scan_mask_folder
from eightgig.tasks.segmentation.manifest import build_mask_manifest, require_usable_masks
from eightgig.tasks.segmentation.parameters import SegmentationDataParameters
from eightgig.tiles.source import open_source

TURNED = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0" + bytes(4)


def odd_files():
    """Files that a decoder remarks on, by name."""
    good = encoded(smooth(50), "JPEG", quality=95)
    png = encoded(smooth(51), "PNG")
    return {
        "strays.jpg": good[:-2] + b"stray bytes" * 5 + good[-2:],
        "scan.jpg": with_scan_end(encoded(smooth(52), "JPEG", quality=95), 0),
        "turned.jpg": after_start(encoded(smooth(53), "JPEG", quality=95)[:-2], jpeg_segment(0xE1, TURNED)),
        "revision.jpg": encoded(smooth(54), "JPEG").replace(b"JFIF\0\1\1", b"JFIF\0\2\1"),
        "text.png": behind_header(png, chunk(b"tEXt", b"a\0b", is_damaged=True)),
    }


@pytest.fixture
def photos(tmp_path):
    """Class folders of six images, and five odd ones in the first."""
    for seed in range(12):
        path = tmp_path / "set" / "ab"[seed % 2] / f"{seed}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(smooth(seed), "JPEG"))
    for name, data in odd_files().items():
        (tmp_path / "set" / "a" / name).write_bytes(data)
    return tmp_path / "set"


def test_classes(photos):
    parameters = DataParameters(root=str(photos), max_reject_fraction=0.0)
    manifest, rejects = build_manifest(scan_class_folders(photos), parameters)
    require_usable(photos, manifest, rejects, parameters)
    assert len(manifest) == 17
    assert rejects[["path", "class_name", "reason", "action"]].to_numpy().tolist() == [
        [f"a/{name}", "a", "decoder_warning", "kept"] for name in sorted(odd_files())
    ]
    assert "extraneous bytes" in rejects["detail"][2]
    (photos / "b" / "cut.jpg").write_bytes(encoded(smooth(99), "JPEG")[:-60])
    manifest, rejects = build_manifest(scan_class_folders(photos), parameters)
    assert rejects["action"].tolist() == ["kept"] * 5 + ["refused"]
    with pytest.raises(DataError, match=r"1 of 18 files cannot be used \(1 truncated\)"):
        require_usable(photos, manifest, rejects, parameters)


def test_a_journal_remembers_remarks(photos, tmp_path):
    parameters, journal = DataParameters(root=str(photos)), tmp_path / "journal.jsonl"
    first, again = (build_manifest(scan_class_folders(photos), parameters, journal=journal) for _ in range(2))
    assert first[1]["action"].tolist() == ["kept"] * 5
    assert first[1].equals(again[1])
    assert first[0].equals(again[0])


@pytest.mark.parametrize("options", [{}, {"short_side": 32}, {"tier": "decoded", "decoded_side": 32}])
def test_the_store_gives_what_was_inspected(photos, tmp_path, options):
    folders = scan_class_folders(photos)
    manifest, _ = build_manifest(folders, DataParameters(root=str(photos)))
    write_store(tmp_path / "s.h5", manifest, photos, folders.classes, **options)
    store = ImageStore(tmp_path / "s.h5")
    for index, path in enumerate(store.paths):
        pixels_HWC = store.decode(index)
        if not options:
            assert np.array_equal(pixels_HWC, decode_rgb((photos / path).read_bytes()))
        assert pixels_HWC.shape[:2] == tuple(store.shapes[index])
    assert (64, 48) in {tuple(shape) for shape in store.shapes.tolist()} or options


def test_boxes(photos):
    root = photos.parent / "yolo"
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
    for path in photos.rglob("*.*"):
        (root / "images" / path.name).write_bytes(path.read_bytes())
        (root / "labels" / path.name).with_suffix(".txt").write_text("0 0.5 0.5 0.25 0.25\n")
    (root / "classes.txt").write_text("thing\n")
    parameters = DetectionDataParameters(root=str(root), max_reject_fraction=0.0)
    manifest, boxes, rejects = build_detection_manifest(scan_detection_folder(root), parameters)
    require_usable_detection(root, manifest, boxes, rejects, parameters)
    assert rejects[["path", "reason", "action"]].to_numpy().tolist() == [
        [f"images/{name}", "decoder_warning", "kept"] for name in sorted(odd_files())
    ]


def test_masks(photos):
    root = photos.parent / "masked"
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    labels = np.kron(np.eye(2, dtype=np.uint8), np.ones((24, 32), np.uint8))
    mask = encoded(labels, "PNG")
    for path in photos.rglob("*.*"):
        (root / "images" / path.name).write_bytes(path.read_bytes())
        upright = encoded(labels.T.copy(), "PNG") if path.name == "turned.jpg" else mask
        (root / "masks" / path.name).with_suffix(".png").write_bytes(upright)
    (root / "masks" / "0.png").write_bytes(mask[:-12])
    (root / "masks" / "2.png").write_bytes(behind_header(mask, chunk(b"zTXt", b"a\0\0bad", is_damaged=True)))
    (root / "classes.csv").write_text("name,label\na,0\nb,1\n")
    parameters = SegmentationDataParameters(root=str(root), max_reject_fraction=0.0)
    folder = scan_mask_folder(root)
    manifest, pixels, rejects = build_mask_manifest(folder, parameters)
    require_usable_masks(root, manifest, pixels, rejects, parameters)
    assert rejects[["path", "reason", "action"]].to_numpy().tolist() == [
        [f"images/{name}", "decoder_warning", "kept"] for name in sorted(["0.jpg", "2.jpg", *odd_files()])
    ]
    assert rejects["detail"][0] == "masks/0.png: the file ends without its end chunk"


def by_rows(path):
    with open_source(path, max_pixels=10**6) as source:
        rows = [source.read(top, min(top + 7, source.height)) for top in range(0, source.height, 7)]
        return np.concatenate(rows), source.notes


def test_predict_and_tiles_read_them_too(photos):
    rejects: list[Any] = []
    no_store: Any = None
    predict = PredictParameters(source=str(photos / "a"))
    found = list(samples_of(predict, no_store, pd.DataFrame(), max_pixels=10**6, rejects=rejects))
    assert (len(found), rejects) == (11, [])
    for name, data in odd_files().items():
        rows, notes = by_rows(photos / "a" / name)
        assert np.abs(rows.astype(int) - decode_rgb(data)).max() <= 1
        assert len(notes) == 1


IMAGES = {
    "L": lambda image: image.convert("L"), "LA": lambda image: image.convert("LA"),
    "P": lambda image: image.quantize(9), "1": lambda image: image.convert("1"), "RGB": lambda image: image,
    "RGBA": lambda image: clear(image),  # noqa: PLW0108 - it is defined below
    "CMYK": lambda image: image.convert("CMYK"),
}  # fmt: skip
KINDS = {"JPEG": ("L", "RGB", "CMYK"), "PNG": ("L", "LA", "P", "1", "RGB", "RGBA"), "WEBP": ("RGB", "RGBA"),
         "GIF": ("P", "L"), "BMP": ("L", "P", "1", "RGB")}  # fmt: skip
EDITS = {
    "none": lambda data: data,
    "cut in half": lambda data: data[: len(data) // 2],
    "three quarters": lambda data: data[: len(data) * 3 // 4],
    "its end": lambda data: data[:-2],
    "its ends": lambda data: data[:-12],
    "longer": lambda data: data + b"more" * 20,
}
NEAR = 2  # two ways to lay what is transparent over white, and to turn inks to light


def clear(image):
    return Image.fromarray(np.dstack([np.asarray(image), np.linspace(0, 255, 48 * 64, dtype=np.uint8).reshape(48, 64)]))


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 50), kind=st.sampled_from([(kind, mode) for kind, modes in KINDS.items() for mode in modes]),
    edit=st.sampled_from([*EDITS]), orientation=st.sampled_from([1, 1, 3, 6, 8]),
)  # fmt: skip
def test_tiles_read_what_ingest_accepts_and_refuse_what_it_refuses(tmp_path_factory, seed, kind, edit, orientation):
    form, mode = kind
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"exif": exif} if form in ("JPEG", "PNG", "WEBP") else {}
    data = EDITS[edit](encoded(IMAGES[mode](Image.fromarray(smooth(seed))), form, **options))
    path = tmp_path_factory.mktemp("agree") / f"a.{form.lower()}"
    path.write_bytes(data)
    try:
        wanted = decode_rgb(data)
    except ImageRejectedError:
        with pytest.raises(DataError, match="cannot be read"):
            by_rows(path)
        return
    rows, _ = by_rows(path)
    assert np.abs(rows.astype(int) - wanted).max() <= NEAR
