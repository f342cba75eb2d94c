"""A new task, one folder written by what CONTRIBUTING.md says: a number from an image, in a copy of the project.

The images are drawn: a fruit that turns from green to red as it ripens, on any ground. Its ripeness in percent is to be
read from them.
"""

import ast
import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from eightgig.data.images.transforms import center_crop_box, crop_resize_into
from eightgig.data.store.reader import ImageStore
from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner

PROJECT = Path(__file__).resolve().parents[2]
TASK = Path(__file__).with_name("image_regression")
MOST_LINES = 280  # of code
CASE = "fruit_ripeness"
NUMBER = 100

pytestmark = pytest.mark.whole

WIRING = f'''"""Ripeness of fruits by their photo."""

from kedro.pipeline import Pipeline

from eightgig.tasks.image_regression.pipeline import regression_pipeline


def create_pipeline() -> Pipeline:
    """Return the whole case study."""
    return regression_pipeline("{CASE}")
'''
CATALOG = f"""
"{CASE}.metrics":
  type: eightgig.datasets.results.RecordDataset
  filepath: ${{data_root:}}/07_model_output/{CASE}/metrics.json
  record: eightgig.tasks.image_regression.parameters.RegressionReport
  metadata:
    mlflow: metrics
"""
PARAMETERS = f"""
{CASE}:
  title: Ripeness of fruits
  data:
    root: ROOT
  model:
    name: test_resnet
    weights: none
    image_size: 32
  plan:
    budget_gib: 4.0
    device: cpu
  train:
    epochs: 5
    batch_size: 8
    eval_batch_size: 16
    gradient_accumulation_steps: 1
    learning_rate: 2.0e-3
    num_workers: 0
    augment:
      crop_scale: [0.6, 1.0]
      brightness: 0.0
      contrast: 0.0
      saturation: 0.0
  compress:
    forms: [student]
    student:
      keep_flops: 0.6
      epochs: 2
  export:
    parity:
      num_images: 8
    quantize:
      calibration_images: 8
      methods: [minmax]
  benchmark:
    latency:
      batch_sizes: [1, 4]
      seconds: 0.5
"""


def draw(path: Path, ripeness: float, rng: np.random.Generator) -> None:
    """Write a fruit of this ripeness in percent."""
    image = Image.new("RGB", (48, 40), tuple(int(value) for value in rng.integers(60, 200, 3)))
    left, top, size = (int(rng.integers(*between)) for between in ((2, 16), (2, 10), (22, 28)))
    colour = int(2.2 * ripeness) + 20, int(2.2 * (100 - ripeness)) + 20, 40
    ImageDraw.Draw(image).ellipse((left, top, left + size, top + size), fill=colour)
    image.save(path)


def draw_all(root: Path) -> None:
    """Fill a folder with fruits and their table, in which some rows are wrong."""
    rng, rows = np.random.default_rng(0), ["image,ripeness"]
    (root / "more").mkdir(parents=True)
    for number in range(NUMBER):
        name, ripeness = f"{'more/' * (number % 2)}{number:03}.png", round(rng.uniform(0, 100), 1)
        draw(root / name, ripeness, rng)
        rows.append(f"{name},{ripeness}")
    for name in ("unripe", "nowhere", "silent"):
        draw(root / f"{name}.png", 50, rng)
    (root / "nowhere.png").unlink()
    rows += ["unripe.png,green", "nowhere.png,40"]
    (root / "labels.csv").write_text("\n".join(rows), encoding="utf-8")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the task, a case study of it, and images."""
    root, unwanted = tmp_path_factory.mktemp("project"), shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "conf"):
        shutil.copytree(PROJECT / name, root / name, ignore=unwanted)
    shutil.copy(PROJECT / "pyproject.toml", root)
    shutil.copytree(TASK, root / "src/eightgig/tasks/image_regression", ignore=unwanted)
    folder = root / "src/eightgig/pipelines" / CASE
    folder.mkdir()
    (folder / "__init__.py").write_text(WIRING, encoding="utf-8")
    draw_all(root / "photos")
    (root / f"conf/base/catalog_{CASE}.yml").write_text(CATALOG, encoding="utf-8")
    parameters = PARAMETERS.replace("ROOT", (root / "photos").as_posix())
    (root / f"conf/base/parameters_{CASE}.yml").write_text(parameters, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def done(project: Path) -> Path:
    """One run from images to the page; the folder of its data."""
    own = {"PYTHONPATH": str(project / "src"), "EIGHTGIG_DATA": str(project / "data")}
    own["MLFLOW_TRACKING_URI"] = f"sqlite:///{(project / 'mlflow.db').as_posix()}"
    command = [sys.executable, "-m", "kedro", "run", "--pipeline", CASE]
    run = subprocess.run(command, cwd=project, env=os.environ | own, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return project / "data"


def read_json(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def center_crop(image_HWC, size: int):
    out_HWC = np.empty((size, size, 3), np.uint8)
    crop_resize_into(image_HWC, center_crop_box(*image_HWC.shape[:2]), out_HWC)
    return out_HWC


def code_lines(text: str) -> int:
    """Lines that are neither blank, nor comments alone, nor a docstring's."""
    told: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            told.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = enumerate(text.splitlines(), start=1)
    return sum(number not in told and bool(line.partition("#")[0].strip()) for number, line in lines)


