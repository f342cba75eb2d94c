"""The compress stage: forms are made, trained under the plan, vouched for by their cards, and told apart."""

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from tests.plans import make_plan
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from eightgig.core.errors import WeightsError
from eightgig.data.images.loader import KeyedSampler
from eightgig.datasets.weights import Weights
from eightgig.models.cards import ImageCard
from eightgig.models.compression import CompressParameters
from eightgig.models.network import ImageNetwork
from eightgig.models.parameters import ImageModelParameters
from eightgig.models.pruning import prune_channels
from eightgig.models.reshape import shapes_of
from eightgig.stages.compress import CompressionWork, PrefixedTracker, compress_network
from eightgig.stages.trained import restore
from eightgig.tasks.classification.task import ImageClassifier
from eightgig.training.parameters import TrainParameters
from eightgig.vram.tracing.spec import WorkloadSpec

_COLOURS = {"small": ((0.5,) * 3, (0.5,) * 3), "other": ((0.4,) * 3, (0.2,) * 3)}


class Images(Dataset):
    """Two classes, dark and bright."""

    def __getitem__(self, key):
        label = key[1] % 2
        return {"images": torch.full((3, 32, 32), 40 + 160 * label, dtype=torch.uint8), "labels": label}

    def __len__(self):
        return 12


