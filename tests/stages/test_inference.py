"""Trained networks outside of training: on the card, within the budget, and in pieces where memory is short."""

import logging
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tests.faults.small_cases import CLASSES, make_job, make_stores
from torch import nn

from eightgig.bench.parameters import BenchmarkParameters
from eightgig.core.errors import BudgetError
from eightgig.data.images.parameters import DataParameters
from eightgig.datasets.weights import Weights
from eightgig.export import torch_runner
from eightgig.models.cards import ImageCard, TextCard
from eightgig.stages import inference
from eightgig.stages.class_metrics import evaluate as evaluate_classifier
from eightgig.stages.inference import InPieces, PiecewiseRunner, inference_plan, on_device, running
from eightgig.stages.samples import PredictParameters
from eightgig.tasks.classification.predict import predict_images
from eightgig.tasks.detection.evaluate import evaluate as evaluate_detector
from eightgig.tasks.detection.parameters import DetectionDataParameters
from eightgig.tasks.detection.predict import DetectorPredictParameters, predict_boxes
from eightgig.tasks.segmentation.evaluate import evaluate as evaluate_segmenter
from eightgig.tasks.segmentation.parameters import SegmentationDataParameters
from eightgig.tasks.segmentation.predict import predict_masks_of
from eightgig.tasks.text.classification.parameters import TextPredictParameters
from eightgig.tasks.text.classification.predict import predict_texts
from eightgig.vram.parameters import PlanParameters

PLAN = PlanParameters(budget_gib=4.0)
SPLITS = pd.DataFrame({"index": range(28), "split": ["train"] * 10 + ["val"] * 6 + ["test"] * 12})


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    make_stores(folder)
    return folder


def trained(kind, stores, folder):
    """Return a case with its store and random weights."""
    job = make_job(kind, stores, folder)
    network, _ = job.network()
    known = {
        "model": f"{network.library}/{network.name}",
        "started_from": "nothing",
        "classes": CLASSES,
        "best_epoch": 1,
        "val_score": 0.0,
        "num_parameters": 0,
        "eightgig_version": "test",
        "torch_version": "test",
        "trained_on": "test",
    }
    card = job.task.card(network, job.store, size=job.size, common=known)
    assert isinstance(card, ImageCard | TextCard)
    return job.task, Weights(network.module.state_dict(), card), job.store


@pytest.fixture
def fake_card(monkeypatch):
    """Let the stages find a card that is none; give what was placed there, and under which budget."""
    course = SimpleNamespace(devices=[], budgets=[], batches=[])

    @contextmanager
    def budget(plan):
        course.budgets.append((plan.device, plan.budget_gib))
        yield

    whole_to = nn.Module.to

    def to(self, *arguments, **options):
        course.devices += [str(arguments[0])] if arguments and isinstance(arguments[0], str) else []
        return self if arguments == ("cuda",) else whole_to(self, *arguments, **options)

    def to_device(self, array):
        course.batches.append(len(array))
        return torch.from_numpy(np.array(array))

    monkeypatch.setattr(inference, "resolve_device", lambda choice: "cpu" if choice == "cpu" else "cuda")
    monkeypatch.setattr(inference, "describe_device", lambda kind: f"a fake {kind}")
    monkeypatch.setattr("eightgig.vram.runtime.execution.enforced_budget", budget)
    monkeypatch.setattr(nn.Module, "to", to)
    monkeypatch.setattr(torch_runner.TorchRunner, "_to_device", to_device)
    return course


def predictions(kind, stores, folder, plan=PLAN):
    case, weights, store = trained(kind, stores, folder)
    if kind == "text":
        asked = TextPredictParameters(num_samples=5)
        return predict_texts(case, weights, store.tokenizer_json, store_of_texts(store), SPLITS, asked, plan)
    images: dict[str, Any] = {"num_samples": 5, "batch_size": 4}
    if kind == "classifier":
        return predict_images(case, weights, store, SPLITS, DataParameters(), PredictParameters(**images), plan)
    if kind == "detector":
        parameters = DetectorPredictParameters(**images, confidence=0.0)
        return predict_boxes(case, weights, store, SPLITS, DetectionDataParameters(), parameters, plan)
    data = SegmentationDataParameters()
    return predict_masks_of(case, weights, store, SPLITS, data, PredictParameters(**images), plan, folder)


def store_of_texts(store) -> Any:
    return TextStore(store)


class TextStore:
    """A store that has kept the texts, which the small one has not."""

    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        return getattr(self._store, name)

    def text(self, index):
        return "a small text " * (1 + index % 3)


KINDS = ("classifier", "detector", "segmenter", "text")


