"""The train stage where memory runs out: it goes on, and says so."""

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from tests.plans import make_plan
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from eightgig.core.tracker import NoTracker
from eightgig.data.images.loader import KeyedSampler
from eightgig.models.network import ImageNetwork
from eightgig.models.parameters import ImageModelParameters
from eightgig.stages.train import train_network
from eightgig.tasks.classification.task import ImageClassifier
from eightgig.training.parameters import TrainParameters
from eightgig.vram.plan import PhaseMemory
from eightgig.vram.runtime.flight_report import FlightReport


class Numbers(Dataset):
    def __getitem__(self, key):
        return {"inputs": torch.full((3,), float(key[1])), "labels": torch.tensor(key[1] % 2), "indices": key[1]}

    def __len__(self):
        return 12


class SmallCard(nn.Module):
    """Holds four samples while it trains."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x):
        if self.training and len(x) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        return self.linear(x)


class NumberTask(ImageClassifier):
    score_name = "accuracy"

    def build_network(self, model, num_classes):
        return ImageNetwork(SmallCard(), "small", "timm", "none", (0.5,) * 3, (0.5,) * 3, 8)

    def objective(self, network, train):
        return self

    def train_batches(self, store, indices, *, size, batch_size, train):
        return DataLoader(Numbers(), batch_size=batch_size, sampler=KeyedSampler(indices, seed=0))

    def eval_batches(self, store, indices, *, size, batch_size, num_workers=0):
        return DataLoader(Numbers(), batch_size=batch_size, sampler=KeyedSampler(indices, seed=0, shuffle=False))

    def count(self, batch):
        return len(batch["labels"])

    def loss_sum(self, module, batch, device):
        return functional.cross_entropy(module(batch["inputs"]), batch["labels"], reduction="sum")

    @torch.no_grad()
    def evaluate(self, module, batches, device):
        module.eval()
        return {"loss": sum(float(self.loss_sum(module, batch, device)) for batch in batches), "score": 1.0}


@pytest.fixture
def plan():
    phases = tuple(PhaseMemory(phase=p, device="cpu", parameters=32) for p in ("train", "validate", "export"))
    return make_plan(
        micro_batch=8, gradient_accumulation_steps=1, eval_batch=2, optimizer_kernel="foreach", predicted=phases
    )


def test_it_goes_on_smaller_and_the_trace_and_the_recorder_say_so(plan, tmp_path):
    splits = pd.DataFrame({"index": range(12), "split": ["train"] * 8 + ["val"] * 4})
    task: Any = NumberTask()
    store: Any = SimpleNamespace(classes=("even", "odd"), sha256="of the numbers")
    weights, history, trace = train_network(
        task,
        store,
        splits,
        plan,
        ImageModelParameters(name="small", weights="none", image_size=32),
        TrainParameters(epochs=2, num_workers=0),
        tmp_path / "checkpoints",
        tmp_path / "recorder",
        NoTracker(),
    )

    assert len(history) == 2
    assert set(weights.state) == {"linear.weight", "linear.bias"}
    assert (trace.final_micro_batch, trace.final_accumulation, trace.final_eval_batch) == (4, 2, 2)
    assert [(r.phase, r.step, r.failed_batch, r.batch) for r in trace.recovered] == [("train", 0, 8, 4)]
    report = FlightReport.model_validate_json((tmp_path / "recorder" / "report.json").read_text())
    assert report.outcome == "finished"
    assert [phase.phase for phase in report.phases] == ["train", "validate"]
    assert report.incidents[0].diagnosis == trace.recovered[0].diagnosis
