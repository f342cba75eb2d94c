"""What kernels of the card at hand take beside tensors, and the CUDA context.

`calibrate.py` runs it in a process of its own, for workspaces and loaded kernels stay until a process ends.
Each op runs once to load its kernels, and once more to be measured: the allocator's peak while it ran, less what is
allocated when it is done, is what it took beside its inputs and results.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from eightgig.core.device import resolve_device
from eightgig.core.records import Record
from eightgig.vram.allocator.kernels import (
    AttentionKernel,
    AttentionKind,
    ConvolutionKernel,
    EmbeddingKernel,
    LayerNormKernel,
    WorkspaceKernel,
)
from eightgig.vram.runtime.card_memory import context_of, used_by_this_process

Layout = Literal["contiguous", "channels_last"]
MeasureWorkspace = Callable[[Callable[[], object]], int]
"""Runs an operation and gives the bytes that it took beside its results."""


class Convolution(NamedTuple):
    """One convolution with square images and kernels, padded to keep their size."""

    batch: int
    channels_in: int
    channels_out: int
    size: int
    kernel: int
    stride: int = 1
    groups: int = 1


class Attention(NamedTuple):
    """The shape of a query."""

    batch: int
    heads: int
    tokens: int
    head_dim: int


# Of ResNet-50 (224 px), with kernels of size 1; EfficientNet-B3 (300 px), with depthwise ones; the article's
# U-Net (512 px), YOLOv5s (640 px), and ResNeXt-50 for the groups.
CONVOLUTIONS = (
    Convolution(16, 3, 64, 224, 7, stride=2),
    Convolution(16, 3, 40, 300, 3, stride=2),
    Convolution(16, 64, 64, 56, 3),
    Convolution(16, 128, 128, 28, 3),
    Convolution(16, 256, 256, 14, 3),
    Convolution(16, 512, 512, 7, 3),
    Convolution(4, 64, 64, 512, 3),
    Convolution(4, 192, 64, 512, 3),
    Convolution(4, 384, 128, 256, 3),
    Convolution(4, 768, 256, 128, 3),
    Convolution(16, 128, 128, 56, 3, groups=32),
    Convolution(16, 256, 256, 56, 3, stride=2, groups=32),
    Convolution(16, 512, 512, 28, 3, groups=32),
    Convolution(16, 64, 256, 56, 1),
    Convolution(16, 256, 128, 56, 1),
    Convolution(16, 1024, 2048, 14, 1, stride=2),
    Convolution(8, 3, 32, 640, 6, stride=2),
    Convolution(8, 64, 64, 80, 3),
    Convolution(16, 144, 144, 75, 3, groups=144),
    Convolution(16, 288, 288, 38, 5, groups=288),
)
# GPT-2 medium, BERT-base, and a length that is no multiple of 128.
ATTENTIONS = (Attention(1, 16, 1024, 64), Attention(8, 12, 512, 64), Attention(4, 12, 200, 64))
_PRECISIONS: dict[torch.dtype, str] = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32"}


class KernelWorkspace(Record):
    """What one kernel took beside its inputs and results; `case` says for a person what was run."""

    kernel: WorkspaceKernel
    case: str
    precision: str
    layout: Layout = "contiguous"
    num_bytes: int


class CardMeasurements(Record):
    """All that was measured on one card.

    Attributes:
        context_bytes: what the driver says that the process used, less what torch's allocator held, with kernels
            loaded; None where the driver does not say (Windows, some containers).
        cublas_workspace_bytes: what the first matrix product of the process took for good.
        notes: what could not be run.
    """

    card: str
    compute_capability: tuple[int, int]
    driver: str
    torch: str
    date: str
    context_bytes: int | None
    cublas_workspace_bytes: int
    workspaces: tuple[KernelWorkspace, ...]
    notes: tuple[str, ...] = ()


class Operation(NamedTuple):
    """An op to measure, made ready when `prepare` is called."""

    kernel: WorkspaceKernel
    case: str
    precision: str
    layout: Layout
    prepare: Callable[[], Callable[[], object]]


def operations(
    device: str,
    convolutions: Iterable[Convolution] = CONVOLUTIONS,
    attentions: Iterable[Attention] = ATTENTIONS,
) -> Iterator[Operation]:
    """Yield the ops to measure; nothing is allocated before `prepare` is called."""
    layouts: tuple[Layout, ...] = ("contiguous", "channels_last")
    for convolution in convolutions:
        for dtype in (torch.float16, torch.float32, torch.bfloat16):  # what recipes run first
            for layout in layouts:
                yield from _convolution_operations(convolution, dtype, layout, device)
    for shape in attentions:
        yield _attention("flash_attention_backward", shape, torch.float16, device)
        yield _attention("efficient_attention_backward", shape, torch.float16, device)
        yield _attention("efficient_attention_backward", shape, torch.float32, device)
    yield _embedding(8192, 768, device)
    yield _layer_norm(8192, 1024, device)


class Measured(NamedTuple):
    """What was measured, and why the rest was not."""

    workspaces: tuple[KernelWorkspace, ...]
    notes: tuple[str, ...]


def measure_operations(operations: Iterable[Operation], measure: MeasureWorkspace) -> Measured:
    """Return what each op took, and of those that this card or torch cannot run, why."""
    workspaces, notes = [], []
    for operation in operations:
        try:
            num_bytes = measure(operation.prepare())
        except RuntimeError as error:  # no kernel for it, or out of memory: the others are still worth measuring
            notes.append(f"{operation.case} ({operation.precision}): {str(error).partition(chr(10))[0]}")
            continue
        fields = {name: getattr(operation, name) for name in ("kernel", "case", "precision", "layout")}
        workspaces.append(KernelWorkspace(**fields, num_bytes=num_bytes))
    return Measured(tuple(workspaces), tuple(notes))


def measure_card() -> CardMeasurements:
    """Measure the current card; the process should have done nothing on it yet.

    Raises:
        ConfigurationError: torch finds no usable GPU.
    """
    resolve_device("cuda")  # refuses where there is none, or one that torch has no kernels for
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    cublas_bytes = _cublas_workspace_bytes()
    measured = measure_operations(operations("cuda"), _workspace_on_cuda)
    _train_a_little()
    torch.cuda.empty_cache()
    used = used_by_this_process(f"GPU-{properties.uuid}")
    context = context_of(used, torch.cuda.memory_reserved(), 0)
    return CardMeasurements(
        card=properties.name,
        compute_capability=(properties.major, properties.minor),
        driver=driver_version(),
        torch=torch.__version__,
        date=datetime.now(UTC).date().isoformat(),
        context_bytes=context.num_bytes if context.source == "measured" else None,
        cublas_workspace_bytes=cublas_bytes,
        workspaces=measured.workspaces,
        notes=measured.notes,
    )


def _convolution_operations(made: Convolution, dtype: torch.dtype, layout: Layout, device: str) -> Iterator[Operation]:
    padding, item = made.kernel // 2, dtype.itemsize
    size_out = (made.size + 2 * padding - made.kernel) // made.stride + 1
    image = (made.batch, made.channels_in, made.size, made.size)
    result = (made.batch, made.channels_out, size_out, size_out)
    weight = (made.channels_out, made.channels_in // made.groups, made.kernel, made.kernel)
    is_last = layout == "channels_last"
    kernel = ConvolutionKernel(
        kind="convolution",
        input_bytes=item * torch.Size(image).numel(),
        output_bytes=item * torch.Size(result).numel(),
        weight_bytes=item * torch.Size(weight).numel(),
        element_bytes=item,
        groups=made.groups,
        kernel_size=made.kernel,
        channels_per_group=weight[1],
        channels_last=is_last,
        transposed=False,
    )
    back = kernel.model_copy(update={"kind": "convolution_backward"})
    case = (
        f"{made.channels_in} -> {made.channels_out}, {made.kernel} x {made.kernel}, stride {made.stride}, "
        f"groups {made.groups}, {made.batch} x {made.size} px"
    )

    def filled(shape: tuple[int, ...]) -> Tensor:
        order = torch.channels_last if is_last else torch.contiguous_format
        return torch.randn(shape, device=device, dtype=dtype).to(memory_format=order)

    def forward() -> Callable[[], object]:
        x, w = filled(image), filled(weight)
        return lambda: functional.conv2d(x, w, stride=made.stride, padding=padding, groups=made.groups)

    def backward() -> Callable[[], object]:
        x, w, gradient = filled(image), filled(weight), filled(result)
        geometry: Any = ([made.stride] * 2, [padding] * 2, [1, 1], False, [0, 0], made.groups, [True, True, False])
        return lambda: torch.ops.aten.convolution_backward(gradient, x, w, None, *geometry)

    yield Operation(kernel, case, _PRECISIONS[dtype], layout, forward)
    yield Operation(back, case, _PRECISIONS[dtype], layout, backward)


_BACKENDS: dict[AttentionKind, SDPBackend] = {
    "flash_attention_backward": SDPBackend.FLASH_ATTENTION,
    "efficient_attention_backward": SDPBackend.EFFICIENT_ATTENTION,
}


def _attention(kind: AttentionKind, shape: Attention, dtype: torch.dtype, device: str) -> Operation:
    batch, heads, length, width = shape

    def part() -> Tensor:  # laid out as the projections of a transformer give it
        return torch.randn(batch, length, heads, width, device=device, dtype=dtype).transpose(1, 2)

    def prepare() -> Callable[[], object]:
        query, key, value = inputs = [part().requires_grad_() for _ in range(3)]
        with sdpa_kernel(_BACKENDS[kind]):
            out = functional.scaled_dot_product_attention(query, key, value)
        gradient = part()
        return lambda: torch.autograd.grad(out, inputs, gradient, retain_graph=True)

    case = f"attention, {batch} x {heads} heads of {width}, {length} tokens"
    kernel = AttentionKernel(kind=kind, **shape._asdict(), element_bytes=dtype.itemsize)
    return Operation(kernel, case, _PRECISIONS[dtype], "contiguous", prepare)


def _embedding(num_tokens: int, width: int, device: str) -> Operation:
    def prepare() -> Callable[[], object]:
        gradient = torch.randn(num_tokens, width, device=device)
        tokens = torch.arange(num_tokens, device=device) % 1000
        return lambda: torch.ops.aten.embedding_dense_backward(gradient, tokens, 1000, -1, False)

    kernel = EmbeddingKernel(num_indices=num_tokens)
    return Operation(kernel, f"{num_tokens} tokens", "fp32", "contiguous", prepare)


def _layer_norm(num_rows: int, width: int, device: str) -> Operation:
    def prepare() -> Callable[[], object]:
        rows = torch.randn(num_rows, width, device=device)
        weight, bias = torch.ones(width, device=device), torch.zeros(width, device=device)
        _, mean, deviation = torch.ops.aten.native_layer_norm(rows, [width], weight, bias, 1e-5)
        wanted = [True, True, True]
        backward = torch.ops.aten.native_layer_norm_backward
        return lambda: backward(rows, rows, [width], mean, deviation, weight, bias, wanted)

    return Operation(LayerNormKernel(num_features=width), f"{num_rows} x {width}", "fp32", "contiguous", prepare)


def _workspace_on_cuda(operation: Callable[[], object]) -> int:
    operation()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    results = operation()
    torch.cuda.synchronize()
    taken = torch.cuda.max_memory_allocated() - torch.cuda.memory_allocated()
    del results
    return taken


def _cublas_workspace_bytes() -> int:
    square = torch.ones(256, 256, device="cuda")
    result = torch.empty_like(square)
    before = torch.cuda.memory_allocated()
    torch.mm(square, square, out=result)
    torch.cuda.synchronize()
    return torch.cuda.memory_allocated() - before


def _train_a_little() -> None:
    """Load what else a training step needs: normalisation, dropout, autocast, the scaler, a fused optimizer."""
    module = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.GELU(), nn.Dropout(0.1), nn.Linear(64, 8)).cuda()
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)
    scaler = torch.amp.GradScaler("cuda")
    with torch.autocast("cuda", dtype=torch.float16):
        loss = functional.cross_entropy(module(torch.randn(16, 64, device="cuda")).float(), torch.arange(16).cuda() % 8)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(module.parameters(), 1.0, foreach=True)
    scaler.step(optimizer)
    scaler.update()
    torch.cuda.synchronize()


def driver_version() -> str:
    """Return the driver's version as NVML says it, or `unknown`."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return "unknown"
    try:
        version: str | bytes = pynvml.nvmlSystemGetDriverVersion()
        return version.decode() if isinstance(version, bytes) else version
    except pynvml.NVMLError:
        return "unknown"
    finally:
        pynvml.nvmlShutdown()


if __name__ == "__main__":
    sys.stdout.write(measure_card().model_dump_json() + "\n")
