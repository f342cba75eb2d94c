"""What a run takes at the least: by hand, and never more than what any way of running takes."""

import itertools
from typing import Any, get_args

import pytest

from eightgig.core.errors import BudgetError
from eightgig.core.units import MIB
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import OptimizerName
from eightgig.vram.planning.lower_bound import LeastMemory, hopeless, least_memory, least_of_smaller, state_bytes
from eightgig.vram.planning.phases import PhasePredictor
from eightgig.vram.planning.planner import make_plan
from eightgig.vram.planning.request import PlanRequest
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.predictor import Predictor
from eightgig.vram.tracing.spec import WorkloadSpec
from eightgig.vram.tracing.weights import Weight

MATRIX = Weight(shape=(1024, 1024), num_bytes=4 * MIB, kind="linear")
FROZEN = MATRIX.model_copy(update={"is_trainable": False})
UNREACHED = MATRIX.model_copy(update={"is_reached": False})
AUTO = PlanParameters(margin_fraction=0.0, context_gib=0.0)
OPTIMIZERS = get_args(OptimizerName)
FREE: dict[str, Any] = {"clips_gradients": False, "precisions": ("bf16",), "effective_batch": 4, "micro_batch": 4}


def request(factory="perceptron", options=None, **changes):
    asked = {
        "name": "net",
        "workload": WorkloadSpec(factory=f"tiny_workloads:{factory}", options=options or {}),
        "sample": "one",
        "effective_batch": 8,
        "micro_batch": 4,
        "eval_batch": 4,
        "device": "cuda",
        "device_name": "card",
    }
    return PlanRequest(**{**asked, **changes})


@pytest.fixture(scope="module")
def predictor(tiny_workloads):
    with Predictor() as made:
        yield made


@pytest.mark.parametrize(
    ("weights", "changes", "mib"),
    [
        ((MATRIX, MATRIX), {}, (8, 8, 16)),
        ((MATRIX, FROZEN), {}, (8, 4, 8)),
        ((MATRIX, UNREACHED), {}, (8, 4, 8)),
        ((MATRIX, MATRIX), {"task": "infer"}, (8, 0, 0)),
        ((MATRIX, MATRIX), {"optimizer": "sgd"}, (8, 8, 8)),
        ((MATRIX, MATRIX), {"processes": 4, "is_sharded": True}, (2, 2, 4)),
        ((MATRIX, MATRIX), {"processes": 4}, (8, 8, 16)),
        ((MATRIX, MATRIX), FREE, (8, 4, 16)),  # one gradient at a time
        ((), {}, (0, 0, 0)),
    ],
)
def test_by_hand(weights, changes, mib):
    found = least_memory(request(**changes), AUTO, weights)
    assert found == LeastMemory(*(part * MIB for part in mib))
    assert found.total == sum(mib) * MIB


def test_gradients_are_all_there_where_the_optimizer_may_not_go_into_the_backward_pass():
    never = PlanParameters(optimizer_in_backward="never")
    assert least_memory(request(**FREE), never, (MATRIX, MATRIX)).gradients == 8 * MIB


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_state_of_every_recipes_optimizer_is_what_is_traced(optimizer, predictor):
    spec = WorkloadSpec(factory="tiny_workloads:swish")  # large matrices, small ones, and biases
    traced = predictor.predict(spec, StepOptions(micro_batch=1, optimizer=optimizer)).at_peak["optimizer"]
    weights = predictor.weights(spec)
    counted = state_bytes(optimizer, weights)
    rounding = 4 * 1024 * len(weights)  # to blocks of 512 bytes, counters, and 8-bit maps
    assert 0 < counted <= traced <= counted + rounding


WORKLOADS = [
    ("perceptron", {"depth": 3}),
    ("perceptron", {"depth": 3, "tied": True}),
    ("residual", {}),
    ("convolutional", {}),
    ("attention", {}),
    ("deep_blocks", {}),
    ("with_dict_batch", {}),
    ("half_frozen", {}),
    ("half_unused", {}),
    ("bfloat", {}),
]
WAYS: list[dict[str, Any]] = [
    {},
    {"effective_batch": 4},
    {"task": "infer", "effective_batch": 4},
    {"processes": 4},
    {"processes": 4, "is_sharded": True},
    FREE,
]
LEVERS = [
    {"activation_checkpointing": level, "offload": offload, "optimizer_in_backward": in_backward}
    for level, offload, in_backward in (("none", False, False), ("full", True, False), ("full", False, True))
]


@pytest.mark.parametrize(("factory", "options"), WORKLOADS, ids=str)
def test_no_way_of_running_takes_less(factory, options, predictor):
    tried = 0
    for changes, levers in itertools.product(WAYS, LEVERS):
        asked = request(factory, options, **changes)
        if levers["optimizer_in_backward"] and any(asked.against_optimizer_in_backward()):
            continue
        weights = predictor.weights(asked.workload, looks_at_loss=True)
        least = least_memory(asked, AUTO, weights)
        step = asked.step(1, asked.precisions[0], **levers)
        needed = PhasePredictor(asked, AUTO, predictor).predict(step).min_memory_limit
        assert least.total <= needed, (changes, levers)
        tried += 1
    assert tried > len(WAYS)