@pytest.mark.parametrize("kind", KINDS)
def test_predict_runs_on_the_card_within_the_budget_and_says_so(kind, stores, tmp_path, fake_card, caplog):
    with caplog.at_level(logging.INFO, logger="eightgig.stages.inference"):
        first, *_ = predictions(kind, stores, tmp_path)
    assert "cuda" in fake_card.devices
    assert fake_card.budgets == [("cuda", 4.0)]
    assert "the network runs on a fake cuda" in caplog.messages
    fake_card.devices.clear()
    second, *_ = predictions(kind, stores, tmp_path, PLAN.model_copy(update={"device": "cpu"}))
    assert "cuda" not in fake_card.devices
    pd.testing.assert_frame_equal(first, second)


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_runs_on_the_card_within_the_budget(kind, stores, tmp_path, fake_card):
    case, weights, store = trained(kind, stores, tmp_path)
    evaluate: Any = {"detector": evaluate_detector, "segmenter": evaluate_segmenter}.get(kind, evaluate_classifier)
    metrics, *_ = evaluate(case, weights, store, SPLITS, BenchmarkParameters(batch_size=5), PLAN)
    assert metrics.num_images == 12
    assert "cuda" in fake_card.devices
    assert fake_card.budgets == [("cuda", 4.0)]


@pytest.mark.parametrize("kind", KINDS)
def test_where_memory_is_short_a_batch_goes_in_pieces_to_the_same_end(kind, stores, tmp_path, monkeypatch, caplog):
    wanted = predictions(kind, stores, tmp_path)[0]
    whole_call = torch_runner.TorchRunner._call
    tried = []

    def short(self, inputs):
        tried.append(len(inputs[0]))
        if len(inputs[0]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        return whole_call(self, inputs)

    monkeypatch.setattr(torch_runner.TorchRunner, "_call", short)
    found = predictions(kind, stores, tmp_path)[0]
    pd.testing.assert_frame_equal(found, wanted, atol=1e-4)
    if kind != "segmenter":  # takes images one by one
        assert max(tried) > 2
        assert "done again with" in caplog.text


def test_pieces_halve_once_and_stay_small():
    asked = []

    def run(feeds):
        asked.append(len(feeds["x"]))
        if len(feeds["x"]) > 3:
            raise RuntimeError("CUDA error: out of memory")
        return {"y": 2 * feeds["x"]}

    fake = SimpleNamespace(run=run, name="fake", device="cpu", precision="fp32", computes_in="fp32")
    runner = PiecewiseRunner(fake, InPieces(inference_plan(PLAN)))
    x = np.arange(11)
    for _ in range(2):
        assert runner.run({"x": x})["y"].tolist() == (2 * x).tolist()
    assert asked == [11, 6, 3, 3, 3, 2, 3, 3, 3, 2]


@pytest.mark.parametrize("error", [ValueError("a mistake"), RuntimeError("a mistake")])
def test_another_error_is_raised_as_it_is(error):
    def run(_):
        raise error

    with pytest.raises(type(error), match="a mistake"):
        InPieces(inference_plan(PLAN))(run, {"x": np.arange(4)})


def test_what_does_not_fit_with_one_sample_is_told_with_the_way_out():
    module = nn.Linear(1, 1)

    def full(_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB. GPU 0 has no more.")

    with (
        pytest.raises(
            BudgetError, match=r"within 4 GiB \(CUDA out of memory. Tried to allocate 1.00 GiB\). Raise plan"
        ),
        on_device(module, PLAN) as in_pieces,
    ):
        in_pieces(full, {"x": np.arange(8)})


def test_a_pass_has_this_machines_device_and_the_planned_context():
    plan = inference_plan(PlanParameters(device="cpu", budget_gib=3.0, context_gib=0.5))
    assert (plan.device, plan.budget_gib, plan.context_bytes) == ("cpu", 3.0, 2**29)
    assert plan.budget_bytes == round(2.5 * 2**30)


@pytest.mark.gpu
def test_the_budget_caps_a_network_that_runs(stores, tmp_path):
    case, weights, _ = trained("classifier", stores, tmp_path)
    with running(case, weights, PlanParameters(budget_gib=2.0)) as runner:
        assert runner.device == "cuda"
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(2**31, dtype=torch.uint8, device="cuda")
        found = runner.run({"images": np.zeros((3, 3, 64, 64), np.float32)})["logits"]
    assert found.shape == (3, 2)
    assert torch.cuda.get_per_process_memory_fraction() == 1.0


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_the_card_answers_as_the_cpu_does(kind, stores, tmp_path):
    on_card, on_cpu = (
        predictions(kind, stores, tmp_path, PlanParameters(device=device))[0] for device in ("cuda", "cpu")
    )
    assert len(on_card) == pytest.approx(len(on_cpu), rel=0.05)
