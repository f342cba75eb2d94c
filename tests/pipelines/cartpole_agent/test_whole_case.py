"""The whole case study as a user runs it, on as little as possible (environment `ci`)."""

import json

import mlflow
import numpy as np
import pandas as pd
import pytest
from kedro.runner import SequentialRunner
from PIL import Image

from eightgig.core.errors import WeightsError
from eightgig.datasets.weights import Weights, WeightsDataset
from eightgig.export.onnxruntime_runner import OnnxRuntimeRunner
from eightgig.tasks.reinforcement import nodes
from eightgig.tasks.reinforcement.parameters import EvaluateParameters, ExportParameters, FilmParameters

CASE = "cartpole_agent"
# A whole run goes through MLflow, SQLAlchemy and Kedro, whose own warnings are not ours to mend; ours stay errors.
pytestmark = [pytest.mark.whole, pytest.mark.filterwarnings("default", "error:::eightgig")]


@pytest.fixture(scope="module")
def run(session_factory, tmp_path_factory):
    """Yield a function that runs the case study with changed parameters, and returns its data."""
    with pytest.MonkeyPatch.context() as monkeypatch:

        def once(**parameters):
            folder = tmp_path_factory.mktemp("run")
            monkeypatch.setenv("EIGHTGIG_DATA", str(folder / "data"))
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{(folder / 'mlflow.db').as_posix()}")
            with session_factory(env="ci", runtime_params={CASE: parameters} if parameters else None) as session:
                session.run(pipeline_names=[CASE], runner=SequentialRunner())
            return folder / "data"

        yield once
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # as it is before any is set


@pytest.fixture(scope="module")
def done(run):
    return run()


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def weights_of(done):
    return WeightsDataset(filepath=str(done / f"06_models/{CASE}/weights.safetensors")).load()


def test_there_is_a_curve_a_seed(done):
    history = pd.read_csv(done / f"08_reporting/{CASE}/history.csv")
    assert history.groupby("seed")["update"].max().to_dict() == {0: 16, 1: 16}
    assert (history["steps"].diff().dropna() != 0).all()


def test_the_agent_is_judged_in_fresh_episodes(done):
    metrics = read_json(done / f"07_model_output/{CASE}/metrics.json")
    assert (metrics["num_episodes"], metrics["threshold"]) == (10, 475.0)
    assert metrics["low"] <= metrics["mean_return"] <= metrics["high"]
    random = read_json(done / f"02_intermediate/{CASE}/exploration.json")
    assert random["returns"]["seed"] != metrics["seed"]


def test_nearly_all_memory_is_the_context(done):
    plan = read_json(done / f"05_model_input/{CASE}/memory_plan.json")
    assert plan["context_bytes"] > 10 * plan["needed_bytes"]


def test_the_file_takes_raw_observations_and_gives_the_best_action(done):
    weights = weights_of(done)
    states = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    with OnnxRuntimeRunner((done / f"06_models/{CASE}/fp32.onnx").read_bytes()) as runner:
        found = runner.run({"observations": states})["action"]
    np.testing.assert_array_equal(found, nodes._greedy(weights)(states))
    assert set(found.tolist()) <= {0, 1}
    assert read_json(done / f"06_models/{CASE}/parity.json") == {"num_states": 200, "same_actions": 200}


def test_time_is_shared_out(done):
    parts = pd.read_csv(done / f"07_model_output/{CASE}/parts.csv")
    assert set(parts["part"]) == {"environment", "policy", "update"}
    assert parts.groupby("device")["share"].sum().tolist() == pytest.approx([1.0])


def test_the_film_moves(done):
    with Image.open(done / f"07_model_output/{CASE}/film.gif") as film:
        assert film.size[0] == 64
        assert getattr(film, "n_frames", 1) > 2


def test_the_page_is_sound_in_a_browser(done, browse):
    assert browse(done / f"08_reporting/{CASE}/report.html") == []


def test_the_page_shows_it(done):
    page = (done / f"08_reporting/{CASE}/report.html").read_text(encoding="utf-8")
    for words in ("Results in fresh episodes", "data:image/gif;base64,", "490.0 ± 6.1", "CUDA context"):
        assert words in page


def test_another_environment_with_one_parameter_changed(run):
    done = run(environment={"name": "Pendulum-v1"})
    assert weights_of(done).card.spaces.acts == "box"
    assert read_json(done / f"07_model_output/{CASE}/metrics.json")["mean_return"] < 0


def test_the_same_weights_give_the_same_returns(done):
    weights, parameters = weights_of(done), EvaluateParameters(episodes=5)
    assert nodes.evaluate(weights, parameters) == nodes.evaluate(weights, parameters)


def test_an_environment_that_cannot_be_drawn_says_so(done, monkeypatch):
    weights = weights_of(done)

    def cannot(*_args, **_options):
        raise ImportError("no pygame")

    monkeypatch.setattr("gymnasium.make", cannot)
    frames, _ = nodes.film(weights, FilmParameters())
    assert frames.shape[0] == 1
    assert frames.min() < 128  # there are words


def test_weights_of_another_size_are_refused(done):
    weights = weights_of(done)
    agent = weights.card.agent.model_copy(update={"hidden": (8,)})
    with pytest.raises(WeightsError, match="do not fit the networks of their card"):
        nodes.export_policy(Weights(weights.state, weights.card.model_copy(update={"agent": agent})))


def test_a_file_of_another_agent_is_found_out(done):
    from eightgig.core.errors import ExportError

    weights = weights_of(done)
    other = {name: -tensor if name.startswith("policy.4") else tensor for name, tensor in weights.state.items()}
    file = nodes.export_policy(Weights(other, weights.card))
    with pytest.raises(ExportError, match="chose another action than torch on"):
        nodes.check_policy(weights, file, ExportParameters(num_states=50))
