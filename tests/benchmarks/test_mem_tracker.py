"""Torch's own memory tracker as a peer: what it says of a step by hand, and how it ends where it cannot."""

import os

import pytest

from eightgig.core.units import KIB, MIB
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.spec import WorkloadSpec

NETWORKS = """
import torch

def linear():
    module = torch.nn.Linear(1024, 1024, bias=False)
    return module, lambda module, batch: module(batch).sum(), lambda size: torch.empty(size, 1024)

def reads_a_value():
    module, loss, batch = linear()
    return module, lambda module, made: loss(module, made) * made.sum().item(), batch
"""


@pytest.fixture
def tracked_peak(benchmark, project_path, monkeypatch, tmp_path):
    (tmp_path / "networks.py").write_text(NETWORKS, encoding="utf-8")
    paths = (str(tmp_path), str(project_path / "src"), os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    return benchmark("mem_tracker").tracked_peak


@pytest.mark.parametrize(
    ("changes", "held_mib"),
    [
        ({"optimizer": "none"}, 8),  # 4 MiB of weights and of gradients
        ({"optimizer": "none", "weights": "bf16"}, 4),
        ({"optimizer": "Adam", "optimizer_kernel": "fused", "optimizer_in_backward": True}, 16),
    ],
)
def test_a_step_by_hand(tracked_peak, changes, held_mib):
    options = StepOptions(micro_batch=1, clips_gradients=False, **changes)
    peak = tracked_peak(WorkloadSpec(factory="networks:linear"), options)
    assert held_mib * MIB <= peak < held_mib * MIB + 64 * KIB


def test_what_it_cannot_follow_is_an_error_kind(tracked_peak):
    said = tracked_peak(WorkloadSpec(factory="networks:reads_a_value"), StepOptions(micro_batch=1))
    assert said == "DataDependentOutputException"
