"""Which INT8 arithmetic this CPU has, and so which weights stay exact on it.

x86 without VNNI multiplies uint8 by int8 with VPMADDUBSW, which adds two products into 16 bits: 255 * 127 * 2 does
not fit, the sum saturates, and accuracy falls silently. Two ways out, measured in eightgig.export.int8.weights:
uint8 weights (ONNX Runtime then multiplies in 16 bits and adds in 32) or weights of 7 bits (255 * 63 * 2 fits).
With VNNI or AMX, and on ARM, products go straight into 32 bits.
"""

from collections.abc import Mapping
from typing import Literal

import torch

from eightgig.export.int8.parameters import Int8Target, WeightType

_EXACT_DOT_PRODUCTS = ("avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8")


def has_exact_int8(capabilities: Mapping[str, object] | None = None) -> bool:
    """Tell whether uint8 x int8 products add up exactly here; False when the CPU does not say.

    Args:
        capabilities: as `torch.cpu.get_capabilities()` gives them, which is asked when None.
    """
    known = torch.cpu.get_capabilities() if capabilities is None else capabilities
    if str(known.get("architecture", "")).lower() in ("aarch64", "arm64"):
        return True
    return any(known.get(name) for name in _EXACT_DOT_PRODUCTS)


def weight_types_for(
    target: Int8Target, wanted: WeightType | Literal["auto"] = "auto", capabilities: Mapping[str, object] | None = None
) -> tuple[WeightType, ...]:
    """Return the weight types worth trying, fastest first: TensorRT knows int8 alone, a CPU those that are exact."""
    if target == "int8_trt":
        return ("int8",)
    if wanted != "auto":
        return (wanted,)
    return ("int8",) if has_exact_int8(capabilities) else ("int7", "uint8")
