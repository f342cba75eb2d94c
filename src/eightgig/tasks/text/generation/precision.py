"""Which number format a network writes in."""

from typing import Literal

import torch

from eightgig.core.device import DeviceKind
from eightgig.core.errors import ConfigurationError
from eightgig.vram.plan import Precision

_DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def writing_precision(choice: Literal["auto", "fp32", "fp16", "bf16"], device: DeviceKind) -> Precision:
    """Return the format of the weights and of the keys and values.

    Writing waits for the weights to be read for each token, so that half of their bytes takes half of the time. `auto`
    is bf16 on a GPU that computes in it, which has the range of fp32, fp16 on an older one, and fp32 on the CPU.

    Raises:
        ConfigurationError: bf16 was asked for on a GPU that has none; it would be emulated.
    """
    has_bf16 = device == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False)
    if choice == "auto":
        return "fp32" if device == "cpu" else "bf16" if has_bf16 else "fp16"
    if choice == "bf16" and not has_bf16:
        raise ConfigurationError(
            "generate.precision: bf16 was asked for, but this GPU has none (compute capability 8.0 or newer has). "
            "Take fp16, fp32 or auto."
        )
    return choice


def dtype_of(precision: Precision) -> torch.dtype:
    """Return torch's type of a format."""
    return _DTYPES[precision]


def precision_of(dtype: torch.dtype) -> Precision:
    """Return the format of torch's type."""
    return next(precision for precision, known in _DTYPES.items() if known == dtype)
