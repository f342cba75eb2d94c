"""Rows 10 to 18 of the fault table: bad images and bad folders of them, from the files to the store."""

import io
import os
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import simplejpeg
from PIL import Image

from eightgig.core.errors import DataError, ImageRejectedError, StoreError
from eightgig.data.images.decoding import inspect_image
from eightgig.data.images.parameters import DataParameters
from eightgig.data.ingest.folders import scan_class_folders
from eightgig.data.ingest.manifest import build_manifest, require_usable
from eightgig.data.store.reader import ImageStore, write_store
from eightgig.datasets.results import TableDataset
from eightgig.stages.ingest import split
from eightgig.tasks.classification.ingest import ClassifiedImages
from eightgig.tasks.detection.layouts import scan_detection_folder
from eightgig.tasks.detection.manifest import build_detection_manifest
from eightgig.tasks.detection.parameters import DetectionDataParameters
from eightgig.tasks.segmentation.layouts import scan_mask_folder
from eightgig.tasks.segmentation.manifest import build_mask_manifest
from eightgig.tasks.segmentation.parameters import SegmentationDataParameters

pytestmark = pytest.mark.whole


def ingest(root, **options):
    """Return (manifest, rejects, parameters, folders) of class folders."""
    parameters = DataParameters(root=str(root), **options)
    folders = scan_class_folders(root)
    return *build_manifest(folders, parameters), parameters, folders


def stored(root, path, **options):
    """Ingest class folders into a store; give it with its manifest."""
    manifest, rejects, parameters, folders = ingest(root, **options)
    assert rejects.empty, rejects
    require_usable(root, manifest, rejects, parameters)
    write_store(path, manifest, root, folders.classes)
    return ImageStore(path), manifest


def decoded(store, name):
    """Return the pixels that a run gets to see."""
    pixels_HWC = store.decode(store.paths.index(name))
    assert (pixels_HWC.dtype, pixels_HWC.ndim, pixels_HWC.shape[2]) == (np.uint8, 3, 3)
    return pixels_HWC


