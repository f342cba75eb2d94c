"""Optimizers of a traced step, by name: their state is what the real ones keep."""

import pytest
import torch
from torch import nn

from eightgig.core.errors import ConfigurationError
from eightgig.core.units import MIB
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.predictor import Predictor, predict_memory
from eightgig.vram.tracing.spec import WorkloadSpec

pytestmark = pytest.mark.usefixtures("tiny_workloads")
WEIGHT = 4 * MIB
NAMES = [
    name
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and name not in ("Optimizer", "LBFGS")
]
DENSE = [name for name in NAMES if name != "SparseAdam"]


@pytest.fixture(scope="module")
def predict(tiny_workloads):
    with Predictor() as predictor:

        def run(optimizer, *, workload="perceptron", **options):
            asked = StepOptions(micro_batch=1, optimizer=optimizer, clips_gradients=False, **options)
            return predictor.predict(WorkloadSpec(factory=f"tiny_workloads:{workload}"), asked)

        yield run


def state_of_a_real_step(name):
    weight = nn.Parameter(torch.ones(1024, 1024))
    optimizer = getattr(torch.optim, name)([weight], lr=1e-3)
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    tensors = (value for value in optimizer.state[weight].values() if isinstance(value, torch.Tensor))
    return sum(tensor.nbytes for tensor in tensors if tensor.numel() > 1)  # but for step counters


@pytest.mark.parametrize("name", DENSE)
def test_the_state_is_the_real_ones(name, predict):
    found = predict(name).at_peak["optimizer"]
    assert found == pytest.approx(state_of_a_real_step(name), abs=4096)  # counters, and rounding to 512 B


@pytest.mark.parametrize("kernel", ["foreach", "fused", "plain"])
@pytest.mark.parametrize("name", DENSE)
def test_each_is_traced_with_every_kind_of_kernel(name, kernel, predict):
    made = predict(name, optimizer_kernel=kernel)
    assert made.at_peak["parameters"] == made.at_peak["gradients"] == WEIGHT


def test_arguments_count(predict):
    assert predict("SGD").at_peak["optimizer"] == 0
    assert predict("SGD", optimizer_arguments={"momentum": 0.9}).at_peak["optimizer"] == WEIGHT
    assert predict("rmsprop", optimizer_arguments={"momentum": 0.9, "centered": True}).at_peak["optimizer"] == (
        pytest.approx(3 * WEIGHT, abs=4096)
    )


def test_those_of_recipes_are_as_the_train_stage_makes_them(predict):
    assert predict("sgd").at_peak["optimizer"] == WEIGHT
    assert predict("adamw").at_peak["optimizer"] == pytest.approx(2 * WEIGHT, abs=4096)


def test_without_an_optimizer_gradients_are_all_that_is_added(predict):
    made = predict("none")
    assert made.at_peak["gradients"] == WEIGHT
    assert made.at_peak["optimizer"] == 0


def test_one_of_the_users_own_by_its_address(predict):
    assert predict("tiny_workloads:HalvedSGD", optimizer_arguments={"momentum": 0.5}).at_peak["optimizer"] == WEIGHT


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("sdg", {}, r"there is no optimizer 'sdg': write adadelta, .*, sgd.*package\.module:Class"),
        ("LBFGS", {}, r"LBFGS evaluates the loss several times in one step"),
        ("nowhere:Lion", {}, r"the optimizer 'nowhere:Lion' cannot be imported: No module named 'nowhere'"),
        ("tiny_workloads:no_optimizer", {}, r"no_optimizer gave list; expected a torch\.optim\.Optimizer"),
        ("SGD", {"momentun": 0.9}, r"the optimizer 'SGD' cannot be made with .*momentun"),
        ("SGD", {"momentum": -1.0}, r"the optimizer 'SGD' cannot be made with .*Invalid momentum value"),
    ],
)
def test_what_is_no_optimizer_is_refused_with_the_way_out(name, arguments, message, predict):
    with pytest.raises(ConfigurationError, match=message):
        predict(name, optimizer_arguments=arguments)


def test_from_python_by_one_call(tiny_workloads):
    made = predict_memory("tiny_workloads:perceptron", 1, optimizer="Adagrad", optimizer_arguments={"lr": 0.1})
    assert made.at_peak["optimizer"] == pytest.approx(WEIGHT, abs=4096)
