import subprocess
import sys
import urllib.error
from typing import Any

import pytest
import timm
import torch
import torchvision
from pydantic import ValidationError
from torch import nn

from eightgig.core.errors import ConfigurationError, WeightsError
from eightgig.models.parameters import ImageModelParameters
from eightgig.tasks.classification.model import build_classifier

TORCHVISION: tuple[str, ...] = (
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b3",
    "googlenet",
    "inception_v3",
    "maxvit_t",
)
TORCHVISION += ("mnasnet0_5", "mobilenet_v3_small", "resnet50", "resnext50_32x4d", "shufflenet_v2_x0_5")
TORCHVISION += ("squeezenet1_1", "swin_t", "vgg11", "vit_b_16", "wide_resnet50_2")
TIMM = ("convnext_atto", "deit_tiny_distilled_patch16_224", "resnet10t", "tf_efficientnet_lite0")
FAMILIES = (*TORCHVISION, *(f"timm/{name}" for name in TIMM))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_classifier_of_any_family_gives_plain_logits_of_the_wanted_classes(name: str) -> None:
    with torch.device("meta"):  # shapes without arithmetic
        classifier = build_classifier(name, weights="none", num_classes=7)
        images_N3HW = torch.empty(2, 3, classifier.default_image_size, classifier.default_image_size)
        logits_NK = classifier.module.eval()(images_N3HW)
    assert isinstance(logits_NK, torch.Tensor)
    assert logits_NK.shape == (2, 7)
    assert classifier.weights_source == "random initialisation"


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_side_outputs_stay_off_in_training(name: str) -> None:
    with torch.device("meta"):
        module = build_classifier(name, weights="none", num_classes=7).module.train()
        assert module(torch.empty(2, 3, 299, 299)).shape == (2, 7)


def test_torchvision_is_asked_first_and_a_prefix_forces_the_library() -> None:
    with torch.device("meta"):
        assert build_classifier("resnet18", weights="none", num_classes=3).library == "torchvision"
        assert build_classifier("torchvision/resnet18", weights="none", num_classes=3).library == "torchvision"
        assert build_classifier("timm/resnet18", weights="none", num_classes=3).library == "timm"


def test_colours_and_size_are_those_of_the_pretrained_weights() -> None:
    with torch.device("meta"):
        b3 = build_classifier("efficientnet_b3", weights="none", num_classes=3)
        vit = build_classifier("vit_h_14", weights="none", num_classes=3)
    assert (b3.mean, b3.std, b3.default_image_size) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 300)
    assert vit.default_image_size == 224  # the best weights are made for 518, but this network's table is not


def test_an_unknown_name_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"model `efficientnet_b33`.*Nearest: .*efficientnet_b3"):
        build_classifier("efficientnet_b33", weights="none", num_classes=2)
    with pytest.raises(ConfigurationError, match="torchvision/tf_efficientnet_lite0"):
        build_classifier("torchvision/tf_efficientnet_lite0", weights="none", num_classes=2)


def test_no_class_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least 1 class, found 0"):
        build_classifier("resnet18", weights="none", num_classes=0)


@pytest.mark.parametrize("name", ["efficientnet_b0", "timm/mobilenetv3_small_050"])
def test_dropout_is_set_before_the_last_layer(name: str) -> None:
    module: Any = build_classifier(name, weights="none", num_classes=2, dropout=0.45).module
    found = module.drop_rate if name.startswith("timm/") else module.classifier[0].p
    assert found == 0.45


def test_dropout_where_there_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="ResNet has no dropout before its last layer"):
        build_classifier("resnet18", weights="none", num_classes=2, dropout=0.2)


@pytest.mark.parametrize("name", ["resnet18", "timm/resnet18"])
def test_default_weights_without_a_network_name_the_ways_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> nn.Module:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torchvision.models, "get_model", fail)
    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(WeightsError, match=r"no route to host.*weights=none.*weights=packaged.*weights=<path"):
        build_classifier(name, weights="default", num_classes=2)


def test_default_weights_ask_the_library_for_its_best(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    original = torchvision.models.get_model

    def record(name: str, weights: object) -> nn.Module:
        asked.append(weights)
        return original(name, weights=None)

    monkeypatch.setattr(torchvision.models, "get_model", record)
    source = build_classifier("resnet18", weights="default", num_classes=2).weights_source
    assert asked == [torchvision.models.ResNet18_Weights.DEFAULT]
    assert source == "torchvision ResNet18_Weights.IMAGENET1K_V1 (download)"


@pytest.mark.parametrize(
    ("name", "wrong", "why"),
    [("dropout", 1.0, "less_than"), ("image_size", 8, "greater_than_equal"), ("wieghts", "none", "extra_forbidden")],
)
def test_parameters_refuse_what_cannot_be(name: str, wrong: object, why: str) -> None:
    assert ImageModelParameters().name == "efficientnet_b3"
    with pytest.raises(ValidationError) as caught:
        ImageModelParameters.model_validate({name: wrong})
    assert [(error["loc"], error["type"]) for error in caught.value.errors()] == [((name,), why)]


def test_parameters_are_read_without_torch() -> None:
    modules = "eightgig.models.parameters, eightgig.export.parameters, eightgig.export.card, eightgig.bench.parameters"
    code = f"import {modules}, sys; print({{'torch', 'onnx', 'numpy'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18.a1_in1k", "vit_tiny_patch16_224"])
def test_a_new_head_starts_small(name: str) -> None:
    """Logits of an untrained head must not drown what the pretrained layers know."""
    classifier = build_classifier(f"timm/{name}", weights="none", num_classes=5)
    module: Any = classifier.module
    head = module.get_classifier()
    assert head.weight.abs().max() <= 1 / head.in_features**0.5