class FakeTask(ImageClassifier):
    score_name = "accuracy"

    def build_network(self, model, num_classes):
        name = model.name.rpartition("/")[2]
        width = 32 if name == "small" else 8
        layers = (nn.Conv2d(3, width, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        module = nn.Sequential(*layers, nn.Flatten(), nn.Linear(width, num_classes))
        return ImageNetwork(module, name, "timm", "none", *_COLOURS[name], 32)

    def objective(self, network, train):
        return self

    def train_batches(self, store, indices, *, size, batch_size, train):
        return DataLoader(Images(), batch_size=batch_size, sampler=KeyedSampler(indices, seed=train.seed))

    def eval_batches(self, store, indices, *, size, batch_size, num_workers=0):
        return DataLoader(Images(), batch_size=batch_size, sampler=KeyedSampler(indices, seed=0, shuffle=False))

    def inputs(self, card, batch):
        return {"images": batch["images"] / 127.5 - 1}

    def count(self, batch):
        return len(batch["labels"])

    def loss_sum(self, module, batch, device):
        return functional.cross_entropy(module(self.inputs(None, batch)["images"]), batch["labels"], reduction="sum")

    @torch.no_grad()
    def evaluate(self, module, batches, device):
        module.eval()
        right = [
            (module(self.inputs(None, b)["images"]).argmax(1) == b["labels"]).float().mean().item() for b in batches
        ]
        return {"loss": 0.5, "score": sum(right) / len(right)}


def fake_task() -> Any:
    """Return the case; it does no more of a task than these tests ask for."""
    return FakeTask()


class Keeps:
    def __init__(self):
        self.names = set()

    def log_metrics(self, metrics, *, step=None):
        self.names |= set(metrics)


@pytest.fixture
def plan():
    return make_plan(gradient_accumulation_steps=1, optimizer_kernel="foreach", predicted=())


@pytest.fixture
def weights():
    torch.manual_seed(0)
    network = fake_task().build_network(SimpleNamespace(name="small"), 2)
    card = ImageCard(
        model="timm/small",
        started_from="nothing",
        classes=("dark", "bright"),
        image_size=32,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        best_epoch=1,
        val_score=0.9,
        num_parameters=1,
        sha256="5ha",
        eightgig_version="0",
        torch_version="2",
        trained_on="test",
    )
    return Weights(network.module.state_dict(), card)


@pytest.fixture
def compress(plan, weights, monkeypatch, tmp_path):
    monkeypatch.setattr(CompressionWork, "predict", lambda *_: 1234)
    splits = pd.DataFrame({"index": range(12), "split": ["train"] * 8 + ["val"] * 4})
    store: Any = SimpleNamespace(classes=("dark", "bright"), sha256="of the images")

    def run(tracker=None, *, resume="never", **parameters):
        asked = CompressParameters(**parameters)
        train = TrainParameters(epochs=9, num_workers=0, resume=resume)
        return compress_network(fake_task(), weights, store, splits, plan, train, asked, tmp_path, tracker or Keeps())

    return run


def test_each_form_is_narrower_trained_and_loads_by_its_card(compress, weights):
    tracker = Keeps()
    made, report = compress(tracker, forms=("pruned", "student", "pruned_distilled"))
    # A convolution 3 x 3 from 3 to 32 channels on 30 x 30 places, and a head of 2; then 16 and 8 channels.
    assert report.flops == 2 * 32 * (27 * 900 + 2)
    assert [row.flops for row in report.forms] == [2 * width * (27 * 900 + 2) for width in (16, 8, 16)]
    assert [row.flops_share for row in report.forms] == [0.5, 0.25, 0.5]
    assert [row.epochs for row in report.forms] == [1, 3, 1]
    assert {row.predicted_bytes for row in report.forms} == {1234}
    for form, smaller in made.items():
        assert (smaller.card.compression, smaller.card.made_from_sha256) == (form, weights.card.sha256)
        assert smaller.card.started_from.startswith("the trained small, cut to")
        network: Any = restore(fake_task(), smaller)
        assert smaller.card.num_parameters == sum(weight.numel() for weight in network.module.parameters())
        assert torch.equal(network.module[0].weight, smaller.state["0.weight"])
    assert {"pruned.val_score", "student.val_score", "pruned_distilled.val_score"} <= tracker.names
    assert "val_score" not in tracker.names


def test_the_same_seed_gives_the_same_weights(compress):
    first, second = (compress(forms=("pruned_distilled",))[0]["pruned_distilled"].state for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_named_student_takes_the_same_inputs_as_its_teacher(compress, weights):
    made, report = compress(forms=("student",), student={"model": "other", "weights": "none", "epochs": 1})
    card = made["student"].card
    assert (card.model, report.forms[0].model) == ("timm/other", "timm/other")
    # `other` alone has other colours; files of one run may be exchanged, so it learns with its teacher's.
    own = fake_task().build_network(SimpleNamespace(name="other"), 2)
    assert (card.mean, card.std) == (weights.card.mean, weights.card.std) != (own.mean, own.std)
    student: Any = restore(fake_task(), made["student"]).module
    assert student[0].out_channels == 8


def test_no_forms_train_nothing(compress):
    made, report = compress(forms=())
    assert made == {}
    assert (report.forms, report.val_score) == ((), 0.9)


def test_narrow_weights_without_a_word_of_it_are_refused(compress):
    made, _ = compress(forms=("pruned",))
    silent = Weights(made["pruned"].state, made["pruned"].card.model_copy(update={"compression": ""}))
    with pytest.raises(WeightsError, match="the weights do not fit timm/small"):
        restore(fake_task(), silent)


def test_figures_of_several_trainings_are_told_apart():
    tracker = Keeps()
    PrefixedTracker(tracker, "pruned").log_metrics({"loss": 1.0}, step=2)
    assert tracker.names == {"pruned.loss"}


def test_the_planner_finds_the_narrow_student_and_its_teacher():
    case, model = ImageClassifier(), ImageModelParameters(name="resnet18", weights="none", image_size=32)
    student = case.build_network(model, 4).module
    prune_channels(student, torch.zeros(1, 3, 32, 32), keep_flops=0.5)
    shapes = shapes_of(student.state_dict())
    spec = case.workload(model, 4, TrainParameters(), shapes=shapes, teacher="torchvision/resnet18")

    workload = WorkloadSpec.model_validate_json(spec.model_dump_json()).build()
    module: Any = workload.module
    module.train()
    workload.loss(workload.module, workload.batch(2)).backward()

    assert shapes_of(module.student.state_dict()) == shapes
    assert module.teacher.conv1.out_channels == 64
    assert not module.teacher.training
    assert all(weight.grad is not None for weight in module.student.parameters())
    assert all(weight.grad is None and not weight.requires_grad for weight in module.teacher.parameters())
