"""Networks with quantized base weights and trainable ones beside them, for the child process."""

import torch
from torch import nn
from torch.nn import functional
from torch.utils._pytree import tree_map

from eightgig.vram.tracing.subclasses import as_weight, takes_on_card

RANK = 8


class HalfBytes(nn.Parameter):
    """Half a byte a weight once it is on a card; whole in float32 before."""


class Unheard(nn.Parameter):
    """A class that nobody was told of."""


takes_on_card(
    f"{__name__}.HalfBytes",
    lambda weight, dtype: as_weight(
        weight,
        torch.empty(weight.numel() // 2, dtype=torch.uint8),
        scales=torch.empty(weight.numel() // 64, dtype=torch.float32),
        compute_dtype=dtype,
    ),
)


class Bytes(torch.Tensor):
    """A byte a weight and a scale a row, as the quantized tensors of torchao are: a wrapper of plain tensors."""

    @staticmethod
    def __new__(cls, values, scales, dtype):
        return torch.Tensor._make_wrapper_subclass(cls, values.shape, dtype=dtype, device=values.device)

    def __init__(self, values, scales, dtype):
        self.packed, self.scales = values, scales

    def __tensor_flatten__(self):
        return ["packed", "scales"], self.dtype

    @staticmethod
    def __tensor_unflatten__(inner, dtype, size, stride):
        return Bytes(inner["packed"], inner["scales"], dtype)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):  # type: ignore[override]
        if func is torch.ops.aten.detach.default:
            return cls(args[0].packed, args[0].scales, args[0].dtype)
        if func is torch.ops.aten._to_copy.default:
            return cls(args[0].packed, args[0].scales, kwargs["dtype"])
        whole = tree_map(lambda leaf: leaf.packed.to(leaf.dtype) * leaf.scales if isinstance(leaf, cls) else leaf, args)
        return func(*whole, **(kwargs or {}))


class Base(nn.Module):
    """A frozen layer without a bias, whose weight is made whole for each use."""

    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def forward(self, x):
        weight = self.weight
        if hasattr(weight, "scales") and weight.dtype == torch.uint8:
            weight = torch.empty(x.shape[-1], x.shape[-1], dtype=weight.compute_dtype, device=x.device)
        return functional.linear(x, weight)


class LoRA(nn.Module):
    """Two small trainable layers beside a frozen one."""

    def __init__(self, base, width):
        super().__init__()
        self.base = base
        self.down = nn.Linear(width, RANK, bias=False)
        self.up = nn.Linear(RANK, width, bias=False)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


def weight_of(kind, width):
    if kind == "half_bytes":
        return HalfBytes(torch.empty(width, width), requires_grad=False)
    if kind == "bytes":
        made = Bytes(torch.empty(width, width, dtype=torch.int8), torch.empty(width, 1), torch.float32)
        return nn.Parameter(made, requires_grad=False)
    if kind == "unheard":
        return Unheard(torch.empty(width, width), requires_grad=False)
    if kind == "lazy":
        return nn.UninitializedParameter(requires_grad=False)
    return nn.Parameter(torch.empty(width, width), requires_grad=False)


def lora(kind, width=1024, depth=4):
    layers = [LoRA(Base(weight_of(kind, width)), width) for _ in range(depth)]
    return nn.Sequential(*layers), _loss, lambda n: torch.zeros(n, width)


def bitsandbytes_lora(kind="nf4", double=True, threshold=0.0, width=1024, depth=4):
    from bitsandbytes import nn as quantized

    def base():
        if kind == "int8":
            return quantized.Linear8bitLt(width, width, bias=False, has_fp16_weights=False, threshold=threshold)
        return quantized.Linear4bit(
            width, width, bias=False, quant_type=kind, compute_dtype=torch.bfloat16, compress_statistics=double
        )

    return nn.Sequential(*[LoRA(base(), width) for _ in range(depth)]), _loss, lambda n: torch.zeros(n, width)


def torchao_lora(kind="Int8WeightOnlyConfig", width=1024, depth=4):
    from torchao import quantization

    def base():
        made = nn.Sequential(nn.Linear(width, width, bias=False).bfloat16())
        quantization.quantize_(made, getattr(quantization, kind)())
        return made.requires_grad_(False)

    layers = [LoRA(base(), width) for _ in range(depth)]
    return nn.Sequential(*layers).bfloat16(), _loss, lambda n: torch.zeros(n, width, dtype=torch.bfloat16)


def trainable_fp16():
    return nn.Linear(64, 64).half(), _loss, lambda n: torch.zeros(n, 64, dtype=torch.float16)


def with_buffer(width=1024):
    module = nn.Linear(width, width, bias=False)
    module.register_buffer("table", torch.zeros(width, width))
    module.register_buffer("places", torch.zeros(width, dtype=torch.int64))
    return module, _loss, lambda n: (torch.zeros(n, width), torch.zeros(n, dtype=torch.int64))


def _loss(net, batch):
    return net(batch[0] if isinstance(batch, tuple) else batch).float().mean()
