"""What the hook tells MLflow of a Kedro run, and that a run without MLflow is the same run."""

import json
import os
import re
import shutil
import threading
import time
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import AbstractDataset, DataCatalog, DatasetError, MemoryDataset
from kedro.pipeline import Pipeline, node
from kedro.runner import SequentialRunner
from kedro_datasets.json import JSONDataset
from pydantic import ValidationError

from eightgig.core.records import Record
from eightgig.core.tracker import NoTracker
from eightgig.datasets.results import RecordDataset
from eightgig.datasets.tracker import TrackerDataset
from eightgig.hooks import MlflowHook
from eightgig.hooks.tracking import TrackingParameters
from eightgig.tracking import active_run
from eightgig.tracking.fluent import FluentRun
from eightgig.tracking.server import KILLED_TAG, import_mlflow

pytestmark = pytest.mark.filterwarnings("default", "error:::eightgig", "ignore:register_new_resolver")


class Recipe(Record):
    rate: float = 0.5
    inner: dict[str, int]


class Numbers:
    """Stands for a store: as long as its data, and named by its hash."""

    sha256 = "ab" * 32

    def __len__(self):
        return 7


class StoreDataset(AbstractDataset[None, Numbers]):
    metadata: ClassVar = {"mlflow": "input"}

    def load(self):
        return Numbers()

    def save(self, data):
        raise NotImplementedError

    def _describe(self):
        return {}


class Found(Record):
    accuracy: float
    name: str
    phases: tuple[dict[str, float | str], ...] = ()


