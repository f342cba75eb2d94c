"""What would save where nothing fits: which ways are named, and the figures by hand."""

import pytest

from eightgig.core.units import GIB, MIB
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import OwnedBytes
from eightgig.vram.planning import advice
from eightgig.vram.planning.lower_bound import least_memory
from eightgig.vram.planning.request import PlanRequest
from eightgig.vram.tracing.prediction import Prediction
from eightgig.vram.tracing.spec import WorkloadSpec
from eightgig.vram.tracing.weights import Weight

# 256 MiB: 64 Mi values in float32
MATRIX = Weight(shape=(8192, 8192), num_bytes=256 * MIB, kind="linear")
ROWS = Weight(shape=(32768, 2048), num_bytes=256 * MIB, kind="embedding")
HEAD = ROWS.model_copy(update={"kind": "linear"})
KERNEL = Weight(shape=(4096, 4096, 2, 2), num_bytes=256 * MIB)
LANGUAGE = (ROWS, MATRIX, MATRIX, MATRIX, HEAD)
CONVOLUTIONS = (KERNEL, KERNEL)
ADAPTERS = 3 * 8 * (8192 + 8192) * 16  # rank 8 beside three matrices, with gradients and AdamW's state


def shortfall(weights=LANGUAGE, *, prediction=None, micro_batch=1, parameters=None, missing=GIB, **changes):
    asked = {"effective_batch": 8, "micro_batch": 8, "eval_batch": 8, "device": "cuda", "device_name": "card"}
    asked |= {"name": "net", "workload": WorkloadSpec(factory="nowhere:make"), "sample": "one"}
    request, chosen = PlanRequest(**{**asked, **changes}), parameters or PlanParameters()
    return advice.Shortfall(
        request=request,
        parameters=chosen,
        missing_bytes=missing,
        weights=weights,
        least=least_memory(request, chosen, weights),
        step=None if prediction is None else request.step(micro_batch, "fp16"),
        prediction=prediction,
    )


def prediction(activations=0, owner="block", owned=0, lasting=0):
    held = {"parameters": lasting, "activations": activations}
    return Prediction(
        phase="train",
        peak_allocated=sum(held.values()),
        peak_reserved=0,
        min_memory_limit=0,
        num_segments=1,
        fragmentation=0.0,
        at_peak=held,
        largest=(OwnedBytes(owner=owner, category="activations", num_bytes=owned),),
        timeline=(),
        kind="attention",
        error_above=0.05,
    )


def names(short):
    return [saving.way.split(" (")[0].split(",")[0] for saving in advice.savings(short)]


def test_of_a_language_model_what_saves_most_comes_first():
    short = shortfall()
    found = advice.savings(short)
    assert names(short) == [
        "LoRA over weights in 4 bits",
        "LoRA over weights in bf16",
        "LoRA",
        "8-bit optimizer states",
        "the optimizer in the backward pass",
    ]
    trained = 5 * 256 * MIB
    lora = 3 * trained - ADAPTERS  # gradients, and two moments
    four_bits = 3 * (256 - 64 * (0.5 + 1 / 16)) * MIB + 2 * 128 * MIB  # the embedding and the head in bf16
    assert [saving.num_bytes for saving in found] == [
        lora + four_bits,
        lora + trained // 2,
        lora,
        5 * (512 - 128 - 2) * MIB,  # two bytes a value, and a scale for each 256
        4 * 256 * MIB,
    ]
    assert advice.advice(short).startswith("What would save: ")
    assert " by LoRA over weights in 4 bits (QLoRA: bitsandbytes and" in advice.advice(short).split(";")[0]
    assert "; 1.9 GiB by 8-bit optimizer states (train.optimizer: adamw8bit); " in advice.advice(short)


def test_of_convolutions_neither_lora_nor_a_chunked_loss_is_named():
    short = shortfall(CONVOLUTIONS, prediction=prediction(GIB, "(whole)/_log_softmax", GIB))
    assert names(short) == ["8-bit optimizer states", "samples of half the size", "the optimizer in the backward pass"]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw8bit"])
