"""Kedro starts fast: building the pipelines imports nothing heavy, and every parameter is checked before a run."""

import subprocess
import sys
import tomllib

import pandas as pd
import pytest
from pydantic import ValidationError

HEAVY = (
    "torch",
    "torchvision",
    "transformers",
    "mlflow",
    "h5py",
    "timm",
    "onnx",
    "onnxruntime",
    "cv2",
    "av",
    "matplotlib",
)

_PROBE = """
import sys
from pathlib import Path
from kedro.framework.startup import bootstrap_project
bootstrap_project(Path({project!r}))
from kedro.framework.project import pipelines, settings
assert dict(pipelines)["flower_classifier"].nodes
assert settings.HOOKS
print("heavy:" + ",".join(name for name in {heavy!r} if name in sys.modules))
"""


def test_building_all_pipelines_imports_nothing_heavy(project_path):
    code = _PROBE.format(project=str(project_path), heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy:"


def test_the_probe_can_fail(project_path):
    code = "import h5py\n" + _PROBE.format(project=str(project_path), heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy:h5py"


def test_the_locked_environment_is_what_users_install(project_path):
    lock = (project_path / "requirements.lock").read_text()
    for pin in ("torch==2.14.1", "torchvision==0.29.1", "mlflow==3.17."):
        assert f"\n{pin}" in lock
    extras = tomllib.loads((project_path / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"dev", "notebooks", "viz", "tensorrt"} <= set(extras)


def test_telemetry_is_off(project_path):
    assert (project_path / ".telemetry").read_text().strip() == "consent: false"


@pytest.mark.parametrize("env", ["base", "rtx3070", "ci"])
def test_every_environments_parameters_are_valid(open_session, env):
    with open_session(env=None if env == "base" else env) as session:
        parameters = session.load_context().params["flower_classifier"]
    assert parameters["plan"].budget_gib == 8.0


def test_the_article_recipe(open_session):
    with open_session(env="rtx3070") as session:
        parameters = session.load_context().params["flower_classifier"]
    assert (parameters["model"].name, parameters["model"].image_size) == ("efficientnet_b3", 300)
    recipe = parameters["train"]
    assert (recipe.epochs, recipe.batch_size, recipe.gradient_accumulation_steps) == (100, 32, 4)
    assert (recipe.learning_rate, recipe.weight_decay) == (1e-4, 1e-4)


def test_one_parameter_changes_only_that(open_session):
    with open_session() as session:
        before = session.load_context().params["flower_classifier"]
    with open_session(runtime_params={"flower_classifier": {"train": {"epochs": 5}}}) as session:
        after = session.load_context().params["flower_classifier"]
    assert before["train"].epochs != 5
    assert after == {**before, "train": before["train"].model_copy(update={"epochs": 5})}


def test_a_typo_is_refused_before_anything_runs(open_session):
    wrong = {"flower_classifier": {"train": {"epoch": 3}}}
    with open_session(runtime_params=wrong) as session, pytest.raises(Exception, match=r"(?s)train.*epoch") as caught:
        session.run(pipeline_names=["flower_classifier"], tags=["ingest"])
    assert "Extra inputs are not permitted" in str(caught.value) or isinstance(caught.value, ValidationError)


def test_names_stay_text_in_every_table(open_session):
    """A class may be called 12, NA or null."""
    table = pd.DataFrame({"path": ["12/a.jpg", "NA/b.jpg"], "class_name": ["12", "NA"], "split": ["train", "val"]})
    with open_session() as session:
        catalog = session.load_context().catalog
        for name in ("manifest", "rejects", "splits", "predictions_table"):
            catalog.save(f"flower_classifier.{name}", table)
            pd.testing.assert_frame_equal(catalog.load(f"flower_classifier.{name}"), table, check_dtype=False)