@pytest.mark.parametrize("level", ["none", "selective", "full"])
@pytest.mark.parametrize("factory", ["perceptron", "residual", "convolutional", "attention", "deep_blocks", "swish"])
def test_fewer_samples_take_no_less_than_their_share(factory, level, predictor):
    def predict(samples):
        options = StepOptions(micro_batch=samples, precision="fp16", activation_checkpointing=level)
        return predictor.predict(WorkloadSpec(factory=f"tiny_workloads:{factory}"), options)

    large = predict(16)
    for samples in (1, 8):
        least = least_of_smaller(large, samples / 16)
        assert 0 < least <= predict(samples).min_memory_limit


def test_the_weights_of_a_network_with_what_its_loss_reaches(predictor):
    spec = WorkloadSpec(factory="tiny_workloads:half_unused")
    used, unused = predictor.weights(spec, looks_at_loss=True)
    assert (used.is_reached, unused.is_reached) == (True, False)
    assert used == Weight(shape=(1024, 1024), num_bytes=4 * MIB, kind="linear")
    assert all(weight.is_reached for weight in predictor.weights(spec))  # not looked at


def test_tied_weights_are_one_and_a_subclass_counts_nothing(predictor):
    (tied,) = predictor.weights(WorkloadSpec(factory="tiny_workloads:perceptron", options={"depth": 3, "tied": True}))
    assert tied.num_bytes == 4 * MIB
    (packed,) = predictor.weights(WorkloadSpec(factory="tiny_workloads:packed"))
    assert packed.num_bytes == 0


def test_sparse_gradients_count_nothing(predictor):
    (rows,) = predictor.weights(WorkloadSpec(factory="tiny_workloads:sparse_rows"), looks_at_loss=True)
    assert (rows.kind, rows.is_reached) == ("embedding", False)


def test_of_a_loss_that_cannot_be_computed_no_weight_is_known_to_be_reached(predictor):
    weights = predictor.weights(WorkloadSpec(factory="tiny_workloads:reads_a_value"), looks_at_loss=True)
    assert len(weights) == 2
    assert not any(weight.is_reached for weight in weights)


@pytest.mark.parametrize("factory", ["tiny_workloads:broken", "nowhere:make", "tiny_workloads:ends_the_process"])
def test_a_network_that_cannot_be_built_has_no_bound(factory, predictor):
    assert predictor.weights(WorkloadSpec(factory=factory)) == ()


def test_in_this_process_too(tiny_workloads):
    with Predictor(in_process=True) as predictor:
        assert predictor.weights(WorkloadSpec(factory="tiny_workloads:perceptron")) == (MATRIX,)


class NoTraces(Predictor):
    """Knows weights alone."""

    def trace(self, workload, options):
        raise AssertionError("a step is traced")


def test_a_hopeless_search_ends_without_a_trace(tiny_workloads):
    asked = request("perceptron", {"depth": 8})  # 32 MiB of weights, as many of gradients, 64 of state
    with NoTraces() as predictor, pytest.raises(BudgetError) as raised:
        make_plan(asked, PlanParameters(budget_gib=120 / 1024, context_gib=0.0), predictor=predictor)
    message = str(raised.value)
    assert message.startswith(
        "net at one does not fit 0.117188 GiB, whatever the batch: 128.0 MiB are held at the least (parameters 32.0 "
        "MiB, gradients 32.0 MiB, optimizer 64.0 MiB); usable are 120.0 MiB, short of 8.0 MiB. What would save: "
    )
    assert "47.8 MiB by 8-bit optimizer states (train.optimizer: adamw8bit)" in message


def test_weights_that_no_gradient_reaches_do_not_end_a_search(predictor):
    asked = request("half_unused")
    budget = 20 * MIB  # 8 of weights; 12 of the used one's gradient and state, or 24 of both
    assert hopeless(asked, AUTO, predictor, budget) is None
    assert hopeless(asked, AUTO, predictor, budget - 1) == LeastMemory(8 * MIB, 4 * MIB, 8 * MIB)


@pytest.mark.slow  # it waits for transformers to be imported
def test_eight_billion_weights_are_refused_for_8_gib_by_what_they_are(tiny_workloads):
    asked = PlanRequest.for_card("RTX 3070", "tiny_workloads:llama_8b", batch_size=8)
    with NoTraces() as predictor, pytest.raises(BudgetError) as raised:
        make_plan(asked, PlanParameters(budget_gib=8), predictor=predictor)
    message = str(raised.value)
    assert "119.7 GiB are held at the least (parameters 29.9 GiB, gradients 29.9 GiB, optimizer 59.8 GiB)" in message
    assert message.index("QLoRA") < message.index("adamw8bit") < message.index("H200")