def test_row_10_truncated_empty_and_html_files_are_quarantined(tmp_path, fill_folders, encode):
    root = fill_folders(tmp_path / "photos", daisy=20, rose=20)
    whole = encode(7)
    bad = {"cut.jpg": whole[: len(whole) // 2], "empty.jpg": b"", "page.jpg": b"<!DOCTYPE html><p>404 not found"}
    for name, content in bad.items():
        (root / "rose" / name).write_bytes(content)
    manifest, rejects, parameters, folders = ingest(root, max_reject_fraction=0.1)
    reasons = {"rose/cut.jpg": "truncated", "rose/empty.jpg": "empty", "rose/page.jpg": "not_an_image"}

    table = TableDataset(filepath=str(tmp_path / "rejects.csv"))
    table.save(rejects)
    listed = table.load()
    assert dict(zip(listed["path"], listed["reason"], strict=True)) == reasons
    assert listed["detail"].str.len().min() > 0
    require_usable(root, manifest, rejects, parameters)  # 3 of 43: the run goes on without them
    write_store(tmp_path / "s.h5", manifest, root, folders.classes)
    assert set(ImageStore(tmp_path / "s.h5").paths).isdisjoint(reasons)

    strict = parameters.model_copy(update={"max_reject_fraction": 0.05})
    with pytest.raises(
        DataError, match=r"3 of 43 files cannot be used .*; at most 5% may be refused\. First: rose/cut"
    ):
        require_usable(root, manifest, rejects, strict)


def decoder_warns(data, tmp_path):
    """Tell whether libjpeg says something, as OpenCV lets it: on the standard error of the process."""
    with (tmp_path / "said").open("w+b") as said:
        before = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        finally:
            os.dup2(before, 2)
            os.close(before)
        said.seek(0)
        return bool(said.read())


@pytest.mark.skipif(sys.platform == "win32", reason="listens to the standard error by its descriptor")
def test_row_11_corrupt_middle_of_a_jpeg(tmp_path, encode):
    """40 bytes in its middle are zero: Pillow gives an image without a word; here the decoder's warning refuses it."""
    num_warned = 0
    for seed in range(20):
        whole = encode(np.random.default_rng(seed).integers(0, 255, (60, 80, 3), dtype=np.uint8), quality=90)
        middle = len(whole) // 2
        corrupt = whole[:middle] + bytes(40) + whole[middle + 40 :]
        silent, right = (np.asarray(Image.open(io.BytesIO(data))) for data in (corrupt, whole))
        assert (silent != right).any(axis=2).mean() > 0.5
        (tmp_path / "a.jpg").write_bytes(corrupt)
        if decoder_warns(corrupt, tmp_path):
            num_warned += 1
            with pytest.raises(ImageRejectedError) as refusal:
                inspect_image(tmp_path / "a.jpg", max_pixels=10**6, min_side=1)
            assert refusal.value.reason in {"damaged", "truncated"}
    assert num_warned == 20


def test_row_12_every_kind_of_pixel_becomes_rgb(tmp_path, fill_folders, encode):
    root = fill_folders(tmp_path / "photos", daisy=4, rose=4)
    image = Image.open(io.BytesIO(encode(9, "PNG")))
    kinds = {
        "grey.jpg": ("JPEG", "L"),
        "cmyk.jpg": ("JPEG", "CMYK"),
        "rgba.png": ("PNG", "RGBA"),
        "palette.png": ("PNG", "P"),
        "bits.png": ("PNG", "1"),
        "la.png": ("PNG", "LA"),
    }
    for turn, (name, (kind, mode)) in enumerate(kinds.items()):
        (root / "rose" / name).write_bytes(encode(image.rotate(10 * turn).convert(mode), kind))
    store, _ = stored(root, tmp_path / "s.h5")
    for turn, name in enumerate(kinds):
        pixels_HWC = decoded(store, f"rose/{name}").astype(int)
        wanted = np.asarray(image.rotate(10 * turn).convert(kinds[name][1]).convert("RGB")).astype(int)
        assert pixels_HWC.shape == (40, 50, 3)
        assert np.abs(pixels_HWC - wanted).mean() < 12, name


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_row_13_16_bit_png_is_scaled(tmp_path, fill_folders, channels):
    root = fill_folders(tmp_path / "photos", daisy=4, rose=4)
    shape = (40, 50) if channels == 1 else (40, 50, channels)
    deep = np.random.default_rng(0).integers(0, 2**16, shape).astype(np.uint16)
    if channels == 4:
        deep[..., 3] = 2**16 - 1  # nothing is transparent
    cv2.imwrite(str(root / "rose" / "deep.png"), deep)
    store, _ = stored(root, tmp_path / "s.h5")
    rgb = np.repeat(deep[..., None], 3, axis=2) if channels == 1 else deep[..., 2::-1]
    assert np.array_equal(decoded(store, "rose/deep.png"), np.rint(rgb / 257))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_row_14_exif_orientation_is_applied(tmp_path, fill_folders, encode, orientation):
    root = fill_folders(tmp_path / "photos", daisy=4, rose=4)
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:20, :30] = 255, 0, 0  # red is above on the left
    upright[20:, 30:] = 0, 0, 255
    turned = {  # what a camera stores: the rows and columns of the upright image in the order that EXIF names
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(np.ascontiguousarray(turned), "JPEG", quality=95, subsampling=0, exif=exif)
    (root / "rose" / "turned.jpg").write_bytes(data)
    store, manifest = stored(root, tmp_path / "s.h5")
    assert np.abs(decoded(store, "rose/turned.jpg").astype(int) - upright).mean() < 2
    note = manifest.set_index("path")["note"]["rose/turned.jpg"]
    assert (f"EXIF orientation {orientation}" in note) is (orientation != 1)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_row_15_of_an_animation_the_first_frame(tmp_path, fill_folders, encode, kind):
    root = fill_folders(tmp_path / "photos", daisy=4, rose=4)
    frames = [Image.new("RGB", (50, 40), colour) for colour in ((200, 30, 30), (30, 200, 30), (30, 30, 200))]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, **options)
    name = f"rose/moves.{kind.lower()}"
    (root / name).write_bytes(data)
    store, manifest = stored(root, tmp_path / "s.h5")
    assert np.abs(decoded(store, name).astype(int) - (200, 30, 30)).max() <= 8
    assert "animated: first frame" in manifest.set_index("path")["note"][name]


def png(width, height, rows):
    """Return a PNG of one bit a pixel."""

    def chunk(kind, body):
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("side", "options"), [(20_000, {}), (6_000, {"max_pixels": 10**6})])
def test_row_16_decompression_bomb_is_refused_by_its_header(tmp_path, fill_folders, monkeypatch, side, options):
    """400 million pixels in 48 KB, and fewer that are still too many; nothing is decoded, by whichever decoder."""
    root = fill_folders(tmp_path / "photos", daisy=4, rose=4)
    bomb = png(side, side, bytes(side * (side // 8 + 1)))
    assert len(bomb) < 50_000
    (root / "rose" / "bomb.png").write_bytes(bomb)
    huge = []
    monkeypatch.setattr(Image.Image, "load", watch(Image.Image.load, lambda image: huge.append(image.width > 1000)))
    monkeypatch.setattr(cv2, "imdecode", watch(cv2.imdecode, lambda data, *_: huge.append(len(data) > 4_000)))
    monkeypatch.setattr(
        simplejpeg,
        "decode_jpeg",
        watch(simplejpeg.decode_jpeg, lambda data, *_: huge.append(len(data) > 4_000)),
    )
    _, rejects, *_ = ingest(root, **options)
    assert rejects[["path", "reason"]].to_numpy().tolist() == [["rose/bomb.png", "too_large"]]
    assert huge
    assert not any(huge)


def watch(real, note):
    def watched(*args, **kwargs):
        note(*args)
        return real(*args, **kwargs)

    return watched


def test_row_17_all_bad_classes_in_one_message_and_no_dot_folders(tmp_path, fill_folders):
    root = fill_folders(tmp_path / "photos", daisy=4, rose=4, tulip=1)
    fill_folders(root, **{".ipynb_checkpoints": 4, "__MACOSX": 4})
    (root / "violet").mkdir()
    folders = scan_class_folders
    with pytest.raises(DataError, match=r"needs at least 3 .* but 'tulip' has 1, 'violet' has none\. Add images"):
        folders(root, min_images_per_class=3)
    (root / "violet").rmdir()
    (root / "tulip" / "0.jpg").unlink()
    (root / "tulip").rmdir()
    assert folders(root).classes == ("daisy", "rose")
    store, manifest = stored(root, tmp_path / "s.h5")
    assert store.classes == ("daisy", "rose")
    assert set(manifest["class_name"]) == {"daisy", "rose"}


def test_row_18_a_class_of_validation_that_is_not_in_train(tmp_path, fill_folders):
    fill_folders(tmp_path / "photos" / "train", daisy=4, rose=4)
    fill_folders(tmp_path / "photos" / "val", first=50, daisy=4, tulip=4)
    with pytest.raises(DataError, match=r"1 classes have no folder in train: 'tulip' \(only in val\)"):
        scan_class_folders(tmp_path / "photos")


def test_row_18_labels_are_positions_in_the_manifests_classes(tmp_path, fill_folders):
    """Val lacks a class: its labels stay those of train, and are not counted anew."""
    fill_folders(tmp_path / "photos" / "train", daisy=4, rose=4, tulip=4)
    fill_folders(tmp_path / "photos" / "val", first=50, rose=3, tulip=3)
    root = tmp_path / "photos"
    store, manifest = stored(root, tmp_path / "s.h5")
    assert store.classes == ("daisy", "rose", "tulip")
    of_val = manifest[manifest["split"] == "val"]
    assert set(zip(of_val["class_name"], of_val["label"], strict=True)) == {("rose", 1), ("tulip", 2)}
    assert store.labels.tolist() == manifest["label"].tolist()
    assert "val" in set(split_of(manifest, root))


def split_of(manifest, root):
    raw = type("Raw", (), {"root": str(root)})()
    rejects = pd.DataFrame(columns=["path", "class_name", "reason", "detail", "action"])
    return split(ClassifiedImages(), raw, manifest, rejects, DataParameters(root=str(root)))["split"]


@pytest.mark.parametrize("label", [-1, 2, 7])
def test_row_18_a_label_out_of_range_is_refused_before_it_is_stored(tmp_path, fill_folders, label):
    root = fill_folders(tmp_path / "photos", daisy=4, rose=4)
    manifest, *_ = ingest(root)
    manifest.loc[3, "label"] = label
    with pytest.raises(StoreError, match=rf"labels must be 0 to 1, positions in the 2 classes, found {label} "):
        write_store(tmp_path / "s.h5", manifest, root, ("daisy", "rose"))
    assert not (tmp_path / "s.h5").exists()


def test_row_18_a_box_of_an_unknown_class(tmp_path, encode):
    root = tmp_path / "yolo"
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for name, label in (("a", 0), ("b", 2)):
        (root / "images" / f"{name}.jpg").write_bytes(encode(label))
        (root / "labels" / f"{name}.txt").write_text(f"{label} 0.5 0.5 0.4 0.4\n")
    (root / "data.yaml").write_text("train: images\nnames: [cup, pen]\n")
    manifest, boxes, rejects = build_detection_manifest(
        scan_detection_folder(root, "auto", None), DetectionDataParameters(root=str(root))
    )
    assert manifest["path"].tolist() == ["images/a.jpg"]
    refused = rejects[["file", "line", "reason", "action"]].to_numpy().tolist()
    assert refused == [["labels/b.txt", 1, "unknown_class", "refused"]]
    boxes.loc[0, "label"] = 2
    with pytest.raises(StoreError, match="labels must be 0 to 1, positions in the 2 classes, found 2"):
        write_store(tmp_path / "s.h5", manifest, root, ("cup", "pen"), boxes=boxes)


def test_row_18_a_mask_with_an_unknown_label(tmp_path, encode):
    root = tmp_path / "masked"
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for seed, name in enumerate(("good", "odd")):
        (root / "images" / f"{name}.jpg").write_bytes(encode(seed))
        labels = np.random.default_rng(seed).integers(0, 2, (40, 50)).astype(np.uint8)
        labels[0, 0] = 7 if name == "odd" else 1
        cv2.imwrite(str(root / "masks" / f"{name}.png"), labels)
    (root / "classes.csv").write_text("name,label\nroad,0\nsky,1\n")
    found = scan_mask_folder(root)
    manifest, _, rejects = build_mask_manifest(found, SegmentationDataParameters(root=str(root)))
    assert manifest["path"].tolist() == ["images/good.jpg"]
    assert rejects[["path", "reason"]].to_numpy().tolist() == [["images/odd.jpg", "unknown_label"]]
    assert "7 (1 pixels)" in rejects["detail"][0]
    assert Path(found.root) == root
