"""ImageNet's folders through the classifier, and how little code the case study has."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kedro.runner import SequentialRunner
from PIL import Image

CASE = "image_classifier"
# A whole run goes through MLflow, SQLAlchemy and Kedro, whose own warnings are not ours to mend; ours stay errors.
pytestmark = [pytest.mark.whole, pytest.mark.filterwarnings("default", "error:::eightgig")]


def make_imagenet(root):
    """Write 18 images a class to train, 4 to val, in ImageNet's layout."""
    rng = np.random.default_rng(0)
    for label, wnid in enumerate(("n01440764", "n01443537", "n02123045")):
        for split, count in (("train", 18), ("val", 4)):
            for number in range(count):
                path = root / split / wnid / f"{wnid}_{split}_{number}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = rng.integers(0, 80, (48, 60, 3), dtype=np.uint8)
                pixels[..., label] += 150
                Image.fromarray(pixels).save(path)
    return root


def test_imagenets_folders_to_a_page(open_session, tmp_path, request):
    root = make_imagenet(tmp_path / "imagenet")
    parameters = {"data": {"root": str(root)}, "train": {"augment": None}}
    with open_session(env="ci", runtime_params={CASE: parameters}) as session:
        session.run(pipeline_names=[CASE], runner=SequentialRunner())
    data = tmp_path / "data"
    splits = pd.read_csv(data / f"05_model_input/{CASE}/splits.csv")
    counts: Any = splits.groupby(["class_name", "split"]).size()
    assert counts["n01440764"].to_dict() == {"test": 3, "train": 15, "val": 4}
    assert splits.loc[splits["split"] == "val", "path"].str.startswith("val/").all()
    card = json.loads((data / f"06_models/{CASE}/weights.card.json").read_text())
    assert card["classes"] == ["n01440764", "n01443537", "n02123045"]
    metrics = json.loads((data / f"07_model_output/{CASE}/metrics.json").read_text())
    assert {"accuracy", "top5_accuracy"} <= set(metrics)
    page = (data / f"08_reporting/{CASE}/report.html").read_text()
    assert "Throughput" in page
    assert "images a second" in page
    assert "418.6" not in page  # published figures stand beside a GPU's alone
    journal = (data / f"02_intermediate/{CASE}/journal/inspected.jsonl").read_text()
    assert journal.count("\n") == 1 + 66
    browse = request.getfixturevalue("browse")  # last, as it is skipped where there is no browser
    assert browse(data / f"08_reporting/{CASE}/report.html") == []


def test_the_case_study_is_little_code(project_path):
    folder = project_path / "src" / "eightgig" / "pipelines" / CASE
    assert sum(len(path.read_text().splitlines()) for path in folder.glob("*.py")) <= 120


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_published_figures_stand_beside_a_gpus(device):
    from types import SimpleNamespace

    from eightgig.report.page import Table
    from eightgig.tasks.classification.throughput import _throughput

    shown = {
        "trained": SimpleNamespace(card=SimpleNamespace(model="torchvision/resnet50", image_size=224, trained_on="x")),
        "plan_of_training": SimpleNamespace(precision="fp16", micro_batch=64, device=device),
        "epochs": pd.DataFrame({"samples_per_second": [1.0, 300.0, 310.0]}),
    }
    (table,) = _throughput(shown).blocks
    assert isinstance(table, Table)
    assert table.rows[0][1] == 300.0
    assert any(row[1] == 418.6 for row in table.rows) == (device == "cuda")
