"""Channels really leave a network, and a freshly built one takes the shapes of what is left."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from eightgig.core.errors import ConfigurationError, WeightsError
from eightgig.models.network import complexity_of
from eightgig.models.pruning import measure_batch_norm, prune_channels
from eightgig.models.reshape import fit_to_shapes, fit_to_state, same_outputs, shapes_of
from eightgig.tasks.classification.model import build_classifier


class Small(nn.Module):
    """A convolution, a depthwise one, and a head."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.head = nn.Linear(16, 5)

    def forward(self, images):
        return self.head(self.depthwise(self.norm(self.first(images)).relu()).mean((2, 3)))


class CountsOnShapes(Small):
    def forward(self, images):
        features = self.norm(self.first(images)).relu()
        return self.head(features.reshape(len(images), 16, -1).mean(2))


def test_parameters_and_flops_are_those_of_hand_arithmetic():
    found = complexity_of(Small().train(), torch.zeros(1, 3, 4, 4))
    assert found.num_parameters == 3 * 16 * 9 + 2 * 16 + (16 * 9 + 16) + (16 * 5 + 5)
    assert found.flops == 2 * 16 * (3 * 16 * 9) + 2 * 16 * (16 * 9) + 2 * 16 * 5


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "efficientnet_b3", "resnet50"])
def test_a_pruned_network_loads_into_a_fresh_one_and_gives_the_same_numbers(name):
    torch.manual_seed(0)
    network = build_classifier(name, weights="none", num_classes=7).module
    image = torch.randn(1, 3, 32, 32)
    measure_batch_norm(network, [torch.randn(4, 3, 32, 32)])
    report = prune_channels(network, image, keep_flops=0.85)

    assert complexity_of(network, image) == report.after
    assert 0.6 < report.flops_share <= 0.85
    assert report.after.num_parameters < report.before.num_parameters
    fresh = build_classifier(name, weights="none", num_classes=7).module
    fit_to_state(fresh, network.state_dict())
    fresh.load_state_dict(network.state_dict())
    assert same_outputs(network, fresh, torch.randn(2, 3, 32, 32))
    assert fresh(image).shape == (1, 7)


def test_the_least_important_channels_leave_in_multiples_of_eight():
    module: Any = nn.Sequential(nn.Conv2d(3, 16, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5))
    with torch.no_grad():
        module[0].weight.fill_(1.0)
        module[0].weight[::2] = 1e-3
        module[3].weight.fill_(1.0)
    prune_channels(module, torch.randn(1, 3, 1, 1), keep_flops=0.6)
    assert module[0].weight.shape == (8, 3, 1, 1)
    assert torch.equal(module[0].weight, torch.ones(8, 3, 1, 1))
    assert module[3].weight.shape == (5, 8)


def test_the_mode_stays_and_so_does_what_may_be_trained():
    module = Small().train()
    prune_channels(module, torch.randn(1, 3, 8, 8), keep_flops=0.6)
    assert module.training
    assert all(weight.requires_grad for weight in module.parameters())


@pytest.mark.parametrize("keep_flops", [0.0, 1.0, 1.5])
def test_a_share_outside_zero_to_one_is_refused(keep_flops):
    with pytest.raises(ConfigurationError, match="wanted more than 0 and less than 1, found"):
        prune_channels(Small(), torch.randn(1, 3, 8, 8), keep_flops=keep_flops)


def test_more_than_a_network_can_give_is_refused():
    with pytest.raises(
        ConfigurationError, match=r"Small: wanted 1% of the FLOPs at most, found \d+% .*Raise keep_flops"
    ):
        prune_channels(Small(), torch.randn(1, 3, 8, 8), keep_flops=0.01)


def test_a_network_that_counts_on_shapes_is_refused():
    with pytest.raises(ConfigurationError, match=r"CountsOnShapes cannot lose channels: .*compress\.student\.model"):
        prune_channels(CountsOnShapes(), torch.randn(1, 3, 8, 8), keep_flops=0.6)


