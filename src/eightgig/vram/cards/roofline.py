"""Time by a roofline: each op takes as long as its arithmetic or its bytes, whichever is longer, and a launch.

How well it does. The shares below were fitted on one card's column of timm's training benchmark (RTX 3090, AMP,
channels_last: huggingface/pytorch-image-models, results/benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv): 9 % mean
error on 15 of 18 networks, from ResNet-18 to ViT-B. Left out: RegNetX (it runs at a third of what this says), ConvNeXt
(at three quarters) and ResNeXt, whose grouped convolutions their kernels limit, not the card. Steps traced by this
project against published throughput, predicted over published:

| work | cards | error |
|---|---|---|
| ResNet-50, AMP, channels_last | RTX 3090 (fitted on); A100 80 GB | -15 %; +4 % |
| EfficientNet-B3, 288 px, AMP, channels_last | RTX 3090 (fitted on) | -3 % |
| ResNet-50, AMP, published without channels_last | RTX 3070; 3080; 4090 | +27 %; +34 %; +2 % |
| ResNet-50, fp32 | RTX 3070; 3090; 4090; A100 80 GB | +6 %; -1 %; -7 %; +39 % |
| BERT-base, 384 tokens, fp16, published without SDPA | RTX 3070; 3090; 4090 | +8 %; +13 %; +7 % |
| the same | A100 80 GB; H100 | +39 %; +51 % |
| BERT-base, 384 tokens, fp32 | RTX 3070; 3090 | +27 %; -20 % |

Published by lambdal/deeplearning-benchmark and NVIDIA/DeepLearningExamples. On GeForce cards read it as right to about
a quarter, and its ratios between them as better; servers' cards are slower than it says.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from eightgig.core.records import Record
from eightgig.vram.allocator.events import OpCost
from eightgig.vram.cards.catalog import Card
from eightgig.vram.plan import Tf32

Work = Literal["half", "float32 convolution", "float32 product"]
# Share of a card's peak that matrix products and convolutions reach. `half` and `float32 convolution` (TF32) are high,
# since the peak is of the official boost clock and GeForce cards clock higher; fitted, see above. Products of 8000 x
# 8000 in float32 reach 0.50 to 0.52 on an A40 and an RTX 3090 Ti (bewantbe/busy-gemm-benchmark); 0.55 splits the
# error of BERT evenly between the two cards above.
ACHIEVED_COMPUTE: dict[Work, float] = {"half": 0.90, "float32 convolution": 0.80, "float32 product": 0.55}
# Share of the memory's bandwidth. Low, since an op's inputs and outputs are counted once each: BatchNorm and the like
# read theirs twice. Fitted, see above.
ACHIEVED_BANDWIDTH = 0.60
# Ops that cross PCI Express (offloading), and the share of its bandwidth that they reach: 56 of 63 GB/s were measured
# between two cards (voipmonitor/rtx6kpro, hardware/pcie-bandwidth.md); pinned memory of the host is assumed a little
# slower. Nothing is assumed to hide behind the card's own work.
OVER_PCIE = frozenset({"copy_to_host", "copy_to_device"})
ACHIEVED_PCIE = 0.80
# Between two kernels, 4 to 6 us were measured on an RTX 5070 Ti (susun-blog.com/blog/pegainfer-3-cuda-graph).
LAUNCH_SECONDS = 5e-6

# Images a second that one core decodes, crops to 300 px and batches, from JPEGs of about 78 KB, two worker processes:
# benchmarks/results/data_loading-amd-epyc.json, `images_per_cpu_second`, an AMD EPYC. A newer desktop core does more.
LOADER_IMAGES_PER_CORE_SECOND = {"store": 421.35, "folder": 198.94, "article": 3.05}
Loader = Literal["store", "folder", "article"]

Bound = Literal["compute", "memory bandwidth", "launch"]
Bottleneck = Literal["compute", "memory bandwidth", "launch", "loader"]
_ONCE_A_STEP = "optimizer"


class StepTime(Record):
    """Predicted time of one optimizer step.

    Attributes:
        seconds: the three parts together.
        compute_seconds: in ops whose arithmetic takes longer than their bytes.
        memory_seconds: in ops whose bytes take longer than their arithmetic.
        launch_seconds: between kernels.
        bottleneck: the largest of the three parts.
    """

    seconds: float
    compute_seconds: float
    memory_seconds: float
    launch_seconds: float
    bottleneck: Bound


@dataclass
class _Parts:
    compute: float = 0.0
    memory: float = 0.0
    launch: float = 0.0


def step_seconds(
    costs: Iterable[OpCost],
    card: Card,
    *,
    micro_steps: int = 1,
    recomputed_fraction: float = 0.0,
    tf32: Tf32 = "convolutions",
) -> StepTime:
    """Return the time of one optimizer step on a card.

    Args:
        costs: of one micro-batch (any phase but `optimizer`) and of the optimizer. An op of no flops and no bytes is a
            view: no kernel runs for it.
        card: where it runs.
        micro_steps: micro-batches in a step (gradient_accumulation_steps); the optimizer's ops run once.
        recomputed_fraction: share of the forward pass that is run once more, where the costs do not hold it yet.
        tf32: which float32 layers may run in TensorFloat-32; by default as torch has it.
    """
    parts = _Parts()
    for cost in costs:
        if cost.flops or cost.bytes_moved:
            times = 1.0 if cost.phase == _ONCE_A_STEP else float(micro_steps)
            times *= 1.0 + recomputed_fraction if cost.phase == "forward" else 1.0
            _add(parts, cost, card, times, tf32)
    by_bound: dict[Bound, float] = {
        "compute": parts.compute,
        "memory bandwidth": parts.memory,
        "launch": parts.launch,
    }
    return StepTime(
        seconds=parts.compute + parts.memory + parts.launch,
        compute_seconds=parts.compute,
        memory_seconds=parts.memory,
        launch_seconds=parts.launch,
        bottleneck=max(by_bound, key=lambda bound: by_bound[bound]),
    )


def loader_images_per_second(cores: int, loader: Loader = "store") -> float:
    """Return the images a second that CPU cores can feed: an assumption from one machine, times the cores."""
    return LOADER_IMAGES_PER_CORE_SECOND[loader] * cores


def bottleneck_with_loader(step: StepTime, images_per_step: int, loader_rate: float | None) -> Bottleneck:
    """Return what limits a step: `loader` when its images take longer to load than to train on.

    Args:
        step: on the card.
        images_per_step: the effective batch.
        loader_rate: images a second; None when the data need no decoding (tokens, states).
    """
    waits = loader_rate is not None and images_per_step / loader_rate > step.seconds
    return "loader" if waits else step.bottleneck


def _add(parts: _Parts, cost: OpCost, card: Card, times: float, tf32: Tf32) -> None:
    work = _work(cost, tf32)
    peak = card.peak_flops(cost.precision, tensor_cores=work != "float32 product")
    compute = cost.flops / (ACHIEVED_COMPUTE[work] * peak)
    memory = cost.bytes_moved / _bytes_per_second(cost, card)
    if compute > memory:
        parts.compute += times * compute
    else:
        parts.memory += times * memory
    parts.launch += times * LAUNCH_SECONDS


def _bytes_per_second(cost: OpCost, card: Card) -> float:
    if cost.name in OVER_PCIE:  # what is read on one side and written on the other crosses once
        return 2 * ACHIEVED_PCIE * card.pcie_gb_per_s * 1e9
    return ACHIEVED_BANDWIDTH * card.bandwidth_gb_per_s * 1e9


def _work(cost: OpCost, tf32: Tf32) -> Work:
    if cost.precision != "fp32":
        return "half"
    # What reaches which share of the peak was fitted on convolutions in TF32 and products in float32, as torch has it.
    in_tf32 = tf32 == "always" or (tf32 == "convolutions" and "conv" in cost.name)
    return "float32 convolution" if in_tf32 else "float32 product"
