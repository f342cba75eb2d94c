"""Which number formats a run may compute in."""

from typing import Literal

import torch

from eightgig.core.device import DeviceKind
from eightgig.core.errors import ConfigurationError
from eightgig.vram.plan import Precision


def allowed_precisions(
    choice: Literal["auto", "fp32", "bf16", "fp16"], device: DeviceKind, *, spreads: bool = False
) -> tuple[Precision, ...]:
    """Return the precisions that a plan may choose from, the first unless something in it needs another.

    `auto` is fp16 (with a gradient scaler) on CUDA, or bf16 where the card has it and a scaler is in the way, and fp32
    on the CPU. Weights that are spread over processes (`spreads`) go without a scaler: bf16.

    Raises:
        ConfigurationError: fp16 was asked for on the CPU, where its training kernels are missing.
    """
    if choice == "auto":
        if device == "cpu":
            return ("fp32",)
        if spreads:
            return ("bf16",)
        return ("fp16", "bf16") if torch.cuda.is_bf16_supported(including_emulation=False) else ("fp16",)
    if choice == "fp16" and device == "cpu":
        raise ConfigurationError("precision 'fp16' needs CUDA; on the CPU choose 'fp32', 'bf16' or 'auto'")
    return (choice,)
