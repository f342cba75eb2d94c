"""The networks that a run's page in MLflow lists, from the table of a benchmark."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline

from eightgig.datasets.files import OnnxDataset
from eightgig.datasets.folder import FolderDataset
from eightgig.datasets.results import TableDataset
from eightgig.hooks import MlflowHook
from eightgig.hooks.recommended import recommended_models
from eightgig.tracking.event_log import event_logs_in
from eightgig.tracking.old_runs import replay
from eightgig.tracking.server import import_mlflow

pytestmark = pytest.mark.filterwarnings("default", "error:::eightgig", "ignore:register_new_resolver")


def benchmark(**recommended: str) -> pd.DataFrame:
    """Return a table in which one form is recommended on each device, and one on none."""
    row = {"runtime": "ONNX Runtime", "precision": "int8", "score": 0.75, "score_name": "accuracy"}
    row |= {"latency_p50_ms": 2.5, "size_mib": float("nan")}
    rows = [{**row, "variant": name, "device": device, "recommended": True} for device, name in recommended.items()]
    return pd.DataFrame([*rows, {**row, "variant": "onnx_fp32", "device": "cpu", "recommended": False}])


@pytest.fixture
def catalog(tmp_path):
    """Return where a case's networks lie, each with its own name as its content."""
    for path in ("int8_cpu.onnx", "fp32.onnx", "weights.safetensors", "compressed/student_fp32.onnx",
                 "engines/engine_fp16.engine"):  # fmt: skip
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(path, encoding="utf-8")
    names = {"onnx_int8_cpu": "int8_cpu.onnx", "onnx_fp32": "fp32.onnx", "weights": "weights.safetensors"}
    parts: dict[str, Any] = {f"case.{name}": OnnxDataset(filepath=str(tmp_path / file)) for name, file in names.items()}
    for name, folder in (("compressed_onnx", "compressed"), ("engines", "engines")):
        parts[f"case.{name}"] = FolderDataset(
            filepath=str(tmp_path / folder), dataset="eightgig.datasets.files.OnnxDataset", suffix=".onnx"
        )
    table = TableDataset(filepath=str(tmp_path / "benchmark.csv"))
    return DataCatalog({**parts, "case.benchmark_table": table, "params:case.x": MemoryDataset(1)})


@pytest.mark.parametrize(
    ("variant", "file"),
    [
        ("onnx_int8_cpu", "int8_cpu.onnx"),
        ("onnx_fp32_cuda", "fp32.onnx"),
        ("onnx_student_fp32", "compressed/student_fp32.onnx"),
        ("engine_fp16", "engines/engine_fp16.engine"),
        ("torch_cuda_fp16", "weights.safetensors"),
    ],
)
def test_a_form_is_told_with_its_file(catalog, variant, file):
    ((model, path),) = recommended_models("case", benchmark(cuda=variant), catalog)
    assert path.read_text(encoding="utf-8") == file
    assert model.name == variant
    assert model.model_type == "ONNX Runtime"
    assert model.params == {"runtime": "ONNX Runtime", "precision": "int8", "device": "cuda"}


def test_figures_are_told_that_there_are(catalog):
    ((model, _),) = recommended_models("case", benchmark(cpu="onnx_fp32"), catalog)
    assert model.metrics == {"recommended_cpu/accuracy": 0.75, "recommended_cpu/latency_ms": 2.5}


def test_a_form_without_a_file_and_a_table_of_another_kind_tell_nothing(catalog):
    assert list(recommended_models("case", benchmark(cpu="onnx_pruned_fp32"), catalog)) == []
    assert list(recommended_models("case", benchmark(cpu="onnx_fp32")[["variant", "recommended"]], catalog)) == []


def saved(catalog, project, **tracking):
    """Let a hook see a run that saves a benchmark."""
    hook = MlflowHook()
    context: Any = SimpleNamespace(
        project_path=project, config_loader={"tracking": {"system_metrics_s": 0, **tracking}}
    )
    hook.after_context_created(context)
    hook.before_pipeline_run({"pipeline_names": ["case"]}, Pipeline([]), catalog)
    hook.after_dataset_saved("case.benchmark_table", benchmark(cpu="onnx_int8_cpu"))
    hook.after_pipeline_run()


def logged(uri):
    client = import_mlflow().MlflowClient(uri)
    experiment = client.get_experiment_by_name("case").experiment_id
    (model,) = client.search_logged_models([experiment])
    (run,) = client.search_runs([experiment])
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    return model, [item.path for item in client.list_logged_model_artifacts(model.model_id)]


def test_a_run_lists_its_recommended_form(catalog, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    saved(catalog, tmp_path)
    model, files = logged(f"sqlite:///{tmp_path}/mlflow.db")
    assert (model.name, files) == ("onnx_int8_cpu", ["int8_cpu.onnx"])


def test_a_dead_server_gets_it_later(catalog, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    dead, database = "http://127.0.0.1:9", f"sqlite:///{tmp_path}/mlflow.db"
    saved(catalog, tmp_path, tracking_uri=dead, patience_s=0.2)
    (tmp_path / "int8_cpu.onnx").write_text("of a later run", encoding="utf-8")
    assert len(event_logs_in(tmp_path / "data" / "09_tracking")) == 1
    assert replay(tmp_path / "data" / "09_tracking", {dead: database}, lambda: False, of_any_host=True).sent == 1
    model, files = logged(database)
    assert (model.name, files) == ("onnx_int8_cpu", ["int8_cpu.onnx"])
    place = import_mlflow().artifacts.download_artifacts(model.artifact_location + "/int8_cpu.onnx")
    assert Path(place).read_text(encoding="utf-8") == "int8_cpu.onnx"
