"""The weights of bitsandbytes on the card, and what their kernels take; values are never quantized.

Weights are quantized when a module is moved to the card, and what is left of them there follows from their shape.
Sources, of bitsandbytes 0.50.2: `Params4bit` and `Int8Params` in bitsandbytes/nn/modules.py, `quantize_4bit` and
`QuantState` in bitsandbytes/functional.py, `MatMul4Bit` in bitsandbytes/autograd/_functions.py (the packed weight is
saved for the backward pass, and made whole again there), kernels in bitsandbytes/backends/cuda/ops.py.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from eightgig.vram.tracing.fake_device import DEVICE, kernel_library
from eightgig.vram.tracing.subclasses import as_weight, takes_on_card

# quantize_4bit, compress_statistics: the scales of blocks are themselves 8-bit, with a scale for so many of them.
_BLOCK_OF_SCALES = 256
# _GEMM_4BIT_CUSTOM_FLOOR_M: up to so many rows a kernel reads the packed weight on every card. Above, up to 1,536 rows,
# it depends on card and shape; the whole weight is counted, which the backward pass makes anyway.
_ROWS_WITHOUT_WHOLE_WEIGHT = 4
_OUTLIERS = (
    "LLM.int8() with a threshold: the columns with outliers, which depend on values, are taken for none; expect "
    "somewhat more"
)


def _four_bits(weight: Any, dtype: torch.dtype) -> Tensor:
    """What `Params4bit` is on the card: two weights a byte, a scale for each block, and a table of 16 values."""
    if weight.bnb_quantized:
        return as_weight(weight, _empty_as(weight), quant_state=_moved_state(weight.quant_state))
    bytes_an_element = weight.quant_storage.itemsize
    packed = torch.empty(((weight.numel() + 1) // (2 * bytes_an_element), 1), dtype=weight.quant_storage, device=DEVICE)
    state = _state_of(weight, dtype)
    if weight.module is not None:
        weight.module.quant_state = state
    return as_weight(weight, packed, quant_state=state, bnb_quantized=True)


def _state_of(weight: Any, dtype: torch.dtype) -> Any:
    from bitsandbytes.functional import QuantState

    blocks = -(-weight.numel() // weight.blocksize)
    scales: dict[str, Any] = {"absmax": torch.empty(blocks, device=DEVICE)}
    if weight.compress_statistics:
        scales = {
            "absmax": torch.empty(blocks, dtype=torch.uint8, device=DEVICE),
            "offset": torch.empty((), device=DEVICE),
            "state2": QuantState(
                absmax=torch.empty(-(-blocks // _BLOCK_OF_SCALES), device=DEVICE),
                code=torch.empty(256, device=DEVICE),  # one for all weights on the card; here 1 KiB for each
                blocksize=_BLOCK_OF_SCALES,
                dtype=torch.float32,
            ),
        }
    code = torch.empty(16, device=DEVICE)
    kept = {"shape": weight.shape, "dtype": dtype, "blocksize": weight.blocksize}
    return QuantState(**scales, **kept, code=code, quant_type=weight.quant_type)


def _moved_state(state: Any) -> Any:
    if state is None:
        return None
    moved = object.__new__(type(state))
    values = {name: _empty_as(value) if isinstance(value, Tensor) else value for name, value in vars(state).items()}
    vars(moved).update({**values, "state2": _moved_state(state.state2)})
    return moved


def _eight_bits(weight: Any, dtype: torch.dtype) -> Tensor:
    """What `Int8Params` is on the card: a byte a weight and a scale a row; whole where it is quantized in passing."""
    if weight.has_fp16_weights:
        return as_weight(weight, torch.empty(weight.shape, dtype=dtype, device=DEVICE))
    packed = torch.empty(weight.shape, dtype=torch.int8, device=DEVICE)
    return as_weight(weight, packed, CB=packed, SCB=torch.empty(weight.shape[0], device=DEVICE))


def _empty_as(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=DEVICE)


takes_on_card("bitsandbytes.nn.modules.Params4bit", _four_bits)
takes_on_card("bitsandbytes.nn.modules.Int8Params", _eight_bits)


@contextmanager
def quantized_kernels(remark: Callable[[str], None]) -> Iterator[None]:
    """Have bitsandbytes' ops take on the fake device what they take on a card, where a network uses the library.

    Args:
        remark: is told what a prediction takes for something else.
    """
    with ExitStack() as stack:
        if "bitsandbytes" in sys.modules:
            library = stack.enter_context(kernel_library("bitsandbytes"))
            for name, kernel in _kernels(remark).items():
                if hasattr(torch.ops.bitsandbytes, name):  # none is in all versions
                    library.impl(name, kernel, "AutogradPrivateUse1")
        yield


def _kernels(remark: Callable[[str], None]) -> dict[str, Callable[..., Any]]:
    def quantize_rows(values: Tensor, threshold: float = 0.0) -> tuple[Tensor, Tensor, Tensor | None]:
        scales = torch.empty(values.numel() // values.shape[-1], device=values.device)
        quantized = torch.empty(values.shape, dtype=torch.int8, device=values.device)
        if not threshold:
            return quantized, scales, None
        remark(_OUTLIERS)
        _ = values.abs() >= threshold  # which the kernel looks at
        return quantized, scales, torch.empty(0, dtype=torch.int64, device=values.device)

    return {
        "gemm_4bit": _gemm_4bit,
        "int8_scaled_mm": _int8_scaled_mm,
        "int8_mixed_scaled_mm": _int8_mixed_scaled_mm,
        "int8_vectorwise_quant": quantize_rows,
    }


def _gemm_4bit(
    values: Tensor,
    packed: Tensor,
    shape: list[int],
    absmax: Tensor,
    blocksize: int,
    quant_type: str,
    bias: Tensor | None = None,
    absmax_8bit: Tensor | None = None,
    absmax_code: Tensor | None = None,
    absmax_offset: Tensor | None = None,
) -> Tensor:
    """Make the weight whole, then multiply by it: `_dequant_linear_fallback`."""
    if values.numel() // values.shape[-1] <= _ROWS_WITHOUT_WHOLE_WEIGHT:
        return values.new_empty((*values.shape[:-1], shape[0]))
    ops = torch.ops.bitsandbytes
    if absmax_8bit is not None:
        scales = ops.dequantize_blockwise.default(absmax_8bit, absmax, absmax_code, _BLOCK_OF_SCALES, torch.float32)
        absmax = scales + absmax_offset
    whole = ops.dequantize_4bit.default(packed, absmax, blocksize, quant_type, shape, values.dtype)
    return functional.linear(values, whole, bias)


def _int8_scaled_mm(
    values: Tensor,
    weight: Tensor,
    row_scales: Tensor,
    column_scales: Tensor,
    bias: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    ops = torch.ops.bitsandbytes
    product = ops.int8_linear_matmul.default(values, weight)  # in int32
    made: Tensor = ops.int8_mm_dequant.default(product, row_scales, column_scales, dtype=torch.float16, bias=bias)
    return made.to(dtype or torch.float16)  # the kernel gives no other type


def _int8_mixed_scaled_mm(
    values: Tensor,
    quantized: Tensor,
    weight: Tensor,
    row_scales: Tensor,
    column_scales: Tensor,
    outlier_columns: Tensor | None = None,  # noqa: ARG001 - as the op has it: there are none
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    made = _int8_scaled_mm(quantized, weight, row_scales, column_scales, bias, values.dtype)
    return made, values.new_empty(0)
