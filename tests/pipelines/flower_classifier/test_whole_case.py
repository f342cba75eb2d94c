"""The whole case study as a user runs it, on as little as possible (environment `ci`)."""

import json
import os
import subprocess
import sys

import mlflow
import numpy as np
import onnx
import pandas as pd
import pytest
from kedro.runner import SequentialRunner
from mlflow.tracking import MlflowClient
from PIL import Image

CASE = "flower_classifier"
# A whole run goes through MLflow, SQLAlchemy and Kedro, whose own warnings are not ours to mend; ours stay errors.
pytestmark = pytest.mark.filterwarnings("default", "error:::eightgig")


@pytest.fixture(scope="module")
def done(session_factory, tmp_path_factory):
    """One run of the default pipeline; tests look at what it left."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("EIGHTGIG_DATA", str(folder / "data"))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(folder))
        run(session_factory)
        yield folder
        mlflow.set_tracking_uri(None)


def run(session_factory, tags=None, **parameters):
    with session_factory(env="ci", runtime_params={CASE: parameters} if parameters else None) as session:
        session.run(pipeline_names=[CASE], tags=tags, runner=SequentialRunner())


def tracking_uri(folder):
    return f"sqlite:///{(folder / 'mlflow.db').as_posix()}"


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


EXPECTED = [
    "01_raw/{case}/raw.json",
    "02_intermediate/{case}/manifest.csv",
    "02_intermediate/{case}/rejects.csv",
    "05_model_input/{case}/store.h5",
    "05_model_input/{case}/splits.csv",
    "05_model_input/{case}/memory_plan.json",
    "06_models/{case}/weights.safetensors",
    "06_models/{case}/weights.card.json",
    "06_models/{case}/checkpoints/last.pt",
    "06_models/{case}/fp32.onnx",
    "06_models/{case}/int8.onnx",
    "06_models/{case}/parity.json",
    "07_model_output/{case}/metrics.json",
    "07_model_output/{case}/predictions.csv",
    "07_model_output/{case}/benchmark.csv",
    "07_model_output/{case}/predict.csv",
    "07_model_output/{case}/predict.png",
    "08_reporting/{case}/history.csv",
    "08_reporting/{case}/vram_trace.json",
    "08_reporting/{case}/flight_recorder/report.json",
    "08_reporting/{case}/memory_step.plotly.json",
    "08_reporting/{case}/memory_phases.plotly.json",
    "08_reporting/{case}/report.html",
]


@pytest.mark.parametrize("path", EXPECTED)
def test_leaves(done, path):
    assert (done / "data" / path.format(case=CASE)).stat().st_size > 0


def test_nothing_is_left_half_written(done):
    assert list((done / "data").rglob("*.tmp")) == []


def test_the_plan_is_obeyed(done):
    plan = read_json(done / "data/05_model_input" / CASE / "memory_plan.json")
    trace = read_json(done / "data/08_reporting" / CASE / "vram_trace.json")
    assert (plan["micro_batch"], plan["accumulation"], plan["fits"]) == (16, 2, True)
    assert [phase["phase"] for phase in trace["phases"]] == ["train", "validate"]
    assert all(phase["measured"]["peak_resident_bytes"] > 0 for phase in trace["phases"])


def test_fp32_is_the_same_network(done):
    report = read_json(done / "data/06_models" / CASE / "parity.json")["reports"]["onnx_fp32"]
    assert report["passed"]
    assert report["num_inputs"] == 8
    assert report["max_abs_diff_probabilities"] <= 1e-4


def test_int8_is_int8(done):
    model = onnx.load(done / "data/06_models" / CASE / "int8.onnx")
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) > 20
    sizes = [(done / "data/06_models" / CASE / name).stat().st_size for name in ("int8.onnx", "fp32.onnx")]
    assert sizes[0] < 0.4 * sizes[1]


def test_every_variant_has_a_row_and_none_is_made_up(done):
    rows = pd.read_csv(done / "data/07_model_output" / CASE / "benchmark.csv").set_index("variant")
    assert list(rows.index) == ["torch_cpu", "onnx_fp32", "onnx_int8", "torch_cuda", "torch_cuda_fp16"]
    ran = rows[rows["status"] == "ok"]
    assert {"torch_cpu", "onnx_fp32", "onnx_int8"} <= set(ran.index)
    assert (ran["latency_p50_ms"] > 0).all()
    assert rows.loc[rows["status"] != "ok", "accuracy"].isna().all()


def test_predictions_agree_with_the_metrics(done):
    rows = pd.read_csv(done / "data/07_model_output" / CASE / "predictions.csv")
    metrics = read_json(done / "data/07_model_output" / CASE / "metrics.json")
    assert rows["correct"].mean() == pytest.approx(metrics["accuracy"])
    splits = pd.read_csv(done / "data/05_model_input" / CASE / "splits.csv")
    assert set(rows["index"]) == set(splits.loc[splits["split"] == "test", "index"])


def test_the_page_needs_no_network_and_shows_all(done):
    page = (done / "data/08_reporting" / CASE / "report.html").read_text(encoding="utf-8")
    for title in ("What was trained on what", "The memory plan", "Speed against accuracy", "What it got wrong"):
        assert title in page
    assert "Who holds the memory over one training step" in page
    assert 'src="http' not in page
    assert "torch finds no usable GPU" in page or "torch_cuda" in page


def test_mlflow_holds_parameters_figures_and_files(done):
    client, tracked = MlflowClient(tracking_uri(done)), all_runs(done)[-1]
    parameters, metrics = tracked.data.params, tracked.data.metrics
    assert parameters["flower_classifier.train.learning_rate"] == "0.0007"
    assert parameters["flower_classifier.train.augment.flip"] == "0.5"
    assert tracked.info.status == "FINISHED"
    assert {"val_accuracy", "gradient_norm", "metrics.accuracy", "seconds.train.train_network"} <= set(metrics)
    assert "peak_resident_gib.ingest.build_store" in metrics
    plan = read_json(done / "data/05_model_input" / CASE / "memory_plan.json")
    assert metrics["memory_plan.needed_gib"] == pytest.approx(plan["needed_bytes"] / 2**30)
    assert metrics["vram_trace.train.predicted_peak_gib"] == metrics["memory_plan.train.predicted_peak_gib"] > 0
    assert metrics["vram_trace.recoveries"] == 0
    history = client.get_metric_history(tracked.info.run_id, "val_accuracy")
    assert [point.step for point in history] == [1, 2]
    folders = {item.path for item in client.list_artifacts(tracked.info.run_id)}
    assert {"report", "memory_plan", "onnx_int8", "curves_figure", "memory_step_figure", "benchmark_table"} <= folders


def all_runs(folder):
    client = MlflowClient(tracking_uri(folder))
    experiment = client.get_experiment_by_name(CASE)
    return client.search_runs([experiment.experiment_id], order_by=["start_time DESC"])


def test_one_stage_runs_alone_and_replaces_its_output(done, session_factory):
    page = done / "data/08_reporting" / CASE / "report.html"
    weights = done / "data/06_models" / CASE / "weights.safetensors"
    before, trained = page.stat().st_mtime_ns, weights.stat().st_mtime_ns
    run(session_factory, tags=["report"])
    assert page.stat().st_mtime_ns > before
    assert weights.stat().st_mtime_ns == trained


def test_predicts_a_folder_and_lists_bad_files(done, session_factory, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "new" / "inner").mkdir(parents=True)
    for name in ("a.jpg", "inner/b.PNG"):
        Image.fromarray(rng.integers(0, 255, (90, 120, 3), np.uint8)).save(tmp_path / "new" / name)
    (tmp_path / "new" / "bad.jpg").write_bytes(b"<html>not found</html>")

    run(session_factory, tags=["predict"], predict={"source": str(tmp_path / "new")})

    output = done / "data/07_model_output" / CASE
    rows = pd.read_csv(output / "predict.csv")
    assert [name.rsplit("/", 1)[-1] for name in rows["file"]] == ["a.jpg", "b.PNG"]
    assert rows["probability"].between(1 / 7, 1).all()
    assert rows["top_5"].str.count(";").eq(4).all()
    rejects = pd.read_csv(output / "predict_rejects.csv")
    assert rejects["file"].str.endswith("bad.jpg").tolist() == [True]
    with Image.open(output / "predict.png") as sheet:
        assert sheet.size[0] > 200


def test_a_source_that_is_not_there_is_refused(done, session_factory):
    with pytest.raises(Exception, match=r"predict.source: .*nowhere does not exist. Name a picture or a folder"):
        run(session_factory, tags=["predict"], predict={"source": "/nowhere"})
    assert all_runs(done)[0].info.status == "FAILED"
    assert "does not exist" in all_runs(done)[0].data.tags["error"]


def test_the_notebook_runs_on_what_is_there(done, project_path):
    notebook = project_path / "notebooks" / "flower_classifier.ipynb"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbmake",
        "-q",
        "-p",
        "no:cacheprovider",
        "-W",
        "default",
        str(notebook),
    ]
    result = subprocess.run(
        command, cwd=project_path, env={**os.environ, "KEDRO_ENV": "ci"}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-3000:]
