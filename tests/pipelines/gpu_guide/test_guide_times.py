"""The roofline on a real trace, against throughput that others published: the table of eightgig.vram.cards.roofline."""

import pytest

from eightgig.vram.cards.catalog import card_named
from eightgig.vram.cards.roofline import step_seconds
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.predictor import Predictor
from eightgig.vram.tracing.spec import WorkloadSpec

BATCH = 120
RESNET50 = WorkloadSpec(
    factory="eightgig.pipelines.gpu_guide.workloads:image_classifier",
    options={"name": "resnet50", "image_size": 224, "num_classes": 1000},
)


@pytest.fixture(scope="module")
def costs():
    options = StepOptions(
        micro_batch=BATCH, precision="fp16", optimizer="sgd", optimizer_kernel="foreach", channels_last=True
    )
    with Predictor() as predictor:
        return predictor.costs(RESNET50, options)


def test_arithmetic_is_that_of_the_network(costs):
    """4.09 GMAC forward (torchvision's table), twice that backward; a multiply-add counts two."""
    assert sum(cost.flops for cost in costs) / BATCH == pytest.approx(3 * 2 * 4.09e9, rel=0.02)


@pytest.mark.parametrize(
    ("card", "bandwidth", "published", "error"),
    [
        ("RTX 3090", None, 1218.0, 0.20),  # timm, channels_last: the column that the shares were fitted on
        ("A100 40 GB", 2039.0, 2470.0, 0.10),  # A100 80 GB, NVIDIA/DeepLearningExamples, channels_last
        ("RTX 4090", None, 1301.0, 0.10),  # lambdal/deeplearning-benchmark, not channels_last, as the next two
        ("RTX 3080", None, 639.0, 0.40),
        ("RTX 3070", None, 418.6, 0.35),
    ],
)
def test_resnet50_images_a_second(costs, card, bandwidth, published, error):
    found = card_named(card)
    found = found.model_copy(update={"bandwidth_gb_per_s": bandwidth}) if bandwidth else found
    assert BATCH / step_seconds(costs, found).seconds == pytest.approx(published, rel=error)
