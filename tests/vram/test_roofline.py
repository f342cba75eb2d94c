import json

import pytest

from eightgig.vram.allocator.events import OpCost
from eightgig.vram.cards.catalog import card_named
from eightgig.vram.cards.roofline import (
    ACHIEVED_BANDWIDTH,
    ACHIEVED_COMPUTE,
    ACHIEVED_PCIE,
    LAUNCH_SECONDS,
    LOADER_IMAGES_PER_CORE_SECOND,
    bottleneck_with_loader,
    loader_images_per_second,
    step_seconds,
)

RTX_3070 = card_named("RTX 3070")
MATMUL = OpCost("mm", "forward", flops=40_600_000_000, bytes_moved=1_000, precision="fp16")
COPY = OpCost("copy_", "backward", flops=0, bytes_moved=448_000_000, precision="fp32")
VIEW = OpCost("view", "forward", flops=0, bytes_moved=0, precision="fp16")
UPDATE = OpCost("_fused_adamw_", "optimizer", flops=0, bytes_moved=44_800_000, precision="fp32")


def test_arithmetic_by_the_peak():
    """40.6 GFLOP at 40.6 TFLOPS is a millisecond, at the share that is reached a little more."""
    time = step_seconds([MATMUL], RTX_3070)
    assert time.compute_seconds == pytest.approx(1e-3 / ACHIEVED_COMPUTE["half"])
    assert (time.memory_seconds, time.launch_seconds) == (0, LAUNCH_SECONDS)
    assert time.seconds == pytest.approx(time.compute_seconds + LAUNCH_SECONDS)
    assert time.bottleneck == "compute"


def test_bytes_by_the_bandwidth():
    """448 MB at 448 GB/s is a millisecond."""
    time = step_seconds([COPY], RTX_3070)
    assert time.memory_seconds == pytest.approx(1e-3 / ACHIEVED_BANDWIDTH)
    assert (time.compute_seconds, time.bottleneck) == (0, "memory bandwidth")


def test_offloading_crosses_pci_express():
    """1 GB read on the card and 1 GB written in the host: 1 GB over 16 lanes of 1.969 GB/s."""
    moved = OpCost("copy_to_host", "forward", flops=0, bytes_moved=2 * 10**9, precision="fp16")
    assert step_seconds([moved], RTX_3070).memory_seconds == pytest.approx(1 / (ACHIEVED_PCIE * 16 * 1.969))


def test_each_op_takes_the_longer_of_the_two():
    both = OpCost("mm", "forward", flops=40_600_000_000, bytes_moved=448_000_000, precision="fp16")
    assert step_seconds([both], RTX_3070).seconds == pytest.approx(1e-3 / ACHIEVED_BANDWIDTH + LAUNCH_SECONDS)


def test_small_ops_wait_for_their_launch():
    tiny = OpCost("add", "forward", flops=0, bytes_moved=64, precision="fp32")
    time = step_seconds([tiny] * 1000, RTX_3070)
    assert time.launch_seconds == pytest.approx(1000 * LAUNCH_SECONDS)
    assert time.bottleneck == "launch"


def test_a_view_takes_no_time():
    assert step_seconds([VIEW], RTX_3070).seconds == 0
    assert step_seconds([], RTX_3070).seconds == 0


def test_accumulation_repeats_all_but_the_optimizer():
    one = step_seconds([MATMUL, COPY, UPDATE], RTX_3070)
    four = step_seconds([MATMUL, COPY, UPDATE], RTX_3070, micro_steps=4)
    update = step_seconds([UPDATE], RTX_3070).seconds
    assert four.seconds == pytest.approx(4 * (one.seconds - update) + update)


def test_recomputation_repeats_the_forward_pass():
    plain = step_seconds([MATMUL, COPY], RTX_3070)
    again = step_seconds([MATMUL, COPY], RTX_3070, recomputed_fraction=1.0)
    assert again.seconds - plain.seconds == pytest.approx(step_seconds([MATMUL], RTX_3070).seconds)


def test_float32_convolutions_use_tensor_cores_and_products_do_not():
    a100 = card_named("A100 40 GB")
    flops = 156_000_000_000
    convolution, product = (
        step_seconds([OpCost(name, "forward", flops, 0, "fp32")], a100).compute_seconds
        for name in ("convolution_backward", "addmm")
    )
    assert convolution == pytest.approx(1e-3 / ACHIEVED_COMPUTE["float32 convolution"])
    assert product == pytest.approx(8e-3 / ACHIEVED_COMPUTE["float32 product"])  # 156 / 19.5


def test_a_faster_card_takes_less_time():
    costs = [MATMUL, COPY, UPDATE]
    times = [step_seconds(costs, card_named(name)).seconds for name in ("RTX 3070", "RTX 3080", "RTX 3090", "RTX 4090")]
    assert times == sorted(times, reverse=True)


def test_the_loader_figure_is_the_measured_one(project_path):
    measured = json.loads((project_path / "benchmarks/results/data_loading-amd-epyc.json").read_text(encoding="utf-8"))
    rates = measured["images_per_cpu_second"]
    assert {
        "store": rates["store U, 2 workers"],
        "folder": rates["ImageFolder v1 U, 2 workers"],
        "article": rates["article U, 2 workers"],
    } == LOADER_IMAGES_PER_CORE_SECOND
    assert loader_images_per_second(4) == 4 * rates["store U, 2 workers"]


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(None, "compute"), (100_000.0, "compute"), (3.05 * 8, "loader")],
)
def test_the_loader_is_the_bottleneck_when_it_is_slower(rate, expected):
    step = step_seconds([MATMUL] * 100, RTX_3070)  # about 0.1 s
    assert bottleneck_with_loader(step, images_per_step=32, loader_rate=rate) == expected