def test_8_bit_states_are_for_what_has_two_moments_in_more(optimizer):
    assert "8-bit optimizer states" not in names(shortfall(optimizer=optimizer))


def test_where_lora_is_taken_it_is_not_named_again():
    frozen = tuple(weight.model_copy(update={"is_trainable": False}) for weight in LANGUAGE)
    small = Weight(shape=(8, 8192), num_bytes=MIB // 4, kind="linear")
    short = shortfall((*frozen, small, small), missing=100 * MIB)
    assert names(short) == ["weights that are not trained in bf16"]
    assert advice.savings(short)[0].num_bytes == 5 * 128 * MIB


def test_without_training_weights_alone_can_be_smaller():
    short = shortfall(task="infer")
    assert [(saving.num_bytes, saving.way.split(" (")[0]) for saving in advice.savings(short)] == [
        (5 * 128 * MIB, "weights that are not trained in bf16"),
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"precisions": ("bf16",)}, "train.max_grad_norm: null"),
        ({"clips_gradients": False}, "plan.precision: bf16"),
        ({"effective_batch": 16}, "train.gradient_accumulation_steps: 1"),
    ],
)
def test_what_keeps_gradients_is_named(changes, said):
    found = next(saving for saving in advice.savings(shortfall(**changes)) if "in the backward pass" in saving.way)
    assert said in found.way


def test_where_nothing_keeps_gradients_they_are_not_named():
    free = {"clips_gradients": False, "precisions": ("bf16",)}
    assert "the optimizer in the backward pass" not in names(shortfall(**free))
    never = shortfall(parameters=PlanParameters(optimizer_in_backward="never"), **free)
    assert "the optimizer in the backward pass" in names(never)


def test_a_chunked_loss_saves_the_copies_of_the_logits():
    found = advice.chunked_loss(shortfall(prediction=prediction(GIB, "(whole)/_log_softmax", 300 * MIB)))
    assert found is not None
    assert found.num_bytes == 300 * MIB
    assert advice.chunked_loss(shortfall(prediction=prediction(GIB, "block/addmm", 300 * MIB))) is None


def test_shorter_samples_where_what_passes_is_most():
    assert advice.shorter_samples(shortfall(prediction=prediction(GIB, lasting=2 * GIB))) is None
    found = advice.shorter_samples(shortfall(prediction=prediction(GIB, lasting=GIB)))
    assert found is not None
    assert found.num_bytes == GIB // 2


def test_one_sample_at_a_time_where_there_are_more():
    assert advice.smaller_batch(shortfall(prediction=prediction(GIB))) is None
    found = advice.smaller_batch(shortfall(prediction=prediction(GIB), micro_batch=4, task="infer"))
    assert found is not None
    assert found.num_bytes == GIB * 3 // 4


def test_what_was_ruled_out_is_named():
    asked = PlanParameters(activation_checkpointing="none", offload="never")
    found = advice.recomputing(shortfall(prediction=prediction(GIB), parameters=asked))
    assert found == advice.Saving(
        GIB, "auto instead of plan.activation_checkpointing: none and plan.offload: never at most"
    )
    assert advice.recomputing(shortfall(prediction=prediction(GIB))) is None


def test_of_several_processes_each_saves_its_share():
    alone, sharded = shortfall(), shortfall(processes=4, is_sharded=True)
    found = {saving.way.split(" (")[0]: saving.num_bytes for saving in advice.savings(alone)}["8-bit optimizer states"]
    assert advice.eight_bit_states(sharded) == advice.Saving(
        found // 4, "8-bit optimizer states (train.optimizer: adamw8bit)"
    )


def test_what_saves_next_to_nothing_is_not_named():
    assert advice.advice(shortfall(missing=10**6 * GIB)) == ""
    assert advice.advice(shortfall(weights=())) == ""
