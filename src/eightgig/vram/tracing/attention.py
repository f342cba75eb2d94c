"""Which attention kernel a GPU would choose; a fake device is always given the one that keeps the whole matrix."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional

from eightgig.vram.plan import Attention
from eightgig.vram.tracing.fake_device import kernel_library

_WIDEST_FLASH_HEAD = 256  # aten/src/ATen/native/transformers/cuda/sdp_utils.cpp, check_head_dim_size_flash
_HALF = (torch.float16, torch.bfloat16)


@contextmanager
def fused_attention(attention: Attention) -> Iterator[None]:
    """Give the fake device's scaled_dot_product_attention the kernel that torch takes on a GPU from Ampere on.

    Flash attention where the type is half and there is no mask, memory-efficient attention otherwise; `eager` leaves
    the choice as it is. The kernel is registered with torch's dispatcher, so that it does not matter by which name a
    network imported the function, nor in which thread it is called.
    """
    with _one_text_a_sample():
        if attention != "sdpa":
            yield
            return
        with kernel_library("aten") as library:
            library.impl("scaled_dot_product_attention", _attention, "AutogradPrivateUse1")
            yield


@contextmanager
def _one_text_a_sample() -> Iterator[None]:
    """Let transformers take positions without values for those of one text a sample, as they are in training.

    Whether several texts are packed into a sample it reads from the positions. Where they cannot be read it builds a
    mask to be safe, and with a mask there is no flash attention (transformers.masking_utils, 5.17 and 5.23).
    """
    masking: Any = sys.modules.get("transformers.masking_utils")
    original = getattr(masking, "find_packed_sequence_indices", None)
    if original is None:
        yield
        return

    def unless_fake(position_ids: Tensor) -> Tensor | None:
        found: Tensor | None = None if isinstance(position_ids, FakeTensor) else original(position_ids)
        return found

    masking.find_packed_sequence_indices = unless_fake
    try:
        yield
    finally:
        masking.find_packed_sequence_indices = original


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if query.dim() != 4:
        math = torch.ops.aten._scaled_dot_product_attention_math
        plain: Tensor = math(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)[0]
        return plain
    if enable_gqa and key.shape[1] != query.shape[1]:
        repeats = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    width = query.shape[-1]
    if attn_mask is None and query.dtype in _HALF and width <= _WIDEST_FLASH_HEAD and width == value.shape[-1]:
        return _flash(query, key, value, dropout_p, causal=is_causal, scale=scale)
    return _efficient(query, key, value, attn_mask, dropout_p, causal=is_causal, scale=scale)


def _flash(query: Tensor, key: Tensor, value: Tensor, dropout: float, *, causal: bool, scale: float | None) -> Tensor:
    width = query.shape[-1]
    padding = -width % 8  # the kernel wants heads in multiples of 8
    if padding:
        scale = scale or width**-0.5
        query, key, value = (functional.pad(part, (0, padding)) for part in (query, key, value))
    flash = torch.ops.aten._scaled_dot_product_flash_attention
    out: Tensor = flash(query, key, value, dropout, causal, False, scale=scale)[0]
    return out[..., :width] if padding else out


def _efficient(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float, *, causal: bool, scale: float | None
) -> Tensor:
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(mask.logical_not(), float("-inf"))
    if mask is not None:
        mask = mask.expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])
    keeps = torch.is_grad_enabled() and any(part.requires_grad for part in (query, key, value))
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention
    out: Tensor = efficient(query, key, value, mask, keeps, dropout, causal, scale=scale)[0]
    return out
