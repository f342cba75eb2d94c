"""Quantized, subclassed and half-precision weights against hand arithmetic, through the child process."""

import pytest

from eightgig.core.errors import ConfigurationError
from eightgig.core.units import MIB
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.predictor import predict_memory
from eightgig.vram.tracing.spec import WorkloadSpec

pytestmark = pytest.mark.usefixtures("tiny_workloads")

WIDTH, DEPTH, RANK = 1024, 4, 8
WEIGHTS = WIDTH * WIDTH
ADAPTERS = DEPTH * 2 * WIDTH * RANK * 4  # in float32


@pytest.fixture
def predict(predictor):
    def run(name, *, micro_batch=16, workload=None, **options):
        spec = WorkloadSpec(factory=f"quantized_workloads:{name}", options=workload or {})
        return predictor.predict(spec, StepOptions(micro_batch=micro_batch, **options))

    return run


def blocks(*sizes):
    """Bytes in blocks of the allocator."""
    return sum(-(-size // 512) * 512 for size in sizes)


@pytest.mark.parametrize(
    ("kind", "one"),
    [
        ("plain", blocks(4 * WEIGHTS)),
        ("half_bytes", blocks(WEIGHTS // 2, WEIGHTS // 64 * 4)),
        ("bytes", blocks(WEIGHTS, WIDTH * 4)),
    ],
)
def test_a_frozen_base_weighs_what_its_class_takes_and_adapters_alone_train(predict, kind, one):
    made = predict("lora", workload={"kind": kind}, optimizer_kernel="fused", zero_grad="before_backward")
    assert made.at_peak["parameters"] == DEPTH * one + ADAPTERS
    assert made.at_peak["gradients"] <= ADAPTERS
    assert made.at_peak["optimizer"] == pytest.approx(2 * ADAPTERS, abs=16 * 512)  # with step counters


def test_what_a_class_makes_whole_for_use_is_a_temporary(predict):
    plain, packed = (predict("lora", workload={"kind": kind}, phase="validate") for kind in ("plain", "half_bytes"))
    assert packed.at_peak["temporaries"] - plain.at_peak["temporaries"] == pytest.approx(4 * MIB, abs=MIB // 8)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            "unheard",
            r"a weight is a quantized_workloads\.Unheard, and what that .*__tensor_flatten__.*takes_on_card",
        ),
        ("lazy", r"a weight is a .*UninitializedParameter, which has no shape yet: run the module once"),
    ],
)
def test_a_class_that_is_not_known_is_refused_by_its_name(predict, kind, said):
    with pytest.raises(ConfigurationError, match=said):
        predict("lora", workload={"kind": kind})


@pytest.mark.parametrize("weights", ["bf16", "fp16"])
def test_weights_in_half_precision_halve_weights_gradients_states_and_inputs(predict, weights):
    full = predict("with_buffer", micro_batch=4096)
    half = predict("with_buffer", micro_batch=4096, weights=weights)
    places, indices = blocks(WIDTH * 8), blocks(4096 * 8)  # whole numbers stay as they are
    assert full.at_peak["parameters"] == 8 * MIB + places
    assert half.at_peak["parameters"] == 4 * MIB + places
    passed = predict("with_buffer", micro_batch=4096, phase="validate", weights=weights)
    assert passed.at_peak["batch"] == 8 * MIB + indices
    assert predict("with_buffer", micro_batch=1, weights=weights).at_peak["gradients"] == 2 * MIB
    assert half.at_peak["optimizer"] == pytest.approx(full.at_peak["optimizer"] / 2, abs=1024)


def test_a_class_is_cast_by_its_own_rules(predict):
    full, half = (
        predict("lora", workload={"kind": "half_bytes"}, phase="validate", weights=weights)
        for weights in ("fp32", "bf16")
    )
    assert full.at_peak["parameters"] - half.at_peak["parameters"] == ADAPTERS / 2
    assert full.at_peak["temporaries"] - half.at_peak["temporaries"] == pytest.approx(2 * MIB, abs=MIB // 8)
    made = predict("lora", workload={"kind": "bytes"}, phase="validate", weights="bf16")
    assert made.at_peak["parameters"] == DEPTH * blocks(WEIGHTS, WIDTH * 4) + ADAPTERS / 2


def test_a_scaler_takes_no_fp16_gradients(predict):
    with pytest.raises(ConfigurationError, match="a gradient scaler unscales no float16 gradients: train with"):
        predict("trainable_fp16", precision="fp16")
    assert predict("trainable_fp16", precision="bf16").peak_allocated > 0


def test_the_public_function_takes_weights():
    made = predict_memory("quantized_workloads:with_buffer", 1, weights="bf16")
    assert made.at_peak["parameters"] == 4 * MIB + blocks(WIDTH * 8)


def test_four_bits_of_bitsandbytes_are_what_the_library_makes_of_a_weight(predict):
    bnb = pytest.importorskip("bitsandbytes")
    import torch

    def held(double):
        weight = bnb.nn.Params4bit(torch.zeros(WIDTH, WIDTH), quant_type="nf4", compress_statistics=double)
        state = weight.to("cpu").quant_state
        inner = (state.offset, state.state2.absmax, state.state2.code) if double else ()
        return blocks(*(part.nbytes for part in (weight.data, state.absmax, state.code, *inner)))

    for double in (True, False):
        made = predict("bitsandbytes_lora", workload={"double": double})
        assert made.at_peak["parameters"] == DEPTH * held(double) + ADAPTERS


def test_a_layer_of_four_bits_makes_its_weight_whole_forwards_and_backwards(predictor, predict):
    pytest.importorskip("bitsandbytes")
    made = predictor.trace(WorkloadSpec(factory="quantized_workloads:bitsandbytes_lora"), StepOptions(micro_batch=16))
    whole = [cost.phase for cost in made.costs if cost.name == "bitsandbytes::dequantize_4bit"]
    assert whole == ["forward"] * DEPTH + ["backward"] * (DEPTH - 1)  # the first layer's input wants no gradient
    few = predictor.trace(WorkloadSpec(factory="quantized_workloads:bitsandbytes_lora"), StepOptions(micro_batch=4))
    assert [cost.phase for cost in few.costs if cost.name == "bitsandbytes::dequantize_4bit"] == ["backward"] * 3
    saved = predict("bitsandbytes_lora", micro_batch=4096).at_peak["activations"]
    plain = predict("lora", workload={"kind": "plain"}, micro_batch=4096).at_peak["activations"]
    assert saved - plain == pytest.approx(0, abs=MIB)  # neither weight nor its whole is kept


@pytest.mark.parametrize("threshold", [0.0, 6.0])
def test_eight_bits_of_bitsandbytes_are_a_byte_a_weight_and_a_scale_a_row(predictor, predict, threshold):
    pytest.importorskip("bitsandbytes")
    workload = {"kind": "int8", "threshold": threshold}
    made = predict("bitsandbytes_lora", workload=workload)
    assert made.at_peak["parameters"] == DEPTH * blocks(WEIGHTS, WIDTH * 4) + ADAPTERS
    assert [said.split(":")[0] for said in made.predicted_as] == (["LLM.int8() with a threshold"] if threshold else [])


@pytest.mark.parametrize("kind", ["Int8WeightOnlyConfig", "Int8DynamicActivationInt8WeightConfig"])
def test_torchaos_tensors_are_what_they_wrap(predict, kind):
    pytest.importorskip("torchao")
    from tests.vram.quantized_workloads import torchao_lora

    weight = torchao_lora(kind, depth=1)[0][0].base[0].weight
    one = blocks(*(getattr(weight, name).nbytes for name in weight.__tensor_flatten__()[0]))
    made = predict("torchao_lora", workload={"kind": kind})
    assert made.at_peak["parameters"] == DEPTH * one + ADAPTERS / 2
    assert WEIGHTS < one < 1.01 * WEIGHTS
