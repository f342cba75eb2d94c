"""Predictions of small networks against hand arithmetic, through the child process."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eightgig.core.errors import ConfigurationError, PredictionError
from eightgig.core.units import MIB
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.predictor import predict_memory
from eightgig.vram.tracing.spec import WorkloadSpec

CUBLAS = 2 * 8_519_680  # one workspace of the forward and one of the backward thread


pytestmark = pytest.mark.usefixtures("tiny_workloads")


@pytest.fixture
def predict(predictor):
    def run(name, *, generation="ampere", workload=None, **options):
        spec = WorkloadSpec(factory=f"tiny_workloads:{name}", options=workload or {})
        return predictor.predict(spec, StepOptions(**options), generation=generation)

    return run


@pytest.fixture
def trace(predictor):
    def run(name, *, workload=None, **options):
        return predictor.trace(
            WorkloadSpec(factory=f"tiny_workloads:{name}", options=workload or {}), StepOptions(**options)
        )

    return run


def test_adamw_holds_the_weight_its_gradient_and_two_moments_of_it(predict):
    made = predict("perceptron", micro_batch=1, optimizer_kernel="fused")  # one weight of 4 MiB
    assert made.at_peak["parameters"] == 4 * MIB
    assert made.at_peak["gradients"] == 4 * MIB
    assert 8 * MIB <= made.at_peak["optimizer"] < 8 * MIB + 2048  # and a step counter
    assert made.at_peak["workspace"] == CUBLAS
    assert sum(made.at_peak.values()) == made.peak_allocated


def test_foreach_needs_one_more_copy_of_the_weights_than_fused(predict):
    fused = predict("perceptron", micro_batch=1, workload={"depth": 8}, optimizer_kernel="fused")
    foreach = predict("perceptron", micro_batch=1, workload={"depth": 8}, optimizer_kernel="foreach")
    assert foreach.peak_allocated - fused.peak_allocated == pytest.approx(32 * MIB, abs=MIB)


def test_sgd_holds_one_moment(predict):
    made = predict("perceptron", micro_batch=1, optimizer="sgd")
    assert made.at_peak["optimizer"] == 4 * MIB


def test_eight_bit_adamw_holds_two_bytes_a_weight_and_a_scale_for_256_of_them(predict):
    made = predict("perceptron", micro_batch=1, optimizer="adamw8bit", optimizer_kernel="fused")  # 2**20 weights
    maps = 2 * 256 * 4  # of quantisation, shared
    assert made.at_peak["optimizer"] == 2 * MIB + 2 * 4 * (2**20 // 256) + maps
    small = predict(
        "perceptron", micro_batch=1, workload={"width": 32}, optimizer="adamw8bit", optimizer_kernel="fused"
    )
    assert small.at_peak["optimizer"] == 2 * 4 * 32 * 32  # fewer than 4096 weights: float32


def test_in_the_backward_pass_one_gradient_is_there_at_a_time(predict):
    options = {"micro_batch": 1, "workload": {"depth": 8}, "optimizer_kernel": "fused"}
    all_at_once, one_by_one = (predict("perceptron", **options, optimizer_in_backward=on) for on in (False, True))
    assert all_at_once.at_peak["gradients"] == 32 * MIB
    assert one_by_one.at_peak["gradients"] == 4 * MIB
    assert one_by_one.at_peak["optimizer"] == all_at_once.at_peak["optimizer"]
    assert all_at_once.peak_allocated - one_by_one.peak_allocated == pytest.approx(28 * MIB, abs=MIB)


def test_the_step_in_the_backward_pass_is_run_three_times_too(trace):
    made = trace("perceptron", micro_batch=16, workload={"depth": 2}, optimizer_in_backward=True)
    phases = [mark.phase for mark in made.marks if mark.phase != "idle"]
    assert phases == ["build", "optimizer", *["forward", "backward", "release"] * 3]
    assert {"_foreach_addcdiv_"} <= {cost.name for cost in made.costs if cost.phase == "backward"}


def test_tied_weights_count_once(predict):
    assert predict("perceptron", micro_batch=1, workload={"depth": 3, "tied": True}).at_peak["parameters"] == 4 * MIB


def test_saved_activations_grow_with_the_batch_by_the_layers_inputs(predict):
    # Eight layers; when the seventh runs backwards, six of the inputs that are no batch are left, 4 KiB a sample each.
    small, large = (predict("perceptron", micro_batch=n, workload={"depth": 8}) for n in (4096, 8192))
    assert large.at_peak["activations"] - small.at_peak["activations"] == 6 * 4096 * 4096
    assert large.at_peak["batch"] - small.at_peak["batch"] == 4096 * 4096


def test_gradients_of_a_residual_are_added_in_place(trace):
    # Autograd adds into the gradient that nobody else holds; a sum that made a third tensor would be one `add` each.
    made = trace("residual", micro_batch=4096, optimizer="sgd")
    backward = [mark.position for mark in made.marks if mark.phase == "backward"][-1]
    sums = [b for b, n in made.events[backward:] if n == 16 * MIB and made.owners[b].endswith("add")]
    assert sums == []


def test_silu_backward_is_one_kernel(trace):
    made = trace("swish", micro_batch=1024)
    names = [cost.name for cost in made.costs if cost.phase == "backward"]
    assert names.count("silu_backward") == 1
    assert "sigmoid" not in names


def test_mixed_precision_halves_activations_and_keeps_a_cast_of_the_weights(predict):
    full = predict("perceptron", micro_batch=8192, workload={"depth": 8})
    half = predict("perceptron", micro_batch=8192, workload={"depth": 8}, precision="fp16")
    saved, saved_half = (made.at_peak["activations"] for made in (full, half))
    # Half of every input; also the batch's own half (16 MiB), which is no batch any more, and 8 weights' (2 MiB).
    assert saved == pytest.approx(6 * 32 * MIB, abs=4096)
    assert saved_half == pytest.approx(saved / 2 + (16 + 8 * 2) * MIB, abs=17 * MIB)


def test_bf16_takes_what_fp16_takes(predict):
    fp16, bf16 = (predict("convolutional", micro_batch=8, precision=p) for p in ("fp16", "bf16"))
    assert fp16.peak_allocated == pytest.approx(bf16.peak_allocated, abs=16384)  # the scaler's few scalars


def test_checkpointing_saves_and_more_of_it_saves_more(predict):
    none, selective, full = (
        predict("convolutional", micro_batch=256, activation_checkpointing=level).at_peak["activations"]
        for level in ("none", "selective", "full")
    )
    assert full < selective < none


def test_offloading_takes_activations_off_the_card(predict):
    kept = predict("convolutional", micro_batch=256)
    moved = predict("convolutional", micro_batch=256, offload=True)
    assert moved.at_peak["activations"] < 0.1 * kept.at_peak["activations"]
    assert moved.peak_allocated < 0.5 * kept.peak_allocated


def test_accumulation_holds_gradients_through_the_next_forward_pass(predict):
    once = predict("perceptron", micro_batch=8192, workload={"depth": 8})
    again = predict("perceptron", micro_batch=8192, workload={"depth": 8}, accumulates=True)
    assert once.at_peak["gradients"] < again.at_peak["gradients"] == 32 * MIB
    assert again.peak_allocated > once.peak_allocated


def test_fused_attention_never_makes_the_matrix(predict):
    # 4 heads x 2048 x 2048 in float32 are 64 MiB a sample.
    eager = predict("attention", micro_batch=4, workload={"length": 2048}, attention="eager")
    fused = predict("attention", micro_batch=4, workload={"length": 2048})
    assert eager.peak_allocated > 2 * 256 * MIB > 256 * MIB > fused.peak_allocated


@pytest.mark.parametrize(("precision", "kernel"), [("fp32", "efficient"), ("fp16", "flash")])
def test_attention_kernels_by_precision(trace, precision, kernel):
    made = trace("attention", micro_batch=1, precision=precision)
    assert f"_scaled_dot_product_{kernel}_attention" in {cost.name for cost in made.costs}


def test_validation_keeps_nothing_for_a_backward_pass(predict):
    made = predict("convolutional", micro_batch=64, phase="validate")
    assert made.at_peak["activations"] == made.at_peak["gradients"] == made.at_peak["optimizer"] == 0
    assert made.peak_allocated < predict("convolutional", micro_batch=64).peak_allocated / 3


def test_the_cpu_has_no_workspace_memory(predict):
    assert predict("perceptron", micro_batch=1, generation="none").at_peak["workspace"] == 0


def test_hopper_has_larger_workspaces(predict):
    assert predict("perceptron", micro_batch=1, generation="hopper").at_peak["workspace"] == 2 * 32 * MIB


def test_the_cap_lies_between_the_peaks(predict):
    made = predict("convolutional", micro_batch=64)
    # Where the workspaces of convolutions do not fit, cuDNN takes algorithms without them.
    assert made.peak_allocated - made.at_peak["workspace"] <= made.min_memory_limit <= made.peak_reserved
    assert 0 <= made.fragmentation < 1


def test_a_step_is_traced_twice_and_run_three_times(trace):
    made = trace("perceptron", micro_batch=16, optimizer="sgd")
    phases = [mark.phase for mark in made.marks if mark.phase != "idle"]
    assert phases == ["build", *["forward", "backward", "optimizer", "release"] * 3]
    live = set()
    for block, num_bytes in made.events:
        assert (block not in live) if num_bytes else (block in live)
        live.symmetric_difference_update({block})
    # What is left: the weight and its momentum; all else has been given back.
    assert sorted(made.categories[block] for block in live) == ["optimizer", "parameters"]


def test_the_timeline_covers_the_last_step_and_reaches_the_peak(predict):
    made = predict("convolutional", micro_batch=64)
    assert made.timeline[-1].done == 1.0
    assert {"forward", "backward", "optimizer"} <= {sample.phase for sample in made.timeline}
    highest = max(sample.total_bytes for sample in made.timeline)
    assert (
        0.99 * made.peak_allocated < highest <= made.peak_allocated
    )  # which counts what is left of unsplit blocks too
    assert made.largest[0].num_bytes >= made.largest[-1].num_bytes


def test_who_holds_activations_is_named_by_module(predict):
    owners = {owned.owner.split("/")[0] for owned in predict("convolutional", micro_batch=64).largest}
    assert owners & {"0.0.0", "0.1.0", "0.2.3", "0.3.3"}


def test_flops_of_convolutions_count_multiply_adds_twice(trace):
    costs = trace("convolutional", micro_batch=2, workload={"channels": 16}).costs
    forward = [cost.flops for cost in costs if cost.name == "convolution"]
    backward = [cost.flops for cost in costs if cost.name == "convolution_backward"]
    assert forward[0] == 2 * 2 * 64 * 64 * 16 * 3 * 9
    assert backward[0] == 2 * forward[-1]  # of its input and of its weight; the last forward is the first back


def test_a_batch_may_be_any_nesting(predict):
    assert predict("with_dict_batch", micro_batch=4).peak_allocated > 0


def test_a_model_that_prints_does_not_disturb(predict):
    assert predict("talkative", micro_batch=1).at_peak["parameters"] == 4 * MIB


def test_what_cannot_be_built_says_why_and_the_next_one_is_answered(predict):
    with pytest.raises(PredictionError, match=r"tiny_workloads:broken cannot be traced .*this model cannot be made"):
        predict("broken", micro_batch=1)
    assert predict("perceptron", micro_batch=2).peak_allocated > 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "reads_a_value",
            r"tiny_workloads\.py, line \d+, in loss: `if made\.item\(\) > 0:.*`: .*A value of a tensor is",
        ),
        ("counts_what_is_not_zero", r"in <lambda>: `return .*batch > 0.*`: .*torch\.where instead of a boolean mask"),
        ("frozen", r"does not require grad.* No weight of it wants a gradient: leave one trainable"),
        ("loss_in_a_dict", r"the loss gave dict; expected one number to train on"),
        ("loss_for_each", r"the loss gave a tensor of \(4,\); expected one number to train on"),
    ],
)
def test_what_stands_in_the_way_is_told_by_the_users_own_line_and_the_child_lives(name, said, predictor, predict):
    predict("perceptron", micro_batch=1)
    child = predictor._child._process
    with pytest.raises((PredictionError, ConfigurationError), match=said):
        predict(name, micro_batch=4)
    assert predictor._child._process is child
    assert child.poll() is None
    assert predict("perceptron", micro_batch=3).peak_allocated > 0


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("tiny_workloads:missing", "'tiny_workloads' has no function 'missing': write the model as package.module"),
        ("no_such_package:make", "'no_such_package:make' cannot be imported"),
        ("tiny_workloads:not_a_workload", "tiny_workloads:not_a_workload gave int; expected an eightgig.vram"),
    ],
)
def test_a_factory_that_is_none(predictor, factory, said):
    with pytest.raises(ConfigurationError, match=said):
        predictor.predict(WorkloadSpec(factory=factory), StepOptions(micro_batch=1))


def test_predicting_touches_neither_cuda_nor_this_process():
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from eightgig import predict_memory\n"
        "peak = predict_memory('tiny_workloads:perceptron', 1).peak_allocated\n"
        "import torch\n"
        "print(peak > 0, torch.cuda.is_initialized(), torch._C._get_privateuse1_backend_name())\n"
    )
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == "True False privateuseone\n"


def test_the_public_function_takes_an_import_path_or_a_workload(predictor):
    assert predict_memory("tiny_workloads:perceptron", 1).at_peak["parameters"] == 4 * MIB
    spec = WorkloadSpec(factory="tiny_workloads:perceptron", options={"depth": 8})
    chosen: Any = {"precision": "bf16", "optimizer": "sgd", "activation_checkpointing": "full"}
    asked = predict_memory(spec, 16, **chosen, generation="ada")
    assert asked == predictor.predict(spec, StepOptions(micro_batch=16, **chosen), generation="ada")


@pytest.mark.parametrize(("phase", "precision"), [("train", "fp32"), ("train", "bf16"), ("validate", "fp16")])
def test_attention_is_the_same_whatever_name_it_was_imported_by(phase, precision, predict):
    options = {"micro_batch": 8, "phase": phase, "precision": precision}
    assert predict("attention_by_another_name", **options) == predict("attention", **options)


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"micro_batch\n  Input should be greater than or equal to 1"):
        predict_memory("tiny_workloads:perceptron", 0)
