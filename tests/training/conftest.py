"""A small network, a plan and a recipe for tests of the loop."""

import pytest
import torch
from tests.plans import make_plan
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from eightgig.data.images.loader import KeyedSampler
from eightgig.vram.plan import MemoryPlan


class Points(Dataset):
    """`num` points of 6 numbers in 3 classes that a straight line can tell apart."""

    def __init__(self, num: int) -> None:
        generator = torch.Generator().manual_seed(7)
        self.labels = torch.arange(num) % 3
        self.inputs = torch.randn(num, 6, generator=generator) + 4 * functional.one_hot(self.labels, 6)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        _, index = key
        return {"inputs": self.inputs[index], "labels": self.labels[index], "indices": torch.tensor(index)}


class PointObjective:
    """Cross-entropy of points."""

    score_name = "accuracy"

    def count(self, batch):
        return len(batch["labels"])

    def loss_sum(self, module, batch, device):
        return functional.cross_entropy(
            module(batch["inputs"].to(device)).float(), batch["labels"].to(device), reduction="sum"
        )

    def evaluate(self, module, batches, device):
        module.eval()
        with torch.no_grad():
            pairs = [(module(b["inputs"].to(device)).argmax(1).cpu() == b["labels"]) for b in batches]
        accuracy = torch.cat(pairs).float().mean().item()
        return {"loss": 1 - accuracy, "score": accuracy, "accuracy": accuracy}


@pytest.fixture
def objective():
    return PointObjective()


@pytest.fixture
def make_loader():
    def make(num: int, batch_size: int) -> DataLoader:
        return DataLoader(Points(num), batch_size=batch_size, sampler=KeyedSampler(range(num), seed=0))

    return make


@pytest.fixture
def make_module():
    def make() -> nn.Module:
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))

    return make


@pytest.fixture
def make_memory_plan():
    def make(**changes) -> MemoryPlan:
        of_points = {"model": "test", "sample": "8 px", "gradient_accumulation_steps": 1, "eval_batch": 9}
        return make_plan(**of_points | {"optimizer_kernel": "foreach"} | changes)

    return make
