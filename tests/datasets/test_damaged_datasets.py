"""Files that are not as they were written: each is refused by its name, with the way out."""

import json

import numpy as np
import pytest
import torch
from kedro.io import DatasetError
from safetensors.torch import save

from eightgig.core.files import sha256_of
from eightgig.datasets.folder import FolderDataset
from eightgig.datasets.media import ImageDataset, PageDataset
from eightgig.datasets.results import RecordDataset
from eightgig.datasets.stores import RawImagesDataset
from eightgig.datasets.weights import WeightsDataset
from eightgig.models.cards import ImageCard

NOT_UTF8 = b'{"code": "\xff"}'
DEEP = b"[" * 100_000


@pytest.mark.parametrize("content", [NOT_UTF8, DEEP, b"", b"[]", b"\0" * 50])
def test_json_that_is_damaged(tmp_path, content):
    path = tmp_path / "f.json"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"(?s)f\.json is not a Finding of this version.*Run the stage that makes"):
        RecordDataset(filepath=str(path), record="eightgig.vram.plan.Finding").load()
    with pytest.raises(DatasetError, match=r"(?s)f\.json does not say where images are.*Run the ingest stage"):
        RawImagesDataset(filepath=str(path)).load()


def test_a_page_that_is_no_text(tmp_path):
    (tmp_path / "p.html").write_bytes(b"<p>\xff")
    with pytest.raises(DatasetError, match=r"p\.html is no text in UTF-8.*Run the stage that makes it once more"):
        PageDataset(filepath=str(tmp_path / "p.html")).load()


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_a_image_that_is_damaged(tmp_path, content):
    dataset = ImageDataset(filepath=str(tmp_path / "p.png"))
    dataset.save(np.zeros((40, 60, 3), np.uint8))
    whole = (tmp_path / "p.png").read_bytes()
    (tmp_path / "p.png").write_bytes(whole[:-20] if content is None else content)
    with pytest.raises(DatasetError, match=r"p\.png is no image that can be read \(.*Run the stage that makes it"):
        dataset.load()


@pytest.fixture
def folder(tmp_path):
    made = FolderDataset(filepath=str(tmp_path), dataset="eightgig.datasets.files.OnnxDataset", suffix=".onnx")
    made.save({"a": b"1"})
    return made


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "", ".."])
def test_a_list_of_files_cannot_lead_out_of_its_folder(folder, tmp_path, name):
    (tmp_path.parent / "secret.onnx").write_bytes(b"secret")
    (tmp_path / "index.onnx.json").write_text(json.dumps([name]))
    with pytest.raises(DatasetError, match=r"index\.onnx\.json is damaged: .* is no name for a file"):
        folder.load()
    assert not folder.exists()


def test_a_file_that_the_list_names_in_vain(folder, tmp_path):
    (tmp_path / "index.onnx.json").write_text('["a", "b"]')
    with pytest.raises(DatasetError, match=r"index\.onnx\.json is damaged: it names b, which is not there\. Run the"):
        folder.load()


CARD = ImageCard(
    model="x", started_from="nothing", classes=("a", "b"), best_epoch=1, val_score=0.5, num_parameters=2,
    eightgig_version="0", torch_version="2", trained_on="test", image_size=8, mean=(0, 0, 0), std=(1, 1, 1),
)  # fmt: skip


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 8, b"\x08" + bytes(7) + b"not JSON", save({"w": torch.ones(2)})[:-1]]
)
def test_weights_that_are_none_though_their_card_vouches_for_them(tmp_path, content):
    """Whoever means harm writes the card too."""
    (tmp_path / "w.safetensors").write_bytes(content)
    card = CARD.model_copy(update={"sha256": sha256_of(content)})
    (tmp_path / "w.card.json").write_text(card.model_dump_json())
    with pytest.raises(DatasetError, match=r"w\.safetensors: wanted weights as safetensors, but it cannot be read as"):
        WeightsDataset(filepath=str(tmp_path / "w.safetensors")).load()


NO_SIZE = CARD.model_copy(update={"image_size": 0}).model_dump_json().encode()


@pytest.mark.parametrize("content", [NOT_UTF8, DEEP, b"{}", NO_SIZE])
def test_a_card_that_is_damaged(tmp_path, content):
    (tmp_path / "w.safetensors").write_bytes(save({"w": torch.ones(2)}))
    (tmp_path / "w.card.json").write_bytes(content)
    with pytest.raises(DatasetError, match=r"(?s)is not the file its card vouches for \(w\.card\.json: .*Train again"):
        WeightsDataset(filepath=str(tmp_path / "w.safetensors")).load()
