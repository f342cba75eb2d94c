"""Language models of transformers, traced as they train: with the kernels that a card would run."""

import pytest

from eightgig.tasks.text.generation.parameters import GeneratorModelParameters
from eightgig.tasks.text.generation.task import TextGenerator
from eightgig.training.parameters import TrainParameters
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.predictor import Predictor
from eightgig.vram.tracing.spec import WorkloadSpec

CONFIG = {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 256, "resid_pdrop": 0.0, "attn_pdrop": 0.0}
GUIDE = "eightgig.pipelines.gpu_guide.workloads"


def text_generator(num_classes=500):
    model = GeneratorModelParameters(name="gpt2", weights="none", max_tokens=256, config=CONFIG)
    return TextGenerator().workload(model, num_classes, TrainParameters())


def guide_model():
    return WorkloadSpec(
        factory=f"{GUIDE}:language_model",
        options={"num_tokens": 128, "width": 64, "num_layers": 2, "num_heads": 4},
    )


@pytest.fixture(scope="module")
def predictor():
    with Predictor() as made:
        yield made


@pytest.mark.parametrize("workload", [text_generator, guide_model])
@pytest.mark.parametrize(("precision", "kernel"), [("fp16", "flash"), ("bf16", "flash"), ("fp32", "efficient")])
def test_without_padding_there_is_no_mask_and_flash_attention_runs(predictor, workload, precision, kernel):
    """transformers takes fake tensors for a trace, and would build a mask that no card ever sees."""
    trace = predictor.trace(workload(), StepOptions(micro_batch=2, precision=precision))
    kernels = {cost.name for cost in trace.costs if "_attention" in cost.name and "backward" not in cost.name}
    assert kernels == {f"_scaled_dot_product_{kernel}_attention"}


@pytest.mark.parametrize("level", ["selective", "full"])
def test_blocks_that_are_computed_again_are_traced_and_take_less(predictor, level):
    """With keys and values kept, `selective` raised, and the strategy was lost without a word."""
    options = StepOptions(micro_batch=4, precision="fp16")
    plain = predictor.predict(text_generator(), options)
    less = predictor.predict(text_generator(), options.model_copy(update={"activation_checkpointing": level}))
    assert less.peak_allocated < plain.peak_allocated


@pytest.mark.parametrize(("phase", "held"), [("train", 4), ("validate", 2)])
def test_logits_are_not_all_turned_into_float32(predictor, phase, held):
    """They are there in fp16, and their gradient too in training; float32 is made of some tokens at a time."""
    options = StepOptions(micro_batch=8, precision="fp16", phase=phase)
    small, large = (predictor.predict(text_generator(num_classes=size), options) for size in (20_000, 40_000))
    logits, some_in_float32 = 8 * 256 * 20_000, 256 * 20_000 * 4 * 3  # and their losses and gradients
    weights = 64 * 20_000 * (4 + 2) * (1 if phase == "validate" else 4)  # halved, their gradients, the optimizer's
    assert large.peak_allocated - small.peak_allocated < held * logits + some_in_float32 + weights
