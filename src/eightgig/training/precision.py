"""Which number format a run computes in."""

from typing import Literal

from eightgig.core.device import DeviceKind
from eightgig.core.errors import ConfigurationError
from eightgig.vram.plan import Precision


def resolve_precision(choice: Literal["auto", "fp32", "bf16", "fp16"], device: DeviceKind) -> Precision:
    """Give the precision to compute in: `auto` is fp16 (with a gradient scaler) on CUDA and fp32 on the CPU.

    Raises:
        ConfigurationError: fp16 was asked for on the CPU, where its training kernels are missing.
    """
    if choice == "auto":
        return "fp16" if device == "cuda" else "fp32"
    if choice == "fp16" and device == "cpu":
        raise ConfigurationError("precision 'fp16' needs CUDA; on the CPU choose 'fp32', 'bf16' or 'auto'")
    return choice
