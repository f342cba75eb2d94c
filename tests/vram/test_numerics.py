"""How exactly a card computes is set in one place, and comes back."""

import pytest
import torch

from eightgig.vram.plan import Numerics
from eightgig.vram.runtime.numerics import EXACT, computing_as


def settings():
    cudnn = torch.backends.cudnn
    return torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark


@pytest.mark.parametrize(
    ("numerics", "expected"),
    [
        (Numerics(), ("high", True, False)),
        (Numerics(cudnn_benchmark=True), ("high", True, True)),
        (Numerics(tf32=False), ("highest", False, False)),
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
    with computing_as(Numerics()):
        with computing_as(EXACT):
            assert settings() == ("highest", False, False)
        assert settings() == ("high", True, False)


def test_it_is_said_for_a_person():
    assert Numerics().sentence() == "TF32 for float32 products, cuDNN's kernels by its own rules"
    assert EXACT.sentence() == "float32 products in full, cuDNN's kernels by its own rules"
    assert "tries its kernels out" in Numerics(cudnn_benchmark=True).sentence()


def test_nobody_else_sets_them(project_path):
    """One policy in one place: a switch set elsewhere would change results behind the plan's back."""
    words = ("set_float32_matmul_precision", "allow_tf32 =", "cudnn.benchmark =", "fp32_precision =")
    found = {
        path.name
        for path in (project_path / "src").rglob("*.py")
        if any(word in path.read_text(encoding="utf-8") for word in words)
    }
    assert found == {"numerics.py"}
