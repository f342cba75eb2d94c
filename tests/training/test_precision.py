"""Which precisions a plan may choose from."""

import pytest
import torch

from eightgig.core.errors import ConfigurationError
from eightgig.training.precision import allowed_precisions


@pytest.mark.parametrize(
    ("choice", "device", "expected"),
    [
        ("auto", "cpu", ("fp32",)),
        ("bf16", "cpu", ("bf16",)),
        ("fp32", "cuda", ("fp32",)),
        ("fp16", "cuda", ("fp16",)),
    ],
)
def test_what_is_asked_for_is_what_is_allowed(choice, device, expected):
    assert allowed_precisions(choice, device) == expected


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, ("fp16", "bf16")), (False, ("fp16",))])
def test_a_gpu_prefers_fp16_and_may_take_bf16_where_it_has_it(monkeypatch, has_bf16, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_bf16)
    assert allowed_precisions("auto", "cuda") == expected


def test_fp16_on_the_cpu_is_refused():
    with pytest.raises(ConfigurationError, match="on the CPU choose"):
        allowed_precisions("fp16", "cpu")
