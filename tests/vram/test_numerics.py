"""How exactly a card computes is set in one place, and comes back."""

from dataclasses import replace

import pytest
import torch

from eightgig.vram.allocator.events import OpCost
from eightgig.vram.cards.catalog import card_named
from eightgig.vram.cards.roofline import step_seconds
from eightgig.vram.plan import Numerics
from eightgig.vram.runtime.execution import EXACT, computing_as


def settings():
    cudnn = torch.backends.cudnn
    return torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark


@pytest.mark.parametrize(
    ("numerics", "expected"),
    [
        (Numerics(), ("highest", True, False)),  # torch's own
        (Numerics(tf32="always"), ("high", True, False)),
        (Numerics(cudnn_benchmark=True), ("highest", True, True)),
        (EXACT, ("highest", False, False)),
    ],
)
def test_all_switches_are_set_and_come_back_whatever_happens(numerics, expected):
    before = settings()
    with pytest.raises(ZeroDivisionError), computing_as(numerics):
        assert settings() == expected
        raise ZeroDivisionError
    assert settings() == before


def test_one_inside_another():
    with computing_as(Numerics(tf32="always")):
        with computing_as(EXACT):
            assert settings() == ("highest", False, False)
        assert settings() == ("high", True, False)


def test_it_is_said_for_a_person():
    assert Numerics().sentence() == "TF32 in convolutions, cuDNN's kernels by its own rules"
    assert EXACT.sentence() == "no TF32, cuDNN's kernels by its own rules"
    assert "tries its kernels out" in Numerics(cudnn_benchmark=True).sentence()


def test_nobody_else_sets_them(project_path):
    """One policy in one place: a switch set elsewhere would change results behind the plan's back."""
    words = ("set_float32_matmul_precision", "allow_tf32 =", "cudnn.benchmark =", "fp32_precision =")
    found = {
        path.name
        for path in (project_path / "src").rglob("*.py")
        if any(word in path.read_text(encoding="utf-8") for word in words)
    }
    assert found == {"execution.py"}


def test_the_roofline_counts_with_the_same_policy():
    conv = OpCost("convolution", "forward", flops=10**12, bytes_moved=0, precision="fp32")
    product, card = replace(conv, name="mm"), card_named("A100 40 GB")
    seconds = {
        tf32: [step_seconds([cost], card, tf32=tf32).compute_seconds for cost in (conv, product)]
        for tf32 in ("never", "convolutions", "always")
    }
    assert seconds["never"][0] == seconds["never"][1] == seconds["convolutions"][1]
    assert seconds["always"][0] == seconds["always"][1] == seconds["convolutions"][0]
