"""The guide as a user runs it, on two cards, two small workloads and a model of the user's (environment `ci`)."""

import json

import mlflow
import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.runner import SequentialRunner
from mlflow.tracking import MlflowClient
from tests.present import present

from eightgig.pipelines.gpu_guide.records import Guide

# A whole run goes through MLflow, SQLAlchemy and Kedro, whose own warnings are not ours to mend; ours stay errors.
pytestmark = [pytest.mark.whole, pytest.mark.filterwarnings("default", "error:::eightgig")]

OWN_MODEL = '''
import torch
from torch import nn


def make(width=8):
    """A user's own model: module, loss, batch."""
    module = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))
    return module, lambda net, x: net(x).square().mean(), lambda samples: torch.empty(samples, 4)
'''


@pytest.fixture(scope="module")
def done(session_factory, tmp_path_factory):
    """One run; tests look at what it left."""
    folder = tmp_path_factory.mktemp("guide")
    (folder / "users_package.py").write_text(OWN_MODEL, encoding="utf-8")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("EIGHTGIG_DATA", str(folder / "data"))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{(folder / 'mlflow.db').as_posix()}")
        monkeypatch.syspath_prepend(str(folder))
        own_model = {"options": {"width": 64}, "effective_batch": 32, "with_other_workloads": True}
        own = {"model": "users_package:make", "own_model": own_model}
        with session_factory(env="ci", runtime_params={"gpu_guide": own}) as session:
            run(session)
        yield folder
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # as it is before any is set


def run(session: KedroSession, tags: list[str] | None = None) -> None:
    session.run(pipeline_names=["gpu_guide"], tags=tags, runner=SequentialRunner())


@pytest.fixture(scope="module")
def guide(done) -> Guide:
    return Guide.model_validate_json((done / "data/07_model_output/gpu_guide/guide.json").read_text(encoding="utf-8"))


def test_every_workload_is_planned_on_every_card(guide):
    pairs = {(row.name, row.card) for row in guide.rows}
    names = ("flower_classifier", "cartpole_agent", "your_model")
    assert pairs == {(name, card) for name in names for card in ("RTX 3070", "RTX 4070")}
    assert all(row.fits and row.samples_per_second for row in guide.rows)


def test_the_plan_does_not_depend_on_the_card_where_memory_is_plenty(guide):
    for name in ("flower_classifier", "your_model"):
        small, large = guide.row(name, "RTX 3070"), guide.row(name, "RTX 4070")
        assert (small.memory_gib, small.micro_batch) == (large.memory_gib, large.micro_batch)
        assert small.margin_gib < large.margin_gib


def test_options_reach_the_users_model(guide):
    weights = 4 * 64 + 64 + 64 * 3 + 3
    assert guide.row("your_model", "RTX 3070").weight_bytes == pytest.approx(
        4 * weights, abs=4 * 512
    )  # in blocks of 512


def test_the_newer_card_is_the_faster(guide):
    small, large = (guide.row("flower_classifier", card).samples_per_second for card in ("RTX 3070", "RTX 4070"))
    assert large > small


def test_claims_are_answered_from_this_run(done, guide):
    claims = pd.read_csv(done / "data/07_model_output/gpu_guide/claims.csv").set_index("claim")
    epoch = claims.loc["An epoch of 100,000 images takes 4.8 minutes"]
    assert epoch["found"] == f"{guide.article_row('flower_classifier').epoch_minutes:.1f} min"
    assert claims.loc["Fine-tuning BERT-base in fp16 at batch 8 takes 7 to 8 GB", "verdict"] == "not tested"
    assert claims.loc["RTX 3070: INT8 on tensor cores", "verdict"] == "contradicted"


def test_the_page_is_sound_in_a_browser(done, browse):
    assert browse(done / "data/08_reporting/gpu_guide/report.html") == []


def test_the_page_and_the_figures(done):
    folder = done / "data/08_reporting/gpu_guide"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "users_package:make" in page
    assert 'src="http' not in page
    figure = json.loads((folder / "fits.plotly.json").read_text(encoding="utf-8"))
    assert figure["data"][0]["type"] == "heatmap"
    assert (folder / "speed.plotly.json").is_file()
    assert list((done / "data").rglob("*.tmp")) == []


def test_planning_leaves_cuda_alone(done):
    import torch

    assert not torch.cuda.is_initialized()


def test_mlflow_holds_the_tables(done):
    client = MlflowClient(f"sqlite:///{(done / 'mlflow.db').as_posix()}")
    (tracked,) = client.search_runs([present(client.get_experiment_by_name("gpu_guide")).experiment_id])
    assert tracked.info.status == "FINISHED"
    assert {"guide", "claims_table", "report"} <= {item.path for item in client.list_artifacts(tracked.info.run_id)}
    assert tracked.data.params["gpu_guide.model"] == "users_package:make"


def test_the_page_is_made_anew_from_what_was_planned(done, session_factory):
    page, guide = (
        done / "data" / path for path in ("08_reporting/gpu_guide/report.html", "07_model_output/gpu_guide/guide.json")
    )
    before, planned = page.stat().st_mtime_ns, guide.stat().st_mtime_ns
    with session_factory(env="ci") as session:
        run(session, tags=["report"])
    assert page.stat().st_mtime_ns > before
    assert guide.stat().st_mtime_ns == planned
