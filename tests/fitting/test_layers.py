"""A network of alike layers follows from two short ones: held against traces of the whole."""

import pytest

from eightgig.fitting.language import read_network, traced_layers
from eightgig.fitting.layers import Stack, StackPredictor
from eightgig.fitting.networks import network_of
from eightgig.fitting.question import Question
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.predictor import Predictor

# So that segments of 20 MiB are small beside the whole.
LARGER = {"num_hidden_layers": 18, "hidden_size": 1024, "intermediate_size": 2816, "vocab_size": 8192}
OPTIONS = StepOptions(micro_batch=2, precision="bf16", optimizer="adamw", optimizer_kernel="fused")


@pytest.fixture(scope="module")
def predictors():
    with StackPredictor() as short, Predictor() as whole:
        yield short, whole


@pytest.mark.parametrize("task", ["train", "lora"])
@pytest.mark.parametrize("level", ["none", "full"])
def test_what_it_takes_is_what_the_whole_takes(network_folder, predictors, task, level):
    short, whole = predictors
    question = Question(task=task, tokens=256)
    network = network_of(str(network_folder(**LARGER)), question, short)
    short.stack = network.stack
    options = OPTIONS.model_copy(update={"activation_checkpointing": level})
    workload = network.workload(question, "bf16" if task == "lora" else "fp32")
    mine, theirs = short.predict(workload, options), whole.predict(workload, options)
    assert short.stack == Stack(num_layers=18, few=4, more=8)
    assert mine.peak_allocated == pytest.approx(theirs.peak_allocated, rel=0.01)
    assert mine.min_memory_limit == pytest.approx(theirs.min_memory_limit, rel=0.03)
    assert mine.upper_limit > theirs.min_memory_limit
    assert mine.at_peak["parameters"] == pytest.approx(theirs.at_peak["parameters"], rel=1e-3)
    assert sum(cost.flops for cost in short.costs(workload, options)) == pytest.approx(
        sum(cost.flops for cost in whole.costs(workload, options)), rel=1e-3
    )


@pytest.mark.parametrize(
    ("otherwise", "period"),
    [
        ({"num_hidden_layers": 18}, 1),
        ({}, None),  # so few are traced whole
        ({"model_type": "gemma3_text", "head_dim": 64, "num_hidden_layers": 26}, 6),
    ],
)
def test_layers_are_alike_after_a_period(network_folder, otherwise, period):
    assert read_network(str(network_folder(**otherwise))).period == period


def test_two_numbers_of_layers_are_traced():
    """Both leave as much of a period over as the whole does."""
    assert [traced_layers(*asked) for asked in ((1, 28), (2, 28), (6, 26), (6, 24))] == [
        (4, 8),
        (4, 8),
        (8, 14),
        (6, 12),
    ]
