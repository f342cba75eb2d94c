"""A folder of files by name: whole, without stale ones, and honest about what is there."""

import pytest
import torch
from kedro.io import DatasetError

from eightgig.datasets.folder import FolderDataset
from eightgig.datasets.weights import Weights
from eightgig.models.cards import ImageCard

_CARD = ImageCard(
    model="timm/x",
    started_from="nothing",
    classes=("a", "b"),
    image_size=8,
    mean=(0, 0, 0),
    std=(1, 1, 1),
    best_epoch=1,
    val_score=0.5,
    num_parameters=4,
    eightgig_version="0",
    torch_version="2",
    trained_on="test",
)


@pytest.fixture
def pages(tmp_path):
    return FolderDataset(filepath=str(tmp_path / "f"), dataset="eightgig.datasets.files.OnnxDataset", suffix=".onnx")


@pytest.fixture
def weights(tmp_path):
    dataset = "eightgig.datasets.weights.WeightsDataset"
    return FolderDataset(filepath=str(tmp_path / "f"), dataset=dataset, suffix=".safetensors")


def names_in(dataset):
    return sorted(path.name for path in dataset.path.iterdir())


def test_files_come_back_by_name_in_order(pages):
    assert not pages.exists()
    pages.save({"b": b"1", "a": b"2"})
    assert pages.exists()
    assert list(pages.load().items()) == [("b", b"1"), ("a", b"2")]


def test_nothing_at_all_is_a_value(pages):
    pages.save({})
    assert pages.exists()
    assert pages.load() == {}


def test_stale_files_leave_with_what_belongs_to_them_and_others_stay(pages, weights):
    one = Weights({"w": torch.arange(4.0)}, _CARD)
    pages.save({"pruned": b"1"})
    weights.save({"pruned": one, "student": one})
    weights.save({"student": one})
    assert names_in(weights) == [
        "index.onnx.json",
        "index.safetensors.json",
        "pruned.onnx",
        "student.card.json",
        "student.safetensors",
    ]
    assert pages.load() == {"pruned": b"1"}
    assert torch.equal(weights.load()["student"].state["w"], one.state["w"])


def test_a_missing_file_or_index_means_it_does_not_exist(pages):
    pages.save({"a": b"1", "b": b"2"})
    (pages.path / "b.onnx").unlink()
    assert not pages.exists()
    pages.save({"a": b"1"})
    (pages.path / "index.onnx.json").unlink()
    assert not pages.exists()


def test_a_save_that_fails_leaves_no_index(pages):
    pages.save({"a": b"1"})
    with pytest.raises(DatasetError):
        pages.save({"a": "no bytes"})
    assert not pages.exists()


@pytest.mark.parametrize("name", ["../a", "a.b", ""])
def test_a_name_that_is_no_file_name_is_refused(pages, name):
    with pytest.raises(DatasetError, match="is no name for a file; use letters, digits"):
        pages.save({name: b"1"})


def test_a_damaged_index_is_told(pages):
    pages.save({"a": b"1"})
    (pages.path / "index.onnx.json").write_text('{"a": 3}')
    with pytest.raises(DatasetError, match=r"(?s)is damaged: .*Run the stage that makes it once more"):
        pages.load()


def test_cards_of_older_versions_still_load():
    old = _CARD.model_dump(exclude={"compression", "made_from_sha256"})
    assert ImageCard.model_validate(old).compression == ""
