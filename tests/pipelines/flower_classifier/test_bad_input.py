"""A user's folder with everything that goes wrong in real folders, through the ingest stage."""

import io
import zlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eightgig.core.errors import DataError
from eightgig.data.store.reader import ImageStore

pytestmark = [pytest.mark.whole, pytest.mark.filterwarnings("default", "error:::eightgig")]


@pytest.fixture
def ingest(open_session, tmp_path):
    """Runs the ingest stage on a folder; gives the folder that its results lie below."""

    def run(root, **data):
        parameters = {"flower_classifier": {"data": {"root": str(root), **data}}}
        with open_session(env="ci", runtime_params=parameters) as session:
            session.run(pipeline_names=["flower_classifier"], tags=["ingest"])
        return tmp_path / "data"

    return run


def image(seed, mode="RGB", size=(48, 40)):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), np.uint8)).convert(mode)


def fill(folder, start, count=8):
    folder.mkdir(parents=True)
    for number in range(count):
        image(start + number).save(folder / f"{number}.jpg", quality=92)


def jpeg_bytes(seed):
    buffer = io.BytesIO()
    image(seed).save(buffer, format="JPEG", quality=92)
    return buffer.getvalue()


def huge_png():
    """A PNG of 400 million pixels in its header and next to nothing behind it."""

    def chunk(kind, content):
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    header = (20000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_bad_files_are_listed_and_odd_ones_are_mended(ingest, tmp_path):
    root = tmp_path / "photos"
    fill(root / "daisy", 0)
    fill(root / "rose" / "2024" / "spring", 100)  # nested
    (root / ".ipynb_checkpoints").mkdir()
    (root / "daisy" / "empty.jpg").write_bytes(b"")
    (root / "daisy" / "page.jpg").write_text("<!DOCTYPE html><p>404</p>")
    (root / "daisy" / "cut.jpg").write_bytes(jpeg_bytes(50)[:900])
    (root / "daisy" / "bomb.png").write_bytes(huge_png())
    odd = {"L": "grey.jpg", "CMYK": "cmyk.jpg", "RGBA": "alpha.PNG", "P": "palette.png", "1": "bit.bmp"}
    for mode, name in odd.items():
        image(60 + len(name), mode).save(root / "rose" / name)
    gradient = np.linspace(0, 65535, 48 * 40).reshape(40, 48).astype(np.uint16)
    Image.fromarray(gradient).save(root / "rose" / "deep.png")
    turned = image(70)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(root / "rose" / "turned.jpg", exif=exif)

    data = ingest(root, max_reject_fraction=0.5)

    rejects = pd.read_csv(data / "02_intermediate/flower_classifier/rejects.csv").set_index("path")["reason"].to_dict()
    assert rejects == {
        "daisy/empty.jpg": "empty",
        "daisy/page.jpg": "not_an_image",
        "daisy/cut.jpg": "truncated",
        "daisy/bomb.png": "too_large",
    }
    store = ImageStore(data / "05_model_input/flower_classifier/store.h5")
    assert store.classes == ("daisy", "rose")
    assert len(store) == 8 + 8 + 7
    shapes = {path: store.decode(index).shape for index, path in enumerate(store.paths)}
    assert set(shapes) & set(rejects) == set()
    assert all(shape[2] == 3 for shape in shapes.values())
    assert shapes["rose/turned.jpg"] == (48, 40, 3)  # stored lying, shown standing
    deep = store.decode(store.paths.index("rose/deep.png"))
    assert 120 < deep.mean() < 135  # a 16-bit ramp keeps its middle, it is not saturated


def test_copies_never_straddle_the_split(ingest, tmp_path):
    root = tmp_path / "photos"
    for number, name in enumerate(("daisy", "rose")):
        fill(root / name, 100 * number, count=12)
        for copy in range(12):
            (root / name / f"copy_{copy}.jpg").write_bytes((root / name / f"{copy}.jpg").read_bytes())
    data = ingest(root)
    manifest = pd.read_csv(data / "02_intermediate/flower_classifier/manifest.csv")
    splits = pd.read_csv(data / "05_model_input/flower_classifier/splits.csv")
    by_content = splits.merge(manifest[["path", "content_hash"]]).groupby("content_hash")["split"].nunique()
    assert len(splits) == 48
    assert by_content.max() == 1
    assert set(splits["split"]) == {"train", "val", "test"}


def test_too_many_bad_files_stop_the_run_and_the_list_is_kept(ingest, tmp_path):
    root = tmp_path / "photos"
    fill(root / "daisy", 0)
    fill(root / "rose", 100)
    for number in range(4):
        (root / "rose" / f"bad_{number}.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"4 of 20 files cannot be used \(4 empty\); at most 5% may be refused"):
        ingest(root)
    rejects = pd.read_csv(tmp_path / "data/02_intermediate/flower_classifier/rejects.csv")
    assert len(rejects) == 4
    assert not (tmp_path / "data/05_model_input/flower_classifier/store.h5").exists()


def test_all_bad_classes_are_in_one_message(ingest, tmp_path):
    root = tmp_path / "photos"
    fill(root / "daisy", 0)
    fill(root / "rose", 100, count=1)
    (root / "tulip").mkdir()
    expected = r"at least 3 different usable images, but 'rose' has 1, 'tulip' has none. Add images"
    with pytest.raises(DataError, match=expected):
        ingest(root)


def test_a_root_that_is_not_there(ingest):
    with pytest.raises(DataError, match=r"/nowhere: there is no such folder. Set data.root"):
        ingest("/nowhere")


def test_a_second_run_replaces_the_store(ingest, tmp_path):
    root = tmp_path / "photos"
    fill(root / "daisy", 0)
    fill(root / "rose", 100)
    ingest(root)
    (root / "rose" / "0.jpg").unlink()
    data = ingest(root)
    assert len(ImageStore(data / "05_model_input/flower_classifier/store.h5")) == 15
