"""The article's U-Net: its parameters, its shapes, and what it does at any place."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eightgig.core.errors import ConfigurationError, WeightsError
from eightgig.models.reshape import fit_to_state, same_outputs
from eightgig.tasks.segmentation.model import Segmenter, build_segmenter
from eightgig.tasks.segmentation.unet import UNet, build_unet


def double_convolution(channels_in, channels_out):
    """Count by hand: 3 x 3 weights and a bias, then BatchNorm's weight and bias, twice."""
    first, second = 9 * channels_in * channels_out, 9 * channels_out * channels_out
    return first + second + 2 * (channels_out + 2 * channels_out)


def test_it_has_the_articles_parameters():
    down = [(3, 64), (64, 128), (128, 256), (256, 512)]
    up = [(512 + 256, 256), (256 + 128, 128), (128 + 64, 64)]
    wanted = sum(double_convolution(*pair) for pair in down + up) + 64 * 19 + 19
    assert wanted == 7_789_715
    assert sum(weight.numel() for weight in build_unet("unet", num_classes=19).parameters()) == wanted


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70))
def test_any_size_comes_back(height, width):
    network = UNet(3, width=2).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 3, height, width)).shape == (2, 3, height, width)


def test_sides_divisible_by_8_are_not_filled_up():
    torch.manual_seed(0)
    network, images = UNet(3, width=4).eval(), torch.randn(1, 3, 40, 48)
    with torch.no_grad():
        filled = torch.nn.functional.pad(images[:, :, :37, :43], (0, 5, 0, 3), mode="replicate")
        assert torch.equal(network(images[:, :, :37, :43]), network(filled)[:, :, :37, :43])


def test_a_shifted_image_gives_shifted_logits():
    """Away from borders, by multiples of 8: so that a tile gives what the whole image gives (decision 0016)."""
    torch.manual_seed(0)
    network, images = UNet(4, width=4).eval(), torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        whole, part = network(images), network(images[:, :, 24:232, 16:224])
    assert torch.allclose(whole[:, :, 120:136, 112:128], part[:, :, 96:112, 96:112], atol=1e-4)


@pytest.mark.parametrize(("name", "width"), [("unet", 64), ("unet_x0_25", 16), ("unet_x0_5", 32), ("unet_x1_5", 96)])
def test_names_give_shares_of_the_channels(name, width):
    assert build_unet(name, num_classes=2).head.in_channels == width


@pytest.mark.parametrize("name", ["unet_x0_0", "unet_x9_0", "unet_", "unet_half"])
def test_other_names_say_what_is_wanted(name):
    with pytest.raises(ConfigurationError, match=rf"model `{name}`: wanted `unet`, or `unet_x0_25`"):
        build_unet(name, num_classes=2)


@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"])
def test_torchvisions_networks_give_plain_logits(name):
    network = build_segmenter(name, weights="none", num_classes=5)
    assert (network.library, network.name) == ("torchvision", name)
    with torch.no_grad():
        assert network.module.eval()(torch.zeros(1, 3, 64, 80)).shape == (1, 5, 64, 80)
    module: Any = network.module
    assert sum(layer.out_channels for layer in module.get_classifier()) in (5, 10)


def test_an_unknown_name_lists_all():
    with pytest.raises(ConfigurationError, match=r"Nearest: deeplabv3_resnet50.*All: unet, deeplabv3"):
        build_segmenter("deeplab_resnet50", weights="none", num_classes=5)
    with pytest.raises(ConfigurationError, match="at least 2 classes a pixel, found 1"):
        build_segmenter("unet", weights="none", num_classes=1)


def test_weights_of_a_file_are_loaded_with_another_head(tmp_path):
    torch.manual_seed(0)
    trained = build_segmenter("unet_x0_25", weights="none", num_classes=4)
    torch.save(trained.module.get_submodule("network").state_dict(), tmp_path / "bare.pt")
    torch.save(trained.module.state_dict(), tmp_path / "whole.pt")
    for name in ("bare", "whole"):
        again = build_segmenter("unet_x0_25", weights=str(tmp_path / f"{name}.pt"), num_classes=4)
        assert same_outputs(trained.module, again.module, torch.randn(1, 3, 32, 32))
        other = build_segmenter("unet_x0_25", weights=str(tmp_path / f"{name}.pt"), num_classes=7)
        assert "starts anew" in other.weights_source
        first = "network.down.0.0.weight"
        assert torch.equal(other.module.get_parameter(first), trained.module.get_parameter(first))


@pytest.mark.parametrize("weights", ["default", "packaged"])
def test_there_are_no_ready_weights_of_the_unet(weights):
    with pytest.raises(WeightsError, match=rf"model `unet`: there are no {weights} weights"):
        build_segmenter("unet", weights=weights, num_classes=4)


def test_a_download_that_fails_names_the_ways_out(monkeypatch):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(WeightsError, match="wanted its pretrained weights from the network, found: no network"):
        build_segmenter("lraspp_mobilenet_v3_large", weights="default", num_classes=4)


def test_downloaded_weights_fit(monkeypatch):
    """With a file in the form in which torchvision offers it: 21 classes, side output included."""
    import torchvision

    official = torchvision.models.segmentation.fcn_resnet50(weights=None, weights_backbone=None, aux_loss=True)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: official.state_dict())
    built = build_segmenter("fcn_resnet50", weights="default", num_classes=21)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(built.module.eval()(images), official.eval()(images)["out"])
    assert "starts anew" in build_segmenter("fcn_resnet50", weights="default", num_classes=3).weights_source


def test_a_pruned_unet_is_built_anew_from_its_weights():
    from eightgig.models.pruning import prune_channels

    module, example = Segmenter(UNet(5, width=16), 5), torch.zeros(1, 3, 32, 32)
    report = prune_channels(module, example, keep_flops=0.6)
    assert report.flops_share <= 0.6
    again = Segmenter(UNet(5, width=16), 5)
    fit_to_state(again, module.state_dict())
    again.load_state_dict(module.state_dict())
    assert same_outputs(module, again, torch.randn(1, 3, 32, 32))
