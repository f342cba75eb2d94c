"""The whole case study as a user runs it, on as little as possible (environment `ci`)."""

import json
import os
from importlib.util import find_spec

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from kedro.runner import SequentialRunner
from mlflow.tracking import MlflowClient
from PIL import Image
from tests.notebooks import run_notebook
from tests.present import present

from eightgig.core.files import sha256_of
from eightgig.export.int8.lint import lint_int8_cpu, lint_int8_trt
from eightgig.export.onnx import load_onnx, read_card
from eightgig.export.precision import require_precision

CASE = "flower_classifier"
# A whole run goes through MLflow, SQLAlchemy and Kedro, whose own warnings are not ours to mend; ours stay errors.
pytestmark = [pytest.mark.whole, pytest.mark.filterwarnings("default", "error:::eightgig")]


@pytest.fixture(scope="module")
def done(session_factory, tmp_path_factory):
    """One run of the default pipeline; tests look at what it left."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("EIGHTGIG_DATA", str(folder / "data"))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(folder))
        run(session_factory)
        yield folder
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # as it is before any is set


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
    "06_models/{case}/checkpoints/manifest.json",
    "06_models/{case}/fp32.onnx",
    "06_models/{case}/fp16.onnx",
    "06_models/{case}/int8_cpu.onnx",
    "06_models/{case}/int8_trt.onnx",
    "06_models/{case}/quantization.json",
    "06_models/{case}/compression.json",
    "06_models/{case}/compressed/student.safetensors",
    "06_models/{case}/compressed/student_fp32.onnx",
    "06_models/{case}/compressed/student_int8_cpu.onnx",
    "06_models/{case}/parity.json",
    "07_model_output/{case}/metrics.json",
    "07_model_output/{case}/predictions.csv",
    "07_model_output/{case}/benchmark.csv",
    "07_model_output/{case}/latency.csv",
    "07_model_output/{case}/engines.csv",
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
    assert (plan["micro_batch"], plan["gradient_accumulation_steps"], plan["fits"]) == (16, 2, True)
    assert [phase["phase"] for phase in trace["phases"]] == ["train", "validate"]
    assert all(phase["measured"]["peak_resident_bytes"] > 0 for phase in trace["phases"])


def onnx_file(done, name):
    return (done / "data/06_models" / CASE / f"{name}.onnx").read_bytes()


@pytest.mark.parametrize(("name", "tolerance"), [("fp32", 1e-4), ("fp16", 1e-2)])
def test_a_float_file_is_the_same_network(done, name, tolerance):
    report = read_json(done / "data/06_models" / CASE / "parity.json")["reports"][f"onnx_{name}"]
    assert report["passed"]
    assert report["num_inputs"] == 8
    assert report["max_abs_diff_probabilities"] <= tolerance


@pytest.mark.parametrize("name", ["fp32", "fp16", "int8_cpu", "int8_trt", "compressed/student_int8_cpu"])
def test_every_file_is_what_it_is_called_and_says_so(done, name):
    claimed = name.removesuffix("_cpu").removesuffix("_trt").rpartition("_")[2]
    file = onnx_file(done, name)
    require_precision(load_onnx(file), claimed)
    card = read_card(file)
    assert (card["precision"], card["opset"]) == (claimed, "20")
    assert len(json.loads(card["precision_by_layer"])) > 40
    weights = done / "data/06_models" / CASE / ("compressed/student" if "/" in name else "weights")
    assert card["weights_sha256"] == sha256_of(weights.with_suffix(".safetensors").read_bytes())


def test_the_two_int8_files_are_small_and_obey_their_own_rules(done):
    lint_int8_trt(load_onnx(onnx_file(done, "int8_trt")))
    lint_int8_cpu(load_onnx(onnx_file(done, "int8_cpu")))
    assert len(onnx_file(done, "int8_cpu")) < 0.4 * len(onnx_file(done, "fp32"))
    report = read_json(done / "data/06_models" / CASE / "quantization.json")
    assert {candidate["recipe"]["target"] for candidate in report["candidates"]} == {"int8_cpu", "int8_trt"}


def test_every_variant_has_a_row_and_none_is_made_up(done):
    rows = pd.read_csv(done / "data/07_model_output" / CASE / "benchmark.csv").set_index("variant")
    files = ["onnx_fp32", "onnx_fp16", "onnx_int8_cpu", "onnx_int8_trt"]
    smaller = ["onnx_student_fp32", "onnx_student_int8_cpu"]
    torch_cuda = ["torch_cuda", "torch_compile_cuda", "torch_cuda_fp16", "torch_compile_cuda_fp16"]
    engines = ["engine_fp32", "engine_fp16", "engine_int8"]
    on_gpu = [*torch_cuda, "onnx_fp32_cuda", "onnx_fp16_cuda", *engines]
    assert list(rows.index) == ["torch_cpu", "torch_compile_cpu", *files, *smaller, *on_gpu]
    ran = rows[rows["status"] == "ok"]
    assert {"torch_cpu", *files, *smaller} <= set(ran.index)
    assert (ran[["latency_p50_ms", "end_to_end_ms", "latency_p99_ms"]] > 0).all(axis=None)
    assert rows.loc[rows["status"] != "ok", "score"].isna().all()
    assert "benchmark.torch_compile=true" in rows["status"]["torch_compile_cpu"]
    assert ran["recommended"].sum() == ran["device"].str.partition(":")[0].nunique()
    assert ran.loc[ran["recommended"], "passed"].all()


def test_engines_for_the_rtx_3070_are_made_without_a_gpu_or_say_why_not(done):
    table = pd.read_csv(done / "data/07_model_output" / CASE / "engines.csv").set_index("variant")
    rows = pd.read_csv(done / "data/07_model_output" / CASE / "benchmark.csv").set_index("variant")
    folder = done / "data/06_models" / CASE / "engines"
    if find_spec("tensorrt_rtx") is None and find_spec("tensorrt") is None:
        assert table["status"].str.contains("is not installed. To install it: pip install").all()
        return
    assert dict(table["status"]) == dict.fromkeys(("engine_fp32", "engine_fp16", "engine_int8"), "built")
    assert dict(table["precision"]) == {"engine_fp32": "fp32", "engine_fp16": "fp16", "engine_int8": "int8"}
    for name in table.index:
        manifest = read_json(folder / f"{name}.manifest.json")
        assert manifest["plan_sha256"] == sha256_of((folder / f"{name}.engine").read_bytes())
        assert manifest["compute_capability"] == [8, 6]
        assert rows.loc[name, "status"] == "ok" or "RTX 3070" in rows.loc[name, "status"]


def test_predictions_agree_with_the_metrics(done):
    rows = pd.read_csv(done / "data/07_model_output" / CASE / "predictions.csv")
    metrics = read_json(done / "data/07_model_output" / CASE / "metrics.json")
    assert rows["correct"].mean() == pytest.approx(metrics["accuracy"])
    splits = pd.read_csv(done / "data/05_model_input" / CASE / "splits.csv")
    assert set(rows["index"]) == set(splits.loc[splits["split"] == "test", "index"])


def test_the_page_and_that_over_all_pages_are_sound_in_a_browser(done, browse):
    folder = done / "data/08_reporting"
    assert browse(folder / CASE / "report.html") == []
    assert browse(folder / "index.html") == []


def test_the_page_needs_no_network_and_shows_all(done):
    page = (done / "data/08_reporting" / CASE / "report.html").read_text(encoding="utf-8")
    for title in (
        "What was trained on what",
        "The memory plan",
        "Speed against accuracy",
        "Compression",
        "How INT8 was chosen",
        "TensorRT engines",
        "Most confident errors",
    ):
        assert title in page
    assert "Who holds the memory over one training step" in page
    assert 'src="http' not in page
    assert "torch_cuda" in page
    assert torch.cuda.is_available() or "torch finds no usable GPU" in page


def test_mlflow_holds_parameters_figures_and_files(done):
    client, tracked = MlflowClient(tracking_uri(done)), all_runs(done)[-1]
    parameters, metrics = tracked.data.params, tracked.data.metrics
    assert parameters["flower_classifier.train.learning_rate"] == "0.0007"
    assert parameters["flower_classifier.train.augment.flip"] == "0.5"
    assert tracked.info.status == "FINISHED"
    assert {"val_score", "gradient_norm", "metrics/accuracy", "seconds/train.train_network"} <= set(metrics)
    assert "peak_resident_gib/ingest.build_store" in metrics
    plan = read_json(done / "data/05_model_input" / CASE / "memory_plan.json")
    assert metrics["memory_plan/needed_gib"] == pytest.approx(plan["needed_bytes"] / 2**30)
    assert metrics["vram_trace/train.predicted_peak_gib"] == metrics["memory_plan/train.predicted_peak_gib"] > 0
    assert metrics["vram_trace/recoveries"] == 0
    # What one looks for first has a short name of its own.
    assert metrics["accuracy"] == metrics["metrics/accuracy"]
    assert metrics["peak_memory_predicted_gib"] == metrics["vram_trace/train.predicted_peak_gib"]
    assert metrics["latency_cpu_ms"] > 0
    assert "onnx" in tracked.data.tags["recommended_cpu"]
    assert "Accuracy on" in tracked.data.tags["mlflow.note.content"]
    assert "`report/report.html`" in tracked.data.tags["mlflow.note.content"]
    assert [data.dataset.name for data in tracked.inputs.dataset_inputs] == [f"{CASE}.store"]
    history = client.get_metric_history(tracked.info.run_id, "val_score")
    assert [point.step for point in history] == [1, 2]
    folders = {item.path for item in client.list_artifacts(tracked.info.run_id)}
    assert {
        "report",
        "memory_plan",
        "onnx_int8_cpu",
        "curves_figure",
        "memory_step_figure",
        "benchmark_table",
    } <= folders


def all_runs(folder):
    client = MlflowClient(tracking_uri(folder))
    experiment = present(client.get_experiment_by_name(CASE))
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
    with pytest.raises(Exception, match=r"predict.source: .*nowhere does not exist. Name an image or a folder"):
        run(session_factory, tags=["predict"], predict={"source": "/nowhere"})
    assert all_runs(done)[0].info.status == "FAILED"
    assert "does not exist" in all_runs(done)[0].data.tags["error"]


def test_the_notebook_runs_on_what_is_there(done, project_path):
    notebook = project_path / "notebooks" / "flower_classifier.ipynb"
    written = run_notebook(notebook, folder=project_path, environment={**os.environ, "KEDRO_ENV": "ci"})
    metrics = read_json(done / "data/07_model_output" / CASE / "metrics.json")
    assert f"accuracy {metrics['accuracy']:.1%} on {metrics['num_images']} held-out images" in written


def test_the_notebook_puts_runs_beside_one_another(done, project_path):
    notebook = project_path / "notebooks" / "compare_runs.ipynb"
    written = run_notebook(notebook, folder=project_path, environment={**os.environ, "KEDRO_ENV": "ci"})
    finished = sum(run.info.status == "FINISHED" for run in all_runs(done))
    assert f"{finished} finished runs in {tracking_uri(done)}" in written