def train(recipe, tracker, store):
    assert len(store) == 7
    for epoch in range(recipe.inner["epochs"]):
        tracker.log_metrics({"loss": recipe.rate / (epoch + 1)}, step=epoch)
    return Found(accuracy=0.75, name="net", phases=({"phase": "train", "gib": 1.5},)), {"a": 1}


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    """Made once: MLflow takes a second to make one, and several on a busy machine."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    import_mlflow().MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def project(tmp_path, monkeypatch, empty_database):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture
def make_hook(project):
    """Makes a hook with its configuration read; its run is ended after the test."""
    made = []

    def make(**tracking):
        made.append(MlflowHook())
        context: Any = SimpleNamespace(project_path=project, config_loader={"tracking": tracking})
        made[-1].after_context_created(context)
        return made[-1]

    yield make
    for hook in made:
        hook.stopped("TEST")


@pytest.fixture
def catalog(project):
    found, other = str(project / "found.json"), str(project / "other.json")
    return DataCatalog(
        {
            "params:case.train": MemoryDataset(Recipe(inner={"epochs": 2})),
            "case.tracker": TrackerDataset(),
            "case.found": RecordDataset(
                filepath=found,
                record=f"{__name__}.Found",
                metadata={"mlflow": ["artifact", "metrics"], "mlflow_main": ["accuracy"]},
            ),
            "case.store": StoreDataset(),
            "case.raw": MemoryDataset(SimpleNamespace(root="/photos")),
            "params:case.model": MemoryDataset(SimpleNamespace(name="timm/net_b0")),
            "case.other": JSONDataset(filepath=other),
        }
    )


PIPELINE = Pipeline(
    [node(train, ["params:train", "tracker", "store"], ["found", "other"], tags="train")], namespace="case"
)
ASKED = {"pipeline_names": ["case"], "env": "ci", "tags": ["train"], "node_names": ()}


def run(hook, catalog):
    hook.before_pipeline_run(ASKED, PIPELINE, catalog)
    manager = _create_hook_manager()
    manager.register(hook)
    SequentialRunner().run(PIPELINE, catalog, hook_manager=manager)
    hook.log_metrics({"seconds/train": 2.0})


def tracked(project, experiment="case"):
    client = import_mlflow().MlflowClient(f"sqlite:///{project}/mlflow.db")
    return client, client.search_runs([client.get_experiment_by_name(experiment).experiment_id])


def experiments(project):
    client = import_mlflow().MlflowClient(f"sqlite:///{project}/mlflow.db")
    return [each.name for each in client.search_experiments()]


def test_a_run_is_told_as_a_whole(make_hook, catalog, project):
    hook = make_hook()
    run(hook, catalog)
    hook.after_pipeline_run()
    client, (kept,) = tracked(project)
    assert kept.info.status == "FINISHED"
    assert kept.data.params == {"case.train.rate": "0.5", "case.train.inner.epochs": "2"}
    assert kept.data.metrics == {
        "loss": 0.25, "accuracy": 0.75, "found/accuracy": 0.75, "found/phases.train.gib": 1.5, "seconds/train": 2.0
    }  # fmt: skip
    assert list(kept.data.metrics)[:2] == ["loss", "accuracy"]  # MLflow shows them in this order
    assert [point.step for point in client.get_metric_history(kept.info.run_id, "loss")] == [0, 1]
    assert {key: kept.data.tags[key] for key in ("env", "tags")} == {"env": "ci", "tags": "['train']"}
    assert "node_names" not in kept.data.tags
    assert [item.path for item in client.list_artifacts(kept.info.run_id)] == ["found"]
    assert (project / "mlruns" / "case" / kept.info.run_id / "artifacts" / "found" / "found.json").is_file()
    assert list((project / "data" / "09_tracking").iterdir()) == []


def test_a_runs_name_tells_it_from_others(make_hook, catalog, project):
    def with_a_model(recipe, model, tracker):
        return recipe, model, tracker

    hook, inputs = make_hook(), ["params:train", "params:model", "tracker"]
    pipeline = Pipeline([node(with_a_model, inputs, ["a", "b", "c"])], namespace="case")
    hook.before_pipeline_run(ASKED, pipeline, catalog)
    hook.after_pipeline_run()
    _, (kept,) = tracked(project)
    assert re.fullmatch(r"case net_b0 \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", kept.info.run_name)


def test_a_run_is_described_and_its_data_named(make_hook, catalog, project):
    hook = make_hook()
    run(hook, catalog)
    hook.after_pipeline_run()
    _, (kept,) = tracked(project)
    note = kept.data.tags["mlflow.note.content"]
    assert note.splitlines()[0] == "**case**"
    assert "Stages: train." in note
    assert "| accuracy | 0.75 |  |" in note
    (data,) = kept.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("case.store", "ab" * 18)
    assert json.loads(data.dataset.source) == {"uri": "/photos"}
    assert {tag.key: tag.value for tag in data.tags} == {
        "mlflow.data.context": "training", "eightgig.sha256": "ab" * 32
    }  # fmt: skip


def test_a_run_that_fails_is_described_as_well(make_hook, catalog, project):
    hook = make_hook()
    hook.before_pipeline_run(ASKED, PIPELINE, catalog)
    hook.on_pipeline_error(ValueError("no such flower"))
    _, (kept,) = tracked(project)
    assert "Stages: train." in kept.data.tags["mlflow.note.content"]


def test_an_experiment_opens_as_one_of_machine_learning(make_hook, catalog, project):
    hook = make_hook()
    hook.before_pipeline_run(ASKED, PIPELINE, catalog)
    hook.after_pipeline_run()
    client, _ = tracked(project)
    tags = client.get_experiment_by_name("case").tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"


def train_with_mlflow(recipe):
    import mlflow

    mlflow.log_metric("mine", recipe.rate, step=3)
    mlflow.log_param("how", "by hand")
    active: Any = mlflow.active_run()
    return str(active.info.run_id)


@pytest.fixture
def of_a_user():
    """A pipeline whose node knows MLflow alone, and its catalog."""
    pipeline = Pipeline([node(train_with_mlflow, "params:train", "id")], namespace="case")
    parts: Any = {"params:case.train": MemoryDataset(Recipe(inner={})), "case.id": MemoryDataset()}
    return pipeline, DataCatalog(parts)


def test_mlflow_itself_writes_into_the_run_from_a_node(make_hook, of_a_user, project, monkeypatch):
    import mlflow

    pipeline, catalog = of_a_user
    earlier = mlflow.get_tracking_uri()
    hook = make_hook()
    hook.before_pipeline_run(ASKED, pipeline, catalog)
    manager = _create_hook_manager()
    manager.register(hook)
    SequentialRunner().run(pipeline, catalog, hook_manager=manager)
    assert mlflow.active_run() is None
    assert mlflow.get_tracking_uri() == earlier
    assert "MLFLOW_TRACKING_URI" not in os.environ
    hook.after_pipeline_run()
    client, (kept,) = tracked(project)
    assert kept.info.run_id == catalog.load("case.id")
    assert (kept.info.status, kept.data.metrics, kept.data.params["how"]) == ("FINISHED", {"mine": 0.5}, "by hand")
    assert [point.step for point in client.get_metric_history(kept.info.run_id, "mine")] == [3]
    assert experiments(project) == ["case", "Default"]


def test_the_environments_address_is_left_as_it_was(monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///theirs.db")
    run: Any = None  # is asked for nothing
    fluent = FluentRun(run, "sqlite:///ours.db", patience_s=1)
    fluent.enter()
    assert mlflow.get_tracking_uri() == "sqlite:///ours.db"
    fluent.leave()
    assert os.environ["MLFLOW_TRACKING_URI"] == mlflow.get_tracking_uri() == "sqlite:///theirs.db"


def test_mlflow_itself_says_that_a_dead_server_does_not_answer(make_hook, of_a_user):
    import mlflow

    pipeline, catalog = of_a_user
    hook = make_hook(tracking_uri="http://127.0.0.1:9", patience_s=0.2)
    hook.before_pipeline_run(ASKED, pipeline, catalog)
    manager = _create_hook_manager()
    manager.register(hook)
    with pytest.raises(ConnectionError, match=r"has not answered within 0\.2 s.*`tracker` dataset wait for no server"):
        SequentialRunner().run(pipeline, catalog, hook_manager=manager)
    hook.on_pipeline_error(ConnectionError())
    assert mlflow.active_run() is None


def test_the_machine_is_read_while_a_run_goes_on(make_hook, catalog, project):
    hook = make_hook(system_metrics_s=0.05)
    hook.before_pipeline_run(ASKED, PIPELINE, catalog)
    time.sleep(1.0)
    hook.after_pipeline_run()
    client, (kept,) = tracked(project)
    assert 0 < kept.data.metrics["system/system_memory_usage_percentage"] < 100
    history = client.get_metric_history(kept.info.run_id, "system/cpu_utilization_percentage")
    assert [point.step for point in history] == list(range(len(history)))
    assert len(history) > 1


def test_the_machine_is_not_read_where_that_is_not_wanted(make_hook, catalog, project):
    hook = make_hook(system_metrics_s=0)
    hook.before_pipeline_run(ASKED, PIPELINE, catalog)
    assert "system metrics" not in [thread.name for thread in threading.enumerate()]
    hook.after_pipeline_run()


def test_an_error_is_told_in_its_words(make_hook, catalog, project):
    hook = make_hook()
    hook.before_pipeline_run(ASKED, PIPELINE, catalog)
    hook.on_pipeline_error(ValueError("no such flower"))
    _, (kept,) = tracked(project)
    assert (kept.info.status, kept.data.tags["error"]) == ("FAILED", "ValueError: no such flower")


def test_a_signal_is_told_by_its_name(make_hook, catalog, project):
    hook = make_hook()
    hook.before_pipeline_run(ASKED, PIPELINE, catalog)
    hook.stopped("SIGINT")
    hook.after_pipeline_run()
    _, (kept,) = tracked(project)
    assert (kept.info.status, kept.data.tags[KILLED_TAG]) == ("KILLED", "SIGINT")


def test_a_run_that_was_left_is_ended_by_the_next_one(make_hook, catalog, project):
    hook = make_hook()
    hook.before_pipeline_run(ASKED, PIPELINE, catalog)
    hook.before_pipeline_run({"pipeline_name": "other"}, Pipeline([]), catalog)
    hook.after_pipeline_run()
    _, (first,) = tracked(project)
    _, (second,) = tracked(project, "other")
    assert (first.info.status, first.data.tags[KILLED_TAG]) == ("KILLED", "its process began another run")
    assert second.info.status == "FINISHED"


def test_the_environments_address_wins(make_hook, catalog, project, monkeypatch):
    (project / "elsewhere").mkdir()
    shutil.copy(project / "mlflow.db", project / "elsewhere")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/elsewhere/mlflow.db")
    hook = make_hook()
    hook.before_pipeline_run(ASKED, PIPELINE, catalog)
    hook.after_pipeline_run()
    assert experiments(project / "elsewhere") == ["case", "Default"]
    assert experiments(project) == ["Default"]


def test_without_tracking_a_run_is_the_same(make_hook, catalog, project):
    hook = make_hook(enabled=False)
    run(hook, catalog)
    hook.after_pipeline_run()
    assert catalog.load("case.found").accuracy == 0.75
    assert sorted(path.name for path in project.iterdir()) == ["found.json", "mlflow.db", "other.json"]
    assert experiments(project) == ["Default"]


def test_a_folder_that_cannot_be_written_leaves_the_run_untracked(make_hook, catalog, project, caplog):
    (project / "data").write_text("a file", encoding="utf-8")
    hook = make_hook()
    run(hook, catalog)
    hook.after_pipeline_run()
    assert "this run is not tracked" in caplog.text
    assert catalog.load("case.found").accuracy == 0.75


def test_a_dead_server_does_not_change_the_run(make_hook, catalog, project):
    hook = make_hook(tracking_uri="http://127.0.0.1:9", patience_s=0.2)
    run(hook, catalog)
    hook.after_pipeline_run()
    assert catalog.load("case.found").accuracy == 0.75
    assert len(list((project / "data" / "09_tracking").iterdir())) == 1


def test_a_tracker_without_a_run_keeps_nothing():
    assert active_run() is None
    assert isinstance(TrackerDataset().load(), NoTracker)
    with pytest.raises(DatasetError, match="is an input"):
        TrackerDataset().save(NoTracker())  # type: ignore[arg-type]  # nothing can be saved


def test_the_projects_own_configuration_is_valid(project_path, monkeypatch, tmp_path):
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    monkeypatch.setenv("EIGHTGIG_DATA", str(tmp_path))
    bootstrap_project(project_path)
    with KedroSession.create(project_path=project_path) as session:
        assert isinstance(session, KedroSession)
        read = TrackingParameters.model_validate(session.load_context().config_loader["tracking"])
    assert read.spool_folder == tmp_path / "09_tracking"
    assert (read.patience_s, read.busy_limit_s) == (3, 60)
    with pytest.raises(ValidationError, match=r"(?s)patience\n  Extra inputs are not permitted"):
        TrackingParameters.model_validate({"patience": 1})