def test_layers_take_the_channels_of_their_weights():
    module = Small()
    shapes = shapes_of(module.state_dict())
    narrow = {name: (8, *shape[1:]) if shape[:1] == (16,) else shape for name, shape in shapes.items()}
    narrow |= {"head.weight": (5, 8)}
    fit_to_shapes(module, narrow)
    assert (module.first.in_channels, module.first.out_channels, module.norm.num_features) == (3, 8, 8)
    assert (module.depthwise.in_channels, module.depthwise.out_channels, module.depthwise.groups) == (8, 8, 8)
    assert (module.head.in_features, module.head.out_features) == (8, 5)
    assert module(torch.zeros(2, 3, 4, 4)).shape == (2, 5)


def test_a_grouped_convolution_keeps_its_groups():
    module = nn.Sequential(nn.Conv2d(16, 16, 3, groups=4, bias=False), nn.Linear(1, 1, bias=False))
    fit_to_shapes(module, {"0.weight": (8, 2, 3, 3), "1.weight": (1, 1)})
    assert (module[0].in_channels, module[0].out_channels, module[0].groups) == (8, 8, 4)


def test_a_depthwise_convolution_of_several_outputs_a_channel_keeps_their_number():
    module = nn.Sequential(nn.Conv2d(16, 32, 3, groups=16, bias=False), nn.Linear(1, 1, bias=False))
    fit_to_shapes(module, {"0.weight": (16, 1, 3, 3), "1.weight": (1, 1)})
    assert (module[0].in_channels, module[0].out_channels, module[0].groups) == (8, 16, 8)
    with pytest.raises(WeightsError, match="cannot come from removing channels"):
        fit_to_shapes(module, {"0.weight": (15, 1, 3, 3), "1.weight": (1, 1)})


def test_other_names_are_refused():
    state = Small().state_dict()
    state["other.weight"] = state.pop("first.weight")
    with pytest.raises(WeightsError, match=r"missing first\.weight; left over other\.weight"):
        fit_to_state(Small(), state)


def test_another_number_of_classes_is_refused():
    state = Small().state_dict()
    state["head.weight"], state["head.bias"] = torch.zeros(4, 16), torch.zeros(4)
    with pytest.raises(WeightsError, match="head `head`: wanted 5 classes, found 4"):
        fit_to_state(Small(), state)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("first.weight", (16, 3, 5, 5)),  # another kernel
        ("first.weight", (24, 3, 3, 3)),  # more channels
        ("first.weight", (0, 3, 3, 3)),
        ("norm.bias", (8,)),  # not those of its other tensors
        ("norm.running_mean", (16, 1)),
    ],
)
def test_shapes_without_a_reason_are_refused(name, shape):
    state = {**Small().state_dict(), name: torch.zeros(shape)}
    with pytest.raises(WeightsError, match=rf"`{name.partition('.')[0]}` .*cannot come from removing channels"):
        fit_to_state(Small(), state)


def test_what_no_layer_explains_is_refused():
    module = nn.GroupNorm(2, 8)
    with pytest.raises(WeightsError, match=r"GroupNorm.*cannot come from removing channels"):
        fit_to_shapes(nn.Sequential(module), {"0.weight": (4,), "0.bias": (4,)})


def test_batch_norm_measured_anew_is_the_mean_of_the_batches():
    module: Any = nn.Sequential(nn.BatchNorm2d(1))
    before = copy.deepcopy(module.state_dict())
    measure_batch_norm(
        module.eval(), [torch.tensor([0.0, 2.0]).view(2, 1, 1, 1), torch.tensor([4.0, 8.0]).view(2, 1, 1, 1)]
    )
    assert module[0].running_mean.item() == pytest.approx((1 + 6) / 2)
    assert module[0].running_var.item() == pytest.approx((2 + 8) / 2)
    assert (module[0].momentum, module.training) == (0.1, False)
    assert torch.equal(module[0].weight, before["0.weight"])
