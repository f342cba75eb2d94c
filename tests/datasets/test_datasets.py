"""Each dataset saves whole files, loads what was saved, and says honestly whether it exists."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from kedro.io import DatasetError
from plotly.graph_objects import Figure

from eightgig.core.tracker import NoTracker
from eightgig.data.images.parameters import DataParameters
from eightgig.data.ingest.sources import open_source
from eightgig.datasets.files import OnnxDataset, TextDataset
from eightgig.datasets.media import FigureDataset, ImageDataset, PageDataset
from eightgig.datasets.results import RecordDataset, TableDataset
from eightgig.datasets.stores import RawImagesDataset, StoreDataset
from eightgig.datasets.tracker import TrackerDataset
from eightgig.datasets.weights import CheckpointFolderDataset, Weights, WeightsDataset
from eightgig.models.cards import ImageCard
from eightgig.report.page import Page
from eightgig.vram.plan import Finding


@pytest.fixture
def weights():
    card = ImageCard(
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
    return Weights({"w": torch.arange(4.0)}, card)


def test_record_round_trip_and_preview(tmp_path):
    dataset = RecordDataset(filepath=str(tmp_path / "f.json"), record="eightgig.vram.plan.Finding")
    assert not dataset.exists()
    dataset.save(Finding(code="VRAM001", message="m"))
    assert dataset.exists()
    assert dataset.load() == Finding(code="VRAM001", message="m")
    assert json.loads(dataset.preview()) == {"code": "VRAM001", "message": "m"}


def test_a_record_of_another_version_is_refused(tmp_path):
    dataset = RecordDataset(filepath=str(tmp_path / "f.json"), record="eightgig.vram.plan.Finding")
    (tmp_path / "f.json").write_text('{"code": "VRAM001", "colour": 3}')
    with pytest.raises(
        DatasetError, match=r"(?s)f.json is not a Finding of this version.*colour.*Run the stage that makes it"
    ):
        dataset.load()


def test_weights_round_trip_with_the_card_that_vouches_for_them(tmp_path, weights):
    dataset = WeightsDataset(filepath=str(tmp_path / "weights.safetensors"))
    assert not dataset.exists()
    dataset.save(weights)
    loaded = dataset.load()
    assert torch.equal(loaded.state["w"], weights.state["w"])
    assert len(loaded.card.sha256) == 64
    assert loaded.card.classes == ("a", "b")


def test_a_flipped_bit_in_weights_is_refused(tmp_path, weights):
    dataset = WeightsDataset(filepath=str(tmp_path / "weights.safetensors"))
    dataset.save(weights)
    content = bytearray((tmp_path / "weights.safetensors").read_bytes())
    content[-3] ^= 1
    (tmp_path / "weights.safetensors").write_bytes(content)
    with pytest.raises(DatasetError, match=r"not the file its card vouches for \(SHA-256 differs\)"):
        dataset.load()


def test_weights_without_their_card_do_not_exist(tmp_path, weights):
    dataset = WeightsDataset(filepath=str(tmp_path / "weights.safetensors"))
    dataset.save(weights)
    (tmp_path / "weights.card.json").unlink()
    assert not dataset.exists()


def test_bytes_text_and_images(tmp_path):
    onnx = OnnxDataset(filepath=str(tmp_path / "m.onnx"))
    onnx.save(b"\x08\x01")
    assert onnx.load() == b"\x08\x01"
    page = PageDataset(filepath=str(tmp_path / "p.html"))
    page.save(Page("Flöwers", "five kinds", headline=[], sections=[]))
    assert "Flöwers" in page.load()
    assert page.load().startswith("<!doctype html>")
    dataset = ImageDataset(filepath=str(tmp_path / "p.png"))
    image = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
    dataset.save(image)
    assert np.array_equal(dataset.load(), image)
    assert dataset.preview().startswith("iVBOR")


def test_tables_figures_and_texts(tmp_path):
    names = {"load_args": {"dtype": {"name": object}, "na_values": [""], "keep_default_na": False}}
    table = TableDataset(filepath=str(tmp_path / "f.csv"), **names)
    rows = pd.DataFrame({"name": ["12", "NA", "ünï, code"], "score": [0.1, 2.0, float("nan")]}).astype({"name": object})
    table.save(rows)
    pd.testing.assert_frame_equal(table.load(), rows)
    assert table.preview(nrows=1)["data"] == [["12", 0.1]]
    figure = FigureDataset(filepath=str(tmp_path / "f.json"))
    figure.save(Figure({"type": "scatter", "y": [1, 2]}))
    assert list(figure.load().data[0].y) == [1, 2]
    assert figure.preview()["data"][0]["type"] == "scatter"
    text = TextDataset(filepath=str(tmp_path / "f.txt"))
    text.save("ünï\n")
    assert text.load() == "ünï\n"


def test_checkpoint_folder_is_made_and_never_saved(tmp_path):
    dataset = CheckpointFolderDataset(filepath=str(tmp_path / "a" / "checkpoints"))
    assert dataset.load().is_dir()
    with pytest.raises(DatasetError, match="the training loop writes into it"):
        dataset.save("something")  # type: ignore[arg-type]  # nothing can be saved


def test_without_a_run_the_tracker_keeps_nothing():
    assert isinstance(TrackerDataset().load(), NoTracker)


def test_rendered_images_are_drawn_into_the_folder_and_replaced_whole(tmp_path):
    dataset = RawImagesDataset(filepath=str(tmp_path / "raw" / "raw.json"))
    dataset.save(open_source(DataParameters(num_images=14, seed=1)))
    raw = dataset.load()
    first = sorted(path.name for path in (tmp_path / "raw" / "rendered").rglob("*.jpg"))
    assert len(first) == 14
    assert raw.source == "rendered"
    dataset.save(open_source(DataParameters(num_images=7, seed=1)))
    assert len(list((tmp_path / "raw" / "rendered").rglob("*.jpg"))) == 7


def test_a_users_folder_stays_where_it_is(tmp_path):
    dataset = RawImagesDataset(filepath=str(tmp_path / "raw" / "raw.json"))
    dataset.save(open_source(DataParameters(root=str(tmp_path / "mine"))))
    assert dataset.load().root == str((tmp_path / "mine").resolve())
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["raw.json"]


def test_half_a_store_does_not_exist(tmp_path):
    path = tmp_path / "store.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    assert not StoreDataset(filepath=str(path)).exists()
