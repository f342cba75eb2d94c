"""How exactly a card computes: TensorFloat-32, and whether cuDNN may try its kernels out. Decided here alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from eightgig.vram.plan import Numerics

EXACT = Numerics(tf32="never")
"""What a variant that is called fp32 is measured in: float32, and kernels that do not change from run to run."""


@contextmanager
def computing_as(numerics: Numerics) -> Iterator[None]:
    """Compute in this way in the block; what was set before comes back. On the CPU nothing is changed.

    Source: torch's notes on CUDA semantics (TensorFloat-32), torch.backends.cudnn.
    """
    cudnn = torch.backends.cudnn
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark
    torch.set_float32_matmul_precision("high" if numerics.tf32 == "always" else "highest")
    cudnn.allow_tf32, cudnn.benchmark = numerics.tf32 != "never", numerics.cudnn_benchmark
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.allow_tf32, cudnn.benchmark = before[1], before[2]
