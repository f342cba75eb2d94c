"""Mixed precision around a network's forward pass alone: its outputs stay in the half precision they were computed in.

The loss is outside: an objective turns into float32 what it must, where it must. All logits of GPT-2's vocabulary at
once would be 0.2 GiB for 1,024 tokens. Training, the tracer and the benchmarks on a card all go through here.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from eightgig.vram.plan import Precision

HALF: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
_OWN_FORWARD = "_forward_in_full_precision"


def autocast_forward(module: nn.Module, device_type: str, precision: Precision) -> None:
    """Let the module's forward pass run under autocast, in place; float32 changes nothing.

    Args:
        module: whose forward pass it is.
        device_type: of its tensors, such as `cuda`.
        precision: to compute in.
    """
    dtype = HALF.get(precision)
    if dtype is None:
        return
    forward: Callable[..., Any] = module.forward

    def mixed_forward(*inputs: Any, **options: Any) -> Any:
        inside_another = torch.is_autocast_enabled(device_type)
        with torch.autocast(device_type, dtype=dtype):
            outputs = forward(*inputs, **options)
        if inside_another and not torch.compiler.is_compiling():
            torch.clear_autocast_cache()  # no half copy of a weight outlives the pass here either
        return outputs

    setattr(module, _OWN_FORWARD, forward)
    module.forward = mixed_forward


def plain_forward(module: nn.Module) -> None:
    """Undo `autocast_forward`, in place; with it goes the cycle of references that would keep the module's memory."""
    if _OWN_FORWARD not in vars(module):
        return
    forward = vars(module).pop(_OWN_FORWARD)
    if getattr(forward, "__func__", None) is type(module).forward:
        del module.forward  # the class's own
    else:
        module.forward = forward