def test_it_is_one_short_folder():
    files = {path.name: code_lines(path.read_text("utf-8")) for path in TASK.glob("*.py")}
    assert sum(files.values()) <= MOST_LINES, files


def test_it_knows_no_other_task():
    text = "".join(path.read_text("utf-8") for path in TASK.glob("*.py"))
    assert set(re.findall(r"eightgig\.tasks\.(\w+)", text)) == {"image_regression"}


def test_it_passes_the_linters_where_it_belongs(project):
    wing = "src/eightgig/tasks/image_regression"
    for command in (["ruff", "check", wing], ["ruff", "format", "--check", wing]):
        checked = subprocess.run(
            [sys.executable, "-m", *command, "--no-cache"], cwd=project, capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_what_is_wrong_with_a_row_is_told_by_name(done):
    rejects = pd.read_csv(done / f"02_intermediate/{CASE}/rejects.csv").set_index("path")
    assert rejects["reason"].to_dict() == {"nowhere.png": "missing", "silent.png": "no_row", "unripe.png": "no_number"}
    line = NUMBER + 2
    assert rejects.loc["unripe.png", "detail"] == f"labels.csv, line {line}: wanted a number, found 'green'"
    assert rejects.loc["nowhere.png", "detail"] == f"labels.csv, line {line + 1}: there is no such image"
    assert rejects["action"].tolist() == ["refused", "left out", "refused"]


def test_the_store_holds_each_images_own_number(done):
    store = ImageStore(done / f"05_model_input/{CASE}/store.h5")
    wanted = dict(line.split(",") for line in (done.parent / "photos/labels.csv").read_text("utf-8").split("\n")[1:])
    assert len(store) == NUMBER
    assert store.classes == ("ripeness",)
    assert store.values.tolist() == [float(wanted[path]) for path in store.paths]
    splits = pd.read_csv(done / f"05_model_input/{CASE}/splits.csv")["split"].value_counts()
    assert splits.to_dict() == {"train": 70, "val": 15, "test": 15}


def test_memory_was_planned(done):
    plan = read_json(done / f"05_model_input/{CASE}/memory_plan.json")
    assert plan["fits"] is True
    assert {phase["phase"] for phase in plan["predicted"]} >= {"train", "validate", "export"}
    # Two float32 copies of all pixels of a batch, its gradients apart, are the least that a step takes.
    assert plan["needed_bytes"] > 2 * plan["micro_batch"] * 3 * 32 * 32 * 4


def test_the_network_has_learnt(done):
    metrics = read_json(done / f"07_model_output/{CASE}/metrics.json")
    table = pd.read_csv(done / f"07_model_output/{CASE}/predictions.csv")
    assert metrics["num_images"] == len(table) == 15
    assert metrics["mae"] == pytest.approx((table["found"] - table["value"]).abs().mean())
    assert metrics["mae"] < 0.5 * metrics["mae_of_mean"]
    # Of numbers drawn evenly from 0 to 100 the mean's error is 25.
    assert 15 < metrics["mae_of_mean"] < 35


def test_exported_forms_say_what_the_trained_network_says(done):
    parity = read_json(done / f"06_models/{CASE}/parity.json")["reports"]
    assert parity["onnx_fp32"]["passed"]
    assert parity["onnx_fp32"]["agreement"] == parity["onnx_fp16"]["agreement"] == 1.0
    rows = pd.read_csv(done / f"07_model_output/{CASE}/benchmark.csv").set_index("variant")
    metrics = read_json(done / f"07_model_output/{CASE}/metrics.json")
    for name in ("torch_cpu", "onnx_fp32", "onnx_fp16"):
        assert rows.loc[name, "mae"] == pytest.approx(metrics["mae"], rel=0.01), name
    assert rows.loc["onnx_fp32", "score"] == pytest.approx(metrics["r2"], abs=1e-4)
    assert rows.loc["onnx_student_fp32", "mae"] < metrics["mae_of_mean"]


def test_an_exported_file_says_ripeness_in_percent(done):
    store = ImageStore(done / f"05_model_input/{CASE}/store.h5")
    table = pd.read_csv(done / f"07_model_output/{CASE}/predictions.csv")
    card = read_json(done / f"06_models/{CASE}/weights.card.json")
    with OnnxRuntimeRunner((done / f"06_models/{CASE}/fp32.onnx").read_bytes()) as runner:
        for index, found in zip(table["index"][:3], table["found"][:3], strict=True):
            image_HWC = store.decode(int(index))
            pixels = center_crop(image_HWC, card["image_size"]) / 255
            images_N3HW = ((pixels - card["mean"]) / card["std"]).transpose(2, 0, 1)[None].astype(np.float32)
            assert runner.run({"images": images_N3HW})["values"][0, 0] == pytest.approx(found, abs=0.05)


def test_the_page_shows_the_error(done):
    page = html.unescape((done / f"08_reporting/{CASE}/report.html").read_text("utf-8"))
    metrics = read_json(done / f"07_model_output/{CASE}/metrics.json")
    headline = page.partition("MAE on 15 held-out images")[2][:100]
    assert f"{metrics['mae']:.4g}" in headline
    assert f"always saying the mean: {metrics['mae_of_mean']:.4g}" in page
    assert "labels.csv" in page  # of the rejects
