"""Precision by device."""

import pytest

from eightgig.core.errors import ConfigurationError
from eightgig.training.precision import resolve_precision


@pytest.mark.parametrize(
    ("choice", "device", "expected"),
    [("auto", "cuda", "fp16"), ("auto", "cpu", "fp32"), ("bf16", "cpu", "bf16"), ("bf16", "cuda", "bf16")],
)
def test_resolves(choice, device, expected):
    assert resolve_precision(choice, device) == expected


def test_fp16_on_the_cpu_is_refused():
    with pytest.raises(ConfigurationError, match="'fp16' needs CUDA; on the CPU choose"):
        resolve_precision("fp16", "cpu")
