"""The whole case study as a user runs it, on as little as possible (environment `ci`)."""

import json

import cv2
import h5py
import mlflow
import numpy as np
import pandas as pd
import pytest
from kedro.runner import SequentialRunner
from PIL import Image
from tests.present import present

from eightgig.core.errors import BudgetError, DataError
from eightgig.data.samples.streets import CLASSES, render_street
from eightgig.data.store.reader import ImageStore
from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner

CASE = "semantic_segmenter"
# A whole run goes through MLflow, SQLAlchemy and Kedro, whose own warnings are not ours to mend; ours stay errors.
pytestmark = [pytest.mark.whole, pytest.mark.filterwarnings("default", "error:::eightgig")]


@pytest.fixture(scope="module")
def done(session_factory, tmp_path_factory):
    """One run of the default pipeline; tests look at what it left."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("EIGHTGIG_DATA", str(folder / "data"))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{(folder / 'mlflow.db').as_posix()}")
        run(session_factory)
        yield folder / "data"
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # as it is before any is set


def run(session_factory, tags=None, **parameters):
    with session_factory(env="ci", runtime_params={CASE: parameters} if parameters else None) as session:
        session.run(pipeline_names=[CASE], tags=tags, runner=SequentialRunner())


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_each_stage_leaves_its_files(done):
    for path in (
        f"02_intermediate/{CASE}/class_pixels.csv",
        f"02_intermediate/{CASE}/rejects.csv",
        f"05_model_input/{CASE}/store.h5",
        f"06_models/{CASE}/compressed/student_fp32.onnx",
        f"07_model_output/{CASE}/images.csv",
        f"07_model_output/{CASE}/overlays.png",
        f"07_model_output/{CASE}/predict.png",
        f"07_model_output/{CASE}/tiles.png",
        f"07_model_output/{CASE}/tiles/sample_mask.png",
        f"08_reporting/{CASE}/per_class.plotly.json",
    ):
        assert (done / path).stat().st_size > 0, path
    assert len(list((done / f"07_model_output/{CASE}/predict_masks").glob("*.png"))) == 3


def test_masks_are_stored_and_splits_hold_all_images(done):
    store = ImageStore(done / f"05_model_input/{CASE}/store.h5")
    assert (store.kind, store.classes, len(store)) == ("masks", CLASSES, 32)
    splits = pd.read_csv(done / f"05_model_input/{CASE}/splits.csv")
    assert set(splits["split"]) == {"train", "val", "test"}


def test_it_is_trained_under_the_plan(done):
    card = read_json(done / f"06_models/{CASE}/weights.card.json")
    assert (card["model"], card["score_name"], card["image_size"]) == ("eightgig/unet_x0_125", "mIoU", 64)
    plan = read_json(done / f"05_model_input/{CASE}/memory_plan.json")
    assert (plan["micro_batch"], plan["gradient_accumulation_steps"], plan["fits"]) == (8, 2, True)
    history = pd.read_csv(done / f"08_reporting/{CASE}/history.csv")
    assert history["val_score"].between(0, 1).all()


def test_figures_are_those_of_the_confusion_matrix(done):
    metrics = read_json(done / f"07_model_output/{CASE}/metrics.json")
    confusion = pd.read_csv(done / f"07_model_output/{CASE}/confusion.csv").set_index("actual").to_numpy()
    assert confusion.sum() == metrics["num_pixels"]
    right, true, found = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    held = true > 0
    assert metrics["miou"] == pytest.approx((right[held] / (true + found - right)[held]).mean())
    assert metrics["pixel_accuracy"] == pytest.approx(right.sum() / true.sum())


def test_files_take_a_batch_and_agree(done):
    reports = read_json(done / f"06_models/{CASE}/parity.json")["reports"]
    assert reports["onnx_fp32"]["passed"]
    assert reports["onnx_fp32"]["agreement"] > 0.999
    rows = pd.read_csv(done / f"07_model_output/{CASE}/benchmark.csv").set_index("variant")
    assert {"torch_cpu", "onnx_fp32", "onnx_int8_cpu", "engine_fp16"} <= set(rows.index)
    assert {"pixel_accuracy", "mean_accuracy"} <= set(rows)
    images_N3HW = np.zeros((3, 3, 64, 64), np.float32)
    with OnnxRuntimeRunner((done / f"06_models/{CASE}/fp32.onnx").read_bytes()) as runner:
        assert runner.run({"images": images_N3HW})["logits"].shape == (3, 19, 64, 64)


def test_the_page_is_sound_in_a_browser(done, browse):
    assert browse(done / f"08_reporting/{CASE}/report.html") == []


def test_the_page_shows_it(done):
    page = (done / f"08_reporting/{CASE}/report.html").read_text(encoding="utf-8")
    for text in (
        "What it found, beside the truth",
        "A large image in tiles",
        "mIoU",
        "Legend",
        "of the pixels are right",
    ):
        assert text in page


def test_tiles_of_an_image_of_the_users(done, session_factory, tmp_path):
    image_HWC, _ = render_street(seed=9, width=300, height=210)
    cv2.imwrite(str(tmp_path / "town.tif"), image_HWC[..., ::-1])
    source = str(tmp_path / "town.tif")
    run(session_factory, tags=["tiles"], tiles={"source": source, "probabilities": True, "overlay_px": 150})
    folder = done / f"07_model_output/{CASE}"
    report = read_json(folder / "tiles.json")
    assert (report["source"], report["width"], report["height"]) == ("town.tif", 300, 210)
    assert report["num_tiles"] == 12  # 332 x 242 with its mirror image around it: 4 x 3 tiles of 128, 96 apart
    assert report["predicted_bytes"] > 128 * 128 * 4 * 19 * 4  # at least the logits of a batch
    assert sum(report["found"].values()) == pytest.approx(1)
    mask_HW = np.asarray(Image.open(folder / "tiles/town_mask.png"))
    assert mask_HW.shape == (210, 300)
    with h5py.File(folder / "tiles/town_probabilities.h5") as file:
        shares_KHW = file["probabilities"][...].astype(np.float32)
    assert shares_KHW.shape == (19, 210, 300)
    assert np.abs(shares_KHW.sum(0) - 1).max() < 0.02
    assert (shares_KHW.argmax(0) == mask_HW).mean() > 0.99
    assert present(cv2.imread(str(folder / "tiles.png"))).shape == (105, 150, 3)


def test_a_planner_that_is_asked_takes_what_fits(done, session_factory, tmp_path):
    image_HWC, _ = render_street(seed=9, width=700, height=300)
    cv2.imwrite(str(tmp_path / "town.png"), image_HWC)
    source = str(tmp_path / "town.png")
    free = {"source": source, "tile": None, "overlap": 32, "batch": None}
    reports = []
    for budget_gib in (8.0, 0.06):
        run(session_factory, tags=["tiles"], tiles={**free, "budget_gib": budget_gib})
        reports.append(read_json(done / f"07_model_output/{CASE}/tiles.json"))
    large, small = reports
    assert large["useful_share"] >= small["useful_share"]
    assert small["tile"] * small["tile"] * small["batch"] < large["tile"] * large["tile"] * large["batch"]
    assert small["predicted_bytes"] < 0.06 * 2**30 < large["predicted_bytes"]
    with pytest.raises(BudgetError, match="at tiles of 128 px does not fit"):
        run(session_factory, tags=["tiles"], tiles={**free, "budget_gib": 0.005})


def test_an_image_that_is_none_is_named(done, session_factory, tmp_path):
    assert done.is_dir()
    (tmp_path / "none.tif").write_text("nothing")
    with pytest.raises(DataError, match=r"none\.tif: wanted an image"):
        run(session_factory, tags=["tiles"], tiles={"source": str(tmp_path / "none.tif")})
